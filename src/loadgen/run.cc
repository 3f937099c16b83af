#include "loadgen/run.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace evenkeel::loadgen {
namespace {

// Merges what the threads measured. A stage runs from its first start to its last end.
RunRecord MergeResults(const LoadPlan& plan, const std::vector<DriverResult>& results,
                       Duration wall) {
  RunRecord record;
  record.tally = Tally(static_cast<int>(plan.stages.size()), ObjectivesOf(plan), plan.window);
  record.seconds = Seconds(wall);
  for (const DriverResult& r : results) {
    record.tally.Merge(r.tally);
    record.user_cpu_s += r.user_cpu_s;
    record.system_cpu_s += r.system_cpu_s;
    record.most_in_flight += r.most_in_flight;
  }
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    StageRecord stage{plan.stages[i], 0, 0, 0};
    Duration started = Duration::max();
    Duration ended{};
    for (const DriverResult& r : results) {
      if (r.started[i] == Duration::max()) continue;
      started = std::min(started, r.started[i]);
      ended = std::max(ended, std::min(r.ended[i], wall));
      stage.held_back += r.held_back[i];
      stage.not_sent += r.not_sent[i];
    }
    if (started == Duration::max()) break;
    stage.seconds = Seconds(ended - started);
    record.stages.push_back(std::move(stage));
  }
  return record;
}

}  // namespace

Result<RunRecord> RunLoad(const LoadPlan& plan, const std::atomic<bool>& interrupted,
                          const std::function<void(double seconds, const Progress&)>& on_progress) {
  std::vector<std::unique_ptr<Driver>> drivers;
  for (int i = 0; i < plan.threads; ++i) {
    const Part part{i, plan.threads};
    drivers.push_back(plan.protocol == WireProtocol::kHttp ? MakeHttpDriver(plan, part)
                                                           : MakeGrpcDriver(plan, part));
    EK_RETURN_IF_ERROR(drivers.back()->Prepare());
  }
  Progress progress;
  std::mutex mutex;
  std::condition_variable finished;
  std::vector<DriverResult> results;  // guarded by mutex
  const Time start = SteadyClock::Instance().Now();
  std::vector<std::thread> threads;
  for (int i = 0; i < plan.threads; ++i) {
    threads.emplace_back([&, i] {
      DriverResult result = drivers[static_cast<size_t>(i)]->Run(
          {plan, Part{i, plan.threads}, start, interrupted, progress});
      const std::lock_guard lock(mutex);
      results.push_back(std::move(result));
      finished.notify_one();
    });
  }
  {
    std::unique_lock lock(mutex);
    const auto all = [&] { return results.size() == threads.size(); };
    while (!finished.wait_for(lock, std::chrono::milliseconds(500), all)) {
      lock.unlock();
      if (on_progress) on_progress(Seconds(SteadyClock::Instance().Now() - start), progress);
      lock.lock();
    }
  }
  const Duration wall = SteadyClock::Instance().Now() - start;
  for (std::thread& thread : threads) thread.join();
  RunRecord record = MergeResults(plan, results, wall);
  record.interrupted = interrupted.load();
  return record;
}

}  // namespace evenkeel::loadgen
