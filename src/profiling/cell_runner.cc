#include "profiling/cell_runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "profiling/output_difference.h"
#include "repository/signature.h"

namespace evenkeel {
namespace {

constexpr size_t kArenaBytes = size_t{256}
                               << 20;  // address space of a slot, each way, as in serving
constexpr int kWarmRuns = 2;
constexpr size_t kComparedRows = 32;

Time Now() { return SteadyClock::Instance().Now(); }

WorkerShape ToWorkerShape(const CellShape& shape) {
  WorkerShape out;
  out.milli_cores = shape.milli_cores;
  out.memory_bytes = shape.memory_bytes;
  if (shape.gpu()) out.gpu = GpuShape{0, shape.gpu_cores, shape.gpu_memory_bytes};
  return out;
}

double Percentile(std::vector<double> sorted, double share) {
  std::ranges::sort(sorted);
  const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(at, 1, sorted.size()) - 1];
}

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

// Microseconds of the runs that count.
struct ContainerCells::Times {
  std::vector<double> batch, single;
};

ContainerCells::ContainerCells(CellRunnerOptions options, Runtime& runtime)
    : options_(std::move(options)), runtime_(runtime) {}

ContainerCells::~ContainerCells() = default;

CellWorkerOptions ContainerCells::OptionsFor(const std::optional<CellShape>& shape,
                                             Precision precision) const {
  CellWorkerOptions o;
  const ModelConfig& model = options_.model;
  o.spec.executable = options_.libexec + "/evenkeel-worker-" + model.engine;
  o.spec.cpus = options_.cpus;
  o.spec.log_name = model.name + "/profile";
  o.spec.readable = {model.folder.empty() ? std::filesystem::path(model.path).parent_path().string()
                                          : model.folder};
  if (!options_.cache.empty()) o.spec.writable = {options_.cache};
  if (shape) o.spec.shape = ToWorkerShape(*shape);
  o.engine.path = model.path;
  o.engine.device = options_.device;
  o.engine.threads = shape ? ToWorkerShape(*shape).threads() : 1;
  o.engine.bf16 = precision == Precision::kBf16;
  o.engine.cache_dir = options_.cache;
  o.layout.input_capacity = o.layout.output_capacity = kArenaBytes;
  o.load_timeout = options_.load_timeout;
  o.cancel_fd = options_.cancel_fd;
  return o;
}

Result<Signature> ContainerCells::Probe() {
  std::optional<Fate> fate;
  auto worker = CellWorker::Start(OptionsFor(std::nullopt, Precision::kF32), runtime_, &fate);
  if (!worker.ok()) return worker.status().Annotate("model '" + options_.model.name + "'");
  engine_ = (*worker)->model().engine;
  auto signature = ResolveSignature(options_.model, (*worker)->model().signature);
  if (!signature.ok()) return signature;
  signature_ = *signature;
  return signature;
}

int ContainerCells::LargestBatch() const {
  if (!signature_.batched) return 1;
  const size_t row = std::max<size_t>(1, pool_->BytesOf(1));
  return static_cast<int>(std::clamp<size_t>(kArenaBytes / row, 1, 1 << 16));
}

Status ContainerCells::Prepare(const Cell& cell, std::optional<Fate>* fate) {
  if (worker_ && !worker_->fate() && worker_shape_ == cell.shape &&
      worker_precision_ == cell.precision) {
    return Status::Ok();
  }
  worker_.reset();
  auto worker = CellWorker::Start(OptionsFor(cell.shape, cell.precision), runtime_, fate);
  if (!worker.ok()) return worker.status();
  worker_ = std::move(*worker);
  worker_shape_ = cell.shape;
  worker_precision_ = cell.precision;
  return Status::Ok();
}

Result<LoadRow> ContainerCells::Run(const Cell& cell) {
  EK_CHECK(pool_.has_value());
  LoadRow row;
  row.cell = cell;
  std::optional<Fate> fate;
  Status status = Prepare(cell, &fate);
  if (!status.ok() && !fate) return status;
  Times times;
  if (status.ok()) {
    if (cell.precision == Precision::kBf16 && diff_max_ < 0) status = CompareOutputs();
    if (status.ok()) status = Measure(cell.batch, &times);
    fate = worker_->fate();
    row.peak_memory_bytes = MemoryOf(*worker_);
  }
  if (status.code() == Code::kCancelled) return status;
  if (status.ok()) {
    Fill(times, &row);
    JudgeMemory(&row);
  } else if (fate) {
    row.outcome = fate->outcome;
    row.detail = fate->detail;
    worker_.reset();
  } else {
    const bool memory = status.message().find("out of memory") != std::string::npos;
    row.outcome = memory ? CellOutcome::kOom : CellOutcome::kError;
    row.detail = status.message();
    worker_.reset();  // its slots may hold what nobody waits for
  }
  return row;
}

// One run on its own: for warming.
Status ContainerCells::Once(int rows, Time* end) {
  ipc::Channel& channel = worker_->channel();
  const uint32_t slot = channel.Reserve();
  auto inputs = pool_->Fill(cursor_, rows, channel.input_arena(slot));
  if (!inputs.ok()) return inputs.status();
  channel.Submit(slot, next_batch_++, *inputs);
  auto done = worker_->Wait(Now() + options_.run_timeout);
  if (!done.ok()) return done.status();
  channel.Release(done->slot);
  *end = done->started + done->compute;
  return done->status;
}

Status ContainerCells::Measure(int batch, Times* times) {
  // A model with a batch axis of one size runs that many rows whatever is asked.
  const int64_t axis = signature_.batched ? signature_.inputs.front().shape[0] : kDynamic;
  const auto run_rows = [&](int rows) { return axis == kDynamic ? rows : static_cast<int>(axis); };
  Time last_end{};
  for (int i = 0; i < kWarmRuns; ++i) {
    EK_RETURN_IF_ERROR(Once(run_rows(batch), &last_end));
    if (batch > 1) EK_RETURN_IF_ERROR(Once(run_rows(1), &last_end));
  }
  struct Flight {
    bool is_batch;
    Time submitted;
  };
  std::vector<Flight> flights;
  ipc::Channel& channel = worker_->channel();
  const double least_us = Seconds(options_.least_time) * 1e6;
  const Time begin = Now();
  double batch_us = 0, single_us = 0;
  int singles_due = 0;  // of the current round
  size_t item = 0;      // of the round's batch
  bool enough = false;
  const auto submit = [&]() -> Status {
    const bool is_batch = batch == 1 || singles_due == 0;
    if (is_batch) {
      cursor_ += static_cast<size_t>(batch);
      item = cursor_;
      singles_due = batch == 1 ? 0 : single_us < least_us ? batch : 1;
    } else {
      --singles_due;
    }
    const int rows = run_rows(is_batch ? batch : 1);
    const uint32_t slot = channel.Reserve();
    auto inputs = pool_->Fill(is_batch ? cursor_ : item++, rows, channel.input_arena(slot));
    if (!inputs.ok()) return inputs.status();
    flights.push_back({is_batch, Now()});
    channel.Submit(slot, next_batch_++, *inputs);
    return Status::Ok();
  };
  while (!enough || !flights.empty()) {
    while (!enough && channel.free_slots() > 0 && flights.size() < ipc::kSlots)
      EK_RETURN_IF_ERROR(submit());
    auto done = worker_->Wait(Now() + options_.run_timeout);
    if (!done.ok()) return done.status();
    channel.Release(done->slot);
    EK_RETURN_IF_ERROR(done->status);
    const Flight flight = flights.front();
    flights.erase(flights.begin());
    const Time end = done->started + done->compute;
    const double us = Seconds(end - std::max(last_end, flight.submitted)) * 1e6;
    last_end = end;
    (flight.is_batch ? times->batch : times->single).push_back(us);
    (flight.is_batch ? batch_us : single_us) += us;
    const size_t runs = times->batch.size();
    const bool singles = batch == 1 || times->single.size() >= static_cast<size_t>(batch);
    const bool late = Now() - begin > options_.most_time;
    enough = enough || (batch_us >= least_us && runs >= kLeastRuns && singles) ||
             (late && runs >= kFewestRuns && (batch == 1 || times->single.size() >= kFewestRuns)) ||
             (late && Now() - begin > 3 * options_.most_time && runs > 0 &&
              (batch == 1 || !times->single.empty()));
  }
  return Status::Ok();
}

void ContainerCells::Fill(const Times& times, LoadRow* row) const {
  const auto runs = static_cast<double>(times.batch.size());
  row->runs = static_cast<int64_t>(times.batch.size());
  row->batch_us = Sum(times.batch) / runs;
  row->p50_us = Percentile(times.batch, 0.5);
  row->p99_us = std::max(Percentile(times.batch, 0.99), row->batch_us);
  row->no_batch_us =
      row->cell.batch == 1
          ? row->batch_us
          : Sum(times.single) / static_cast<double>(times.single.size()) * row->cell.batch;
  if (row->cell.precision == Precision::kBf16) {
    row->diff_max = diff_max_;
    row->diff_mean = diff_mean_;
  }
}

// The highest so far by the control group; without one what it holds now, which after a cell's runs is close to it.
int64_t ContainerCells::MemoryOf(const CellWorker& worker) const {
  if (runtime_.rung() >= Rung::kCgroup) return worker.Usage().memory_peak_bytes.value_or(0);
  std::ifstream status(fmt::format("/proc/{}/status", worker.pid()));
  int64_t bytes = 0;
  for (std::string key; status >> key;) {
    int64_t kib = 0;
    if ((key == "RssAnon:" || key == "RssShmem:") && status >> kib) bytes += kib * 1024;
  }
  return bytes;
}

void ContainerCells::JudgeMemory(LoadRow* row) const {
  if (runtime_.rung() >= Rung::kCgroup) return;
  if (row->peak_memory_bytes <= row->cell.shape.memory_bytes) return;
  row->outcome = CellOutcome::kOom;
  row->detail =
      fmt::format("has {} MiB, and the shape has {}; the rung '{}' does not hold it to that",
                  row->peak_memory_bytes >> 20, FormatBytes(row->cell.shape.memory_bytes),
                  NameOf(runtime_.rung()));
}

Result<std::vector<std::vector<double>>> ContainerCells::Outputs(CellWorker& worker) {
  std::vector<std::vector<double>> all;
  ipc::Channel& channel = worker.channel();
  const int64_t axis = signature_.batched ? signature_.inputs.front().shape[0] : kDynamic;
  const int rows = axis == kDynamic ? 1 : static_cast<int>(axis);
  for (size_t i = 0; i < std::min(kComparedRows, pool_->size()); ++i) {
    const uint32_t slot = channel.Reserve();
    auto inputs = pool_->Fill(i, rows, channel.input_arena(slot));
    if (!inputs.ok()) return inputs.status();
    channel.Submit(slot, next_batch_++, *inputs);
    auto done = worker.Wait(Now() + options_.run_timeout);
    if (!done.ok()) return done.status();
    if (done->status.ok()) all.push_back(FloatElements(done->outputs));
    channel.Release(done->slot);
    EK_RETURN_IF_ERROR(done->status);
  }
  return all;
}

Status ContainerCells::CompareOutputs() {
  if (!f32_outputs_) {
    std::optional<Fate> fate;
    auto worker = CellWorker::Start(OptionsFor(std::nullopt, Precision::kF32), runtime_, &fate);
    if (!worker.ok()) return worker.status();
    auto outputs = Outputs(**worker);
    if (!outputs.ok()) return outputs.status();
    f32_outputs_ = std::move(*outputs);
  }
  auto outputs = Outputs(*worker_);
  if (!outputs.ok()) return outputs.status();
  const OutputDifference difference = Compare(*f32_outputs_, *outputs);
  diff_max_ = difference.largest;
  diff_mean_ = difference.mean;
  return Status::Ok();
}

}  // namespace evenkeel
