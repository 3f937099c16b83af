// What others, who work beside serving, want to know of a model.
#include <algorithm>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"

namespace evenkeel {

Duration Dispatcher::OldestWait(Time now) const {
  const std::lock_guard lock(mutex_);
  Duration oldest{};
  for (const Lane* lane : queue_.lanes()) {
    const policy::LaneView view = queue_.View(*lane);
    if (view.waiting_rows > 0) oldest = std::max(oldest, now - view.oldest_arrival);
  }
  return oldest;
}

BatchTimes Dispatcher::Times(DeviceClass device) const {
  const std::lock_guard lock(mutex_);
  return device == DeviceClass::kGpu ? stats_.device_times : stats_.times;
}

double Dispatcher::RowsPerSecond(Duration span) const {
  return node_id_ >= 0 ? options_.node->RatePerSecond(node_id_, span) : 0;
}

bool Dispatcher::SharesCores() const {
  return node_id_ >= 0 && options_.node->SharesCores(/*decides_itself=*/!gated_);
}

void Dispatcher::SetBestBatch(int rows, Duration batch_time) {
  if (node_id_ >= 0) options_.node->SetBest(node_id_, rows, batch_time);
}

Dispatcher::Work Dispatcher::WorkNow(Time now) const {
  const std::lock_guard lock(mutex_);
  int threads = 1, size = 1;
  Duration running{};
  for (const auto& instance : instances_) {
    if (!instance->usable) continue;
    threads = std::max(1, instance->threads);
    size = std::max(size, MaxRows(*instance));
    running += RemainingOf(*instance, now) * std::max(1, instance->threads);
  }
  if (gated_) {
    const policy::ModelOutlook window = options_.node->Window(node_id_);
    const int most = std::max(window.most, window.device_knee);
    if (most > 0) size = std::min(size, most);
  }
  Work work;
  // As it is now, also of sizes that did not run since the host became slower. With a device beside it, by both as they are known.
  const auto time = [this](int rows) {
    return stats_.device_times.entries().empty() ? stats_.times.AsOfLate(rows) : MeanTime(rows);
  };
  work.row_s = Seconds(time(size)) * threads / size;
  work.alone_s = Seconds(time(1));
  work.rows = stats_.rows;
  work.waiting_rows = queue_.waiting_rows();
  // Few rows at a time, or padding, cost more than full batches.
  if (stats_.device_times.entries().empty())
    work.late_row_s = stats_.late.seconds_per_unit() * threads;
  work.backlog_s = Seconds(running) + static_cast<double>(work.waiting_rows) *
                                          (work.late_row_s > 0 ? work.late_row_s : work.row_s);
  return work;
}

int64_t Dispatcher::GiveBack(int64_t rows) {
  std::vector<InferCall*> given;
  int64_t sum = 0;
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    for (Part* part : queue_.LatestMovable(rows)) {
      Request* request = part->request;
      sum += part->rows;
      queue_.Remove(*part);
      request->call->scheduler_state = nullptr;
      --open_requests_;
      given.push_back(request->call);
      delete request;
    }
    if (!given.empty()) Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
  for (InferCall* call : given) call->GivenBack();
  return sum;
}

}  // namespace evenkeel
