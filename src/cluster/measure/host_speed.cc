#include "cluster/measure/host_speed.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include "cluster/measure/host_kernels.h"
#include "containers/node_cores.h"
#include "core/format.h"

namespace evenkeel {
namespace {

// What `work` counts on all threads in about `time`, a second. `work` does a piece and says how much it was.
double PerSecond(int threads, Duration time, const std::function<double(int thread)>& work) {
  std::atomic<bool> begin{false}, stop{false};
  std::vector<double> done(static_cast<size_t>(threads), 0);
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&, i] {
      static_cast<void>(work(i));  // caches, pages, clocks
      while (!begin.load(std::memory_order_acquire)) std::this_thread::yield();
      double sum = 0;
      do {
        sum += work(i);
      } while (!stop.load(std::memory_order_relaxed));
      done[static_cast<size_t>(i)] = sum;
    });
  }
  const auto start = std::chrono::steady_clock::now();
  begin.store(true, std::memory_order_release);
  std::this_thread::sleep_for(time);
  stop.store(true);
  for (std::thread& thread : all) thread.join();
  const double took = Seconds(std::chrono::steady_clock::now() - start);
  double sum = 0;
  for (const double one : done) sum += one;
  return sum / took;
}

}  // namespace

HostSpeed MeasureHostSpeed(int threads, Duration time) {
  threads = std::max(1, threads);
  HostSpeed speed;
  speed.threads = threads;
  speed.gflops = PerSecond(threads, time / 2, [](int) { return ComputePiece(); }) / 1e9;
  std::vector<std::vector<uint64_t>> buffers(static_cast<size_t>(threads));
  constexpr size_t kWords = (size_t{64} << 20) / sizeof(uint64_t);
  std::atomic<uint64_t> sink{0};
  speed.memory_gb_s =
      PerSecond(threads, time / 2,
                [&](int thread) {
                  auto& buffer = buffers[static_cast<size_t>(thread)];
                  if (buffer.empty()) buffer.assign(kWords, 1);  // on the thread that reads it
                  sink.fetch_add(SumOf(buffer.data(), buffer.size()), std::memory_order_relaxed);
                  return static_cast<double>(kWords * sizeof(uint64_t));
                }) /
      1e9;
  return speed;
}

OwnCores CoresOfThisProcess() {
  cpu_set_t set;
  CPU_ZERO(&set);
  OwnCores own;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) own.threads = std::max(1, CPU_COUNT(&set));
  own.cores = own.threads;
  if (const auto quota = OwnCoreQuota(); quota && *quota < own.cores) {
    own.cores = *quota;
    own.threads = std::max(1, static_cast<int>(std::ceil(*quota)));
  }
  return own;
}

std::string WriteHostSpeed(const HostSpeed& speed, std::string_view fingerprint, double cores) {
  return nlohmann::json{{"schema", "evenkeel.host-speed/v1"},
                        {"fingerprint", fingerprint},
                        {"cores", cores},
                        {"threads", speed.threads},
                        {"gflops", speed.gflops},
                        {"memory_gb_s", speed.memory_gb_s}}
             .dump(1) +
         "\n";
}

Result<HostSpeed> ReadHostSpeed(std::string_view text, std::string_view fingerprint, double cores) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto number = [&](const char* key) {
    const auto at = json.find(key);
    return at != json.end() && at->is_number() ? at->get<double>() : -1.0;
  };
  if (!json.is_object() || json.value("schema", nlohmann::json()) != "evenkeel.host-speed/v1" ||
      !json.contains("fingerprint") || !json["fingerprint"].is_string() || number("gflops") <= 0 ||
      number("memory_gb_s") <= 0 || number("threads") < 1)
    return InvalidArgument("not a measured speed: expected evenkeel.host-speed/v1");
  if (json["fingerprint"].get<std::string>() != fingerprint || number("cores") != cores)
    return NotFound("the kept speed is that of other hardware or other cores");
  HostSpeed speed;
  speed.gflops = number("gflops");
  speed.memory_gb_s = number("memory_gb_s");
  speed.threads = static_cast<int>(number("threads"));
  return speed;
}

HostSpeed HostSpeedOf(const std::string& file, std::string_view fingerprint, bool again,
                      Duration time, bool* measured) {
  const OwnCores own = CoresOfThisProcess();
  if (measured != nullptr) *measured = false;
  if (!again) {
    std::ifstream in(file);
    std::ostringstream text;
    text << in.rdbuf();
    if (const auto kept = ReadHostSpeed(text.str(), fingerprint, own.cores); kept.ok())
      return *kept;
  }
  const HostSpeed speed = MeasureHostSpeed(own.threads, time);
  if (measured != nullptr) *measured = true;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  const std::string fresh = file + ".new";
  {
    std::ofstream out(fresh);
    out << WriteHostSpeed(speed, fingerprint, own.cores);
    if (!out.flush()) return speed;
  }
  std::filesystem::rename(fresh, file, error);
  return speed;
}

}  // namespace evenkeel
