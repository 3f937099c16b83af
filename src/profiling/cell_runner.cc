#include "profiling/cell_runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "profiling/output_difference.h"
#include "profiling/policy/own_time.h"
#include "repository/signature.h"

namespace evenkeel {
namespace {

constexpr size_t kArenaBytes = size_t{256}
                               << 20;  // address space of a slot, each way, as in serving
constexpr int kWarmRuns = 1;
// A container with a quota may spend a period's at once after a pause.
constexpr Duration kQuotaStint = 10 * std::chrono::microseconds(kQuotaPeriodUs);
constexpr size_t kComparedRows = 32;

Time Now() { return SteadyClock::Instance().Now(); }

// An engine's own way of saying so, also at load: the weights alone may be too much for a device.
bool OutOfMemory(const Status& status) {
  return status.message().find("out of memory") != std::string::npos;
}

double Percentile(std::vector<double> sorted, double share) {
  std::ranges::sort(sorted);
  const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(at, 1, sorted.size()) - 1];
}

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Of a process's threads; empty where the kernel does not tell.
ThreadWaits WaitsForCores(pid_t pid) {
  ThreadWaits waits;
  if (pid <= 0) return waits;
  // Without exceptions: the process may end while its threads are listed.
  std::error_code error;
  std::filesystem::directory_iterator task(fmt::format("/proc/{}/task", pid), error);
  for (; !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
    std::ifstream in(task->path() / "schedstat");
    double ran = 0, waited = 0;
    if (in >> ran >> waited) waits[task->path().filename().string()] = waited * 1e-9;
  }
  return waits;
}

// Pages that a process had to have read from the disk, since its start.
int64_t MajorFaults(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(in, text);
  // The program's name, in brackets, may hold anything.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  // State, parent, group, session, terminal, its group, flags, two kinds of minor faults.
  std::string skipped;
  for (int i = 0; i < 9; ++i) fields >> skipped;
  int64_t faults = 0;
  return fields >> faults ? faults : 0;
}

}  // namespace

CellShape ToCellShape(const WorkerShape& shape) {
  CellShape cell{shape.milli_cores, shape.memory_bytes, 0, 0};
  if (shape.gpu) {
    cell.gpu_cores = shape.gpu->cores;
    cell.gpu_memory_bytes = shape.gpu->memory_bytes;
  }
  return cell;
}

WorkerShape ToWorkerShape(const CellShape& shape) {
  WorkerShape out;
  out.milli_cores = shape.milli_cores;
  out.memory_bytes = shape.memory_bytes;
  if (shape.gpu()) out.gpu = GpuShape{0, shape.gpu_cores, shape.gpu_memory_bytes};
  return out;
}

// The runs that count, and how long the cell ran for them.
struct ContainerCells::Times {
  std::vector<double> batch, single;  // microseconds each
  double batch_us = 0, single_us = 0;
  Duration active{};
  int64_t major_faults = 0;

  void Add(bool is_batch, double us) {
    (is_batch ? batch : single).push_back(us);
    (is_batch ? batch_us : single_us) += us;
  }
  // Of the runs that came after `before`: they waited for a core for so long.
  void TakeOff(double waited_us, const Times& before) {
    const double by =
        OwnShare(batch_us + single_us - before.batch_us - before.single_us, waited_us);
    Scale(std::span(batch).subspan(before.batch.size()), by);
    Scale(std::span(single).subspan(before.single.size()), by);
    batch_us = before.batch_us + by * (batch_us - before.batch_us);
    single_us = before.single_us + by * (single_us - before.single_us);
  }
};

// How a stint ended: whether its runs count, and for how long they had no core.
struct ContainerCells::StintEnd {
  bool counts = true;
  double waited_s = 0;
};

// Which run comes next: a batch, then its items one by one, and again.
class ContainerCells::Rounds {
 public:
  explicit Rounds(int batch) : batch_(batch) {}

  struct Run {
    bool is_batch;
    size_t first;  // row of the pool
  };
  // `all_items`: every item of the batch is to be run by itself, not just one.
  Run Next(bool all_items, size_t* cursor) {
    if (batch_ > 1 && due_ > 0) {
      --due_;
      return {false, item_++};
    }
    *cursor += static_cast<size_t>(batch_);
    item_ = *cursor;
    due_ = all_items ? batch_ : 1;
    return {true, *cursor};
  }
  int batch() const { return batch_; }

 private:
  const int batch_;
  int due_ = 0;  // items of the round
  size_t item_ = 0;
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
  o.spec.readable = {FolderOf(model)};
  if (!options_.cache.empty()) o.spec.writable = {options_.cache};
  if (shape) o.spec.shape = ToWorkerShape(*shape);
  o.engine.path = model.path;
  o.engine.device = options_.device;
  o.engine.threads = shape ? ToWorkerShape(*shape).threads() : 1;
  o.engine.bf16 = precision == Precision::kBf16;
  o.engine.cache_dir = options_.cache;
  if (shape && shape->gpu()) PutOnDevice(*shape, &o.engine);
  o.layout.input_capacity = o.layout.output_capacity = kArenaBytes;
  o.load_timeout = options_.load_timeout;
  o.spec.background = options_.background;
  o.cancel_fd = options_.cancel_fd;
  return o;
}

template <typename Body>
Status ContainerCells::InStint(Body body, StintEnd* end) {
  if (options_.gate == nullptr) return body();
  EK_RETURN_IF_ERROR(options_.gate->Begin());
  const Time begin = Now();
  const double core_s = CoreSeconds();
  const pid_t pid = worker_ ? worker_->pid() : 0;
  const ThreadWaits waits = WaitsForCores(pid);
  const std::optional<double> held_s = HeldByQuota();
  const Status status = body();
  Stint stint{Now() - begin, CoreSeconds() - core_s, 0};
  Waited waited;
  if (worker_ && worker_->pid() == pid && held_s) {
    waited = WaitedSince(waits, WaitsForCores(pid));
    // What a quota holds back counts as waiting too, and is no disturbance.
    const double held = std::max(0.0, HeldByQuota().value_or(0) - *held_s);
    waited.sum_s = std::max(0.0, waited.sum_s - held);
    waited.longest_s = std::min(waited.longest_s, waited.sum_s);
    stint.wait_s = waited.sum_s;
  }
  const bool counts = options_.gate->End(stint);
  if (end != nullptr) {
    end->counts = counts;
    end->waited_s = ToWorkerShape(worker_shape_).threads() == 1 ? waited.sum_s : waited.longest_s;
  }
  return status;
}

// Zero without a quota; empty where there is one and nobody tells.
std::optional<double> ContainerCells::HeldByQuota() const {
  if (!worker_) return std::nullopt;
  if (worker_shape_.milli_cores % 1000 == 0) return 0.0;
  return worker_->Usage().throttled_s;
}

// Of all workers so far.
double ContainerCells::CoreSeconds() const {
  return retired_core_s_ + (worker_ ? worker_->Usage().cpu_s.value_or(0) : 0);
}

void ContainerCells::Retire(std::unique_ptr<CellWorker> worker) {
  if (worker) retired_core_s_ += worker->Usage().cpu_s.value_or(0);
}

void ContainerCells::PutOnDevice(const CellShape& shape, EngineOptions* engine) const {
  if (!options_.emulated) {
    engine->device = options_.gpu_device;
    return;
  }
  engine->emulated = ShareOf(*options_.emulated, {shape.gpu_cores, shape.gpu_memory_bytes});
}

Result<Signature> ContainerCells::Probe() {
  Result<Signature> signature = Internal("not probed");
  EK_RETURN_IF_ERROR(InStint(
      [&]() -> Status {
        std::optional<Fate> fate;
        auto worker = CellWorker::Start(OptionsFor(std::nullopt, Precision::kF32), runtime_, &fate,
                                        &retired_core_s_);
        if (!worker.ok()) return worker.status().Annotate("model '" + options_.model.name + "'");
        engine_ = (*worker)->model().engine;
        signature = ResolveSignature(options_.model, (*worker)->model().signature);
        Retire(std::move(*worker));
        return signature.status();
      },
      nullptr));
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
  Retire(std::move(worker_));
  return InStint(
      [&]() -> Status {
        auto worker = CellWorker::Start(OptionsFor(cell.shape, cell.precision), runtime_, fate,
                                        &retired_core_s_);
        if (!worker.ok()) return worker.status();
        worker_ = std::move(*worker);
        used_.fill(0);
        worker_shape_ = cell.shape;
        worker_precision_ = cell.precision;
        return Status::Ok();
      },
      nullptr);
}

Result<LoadRow> ContainerCells::Run(const Cell& cell) {
  EK_CHECK(pool_.has_value());
  LoadRow row;
  row.cell = cell;
  std::optional<Fate> fate;
  Status status = Prepare(cell, &fate);
  if (!status.ok() && !fate && !OutOfMemory(status)) return status;
  Times times;
  if (status.ok()) {
    if (cell.precision == Precision::kBf16 && !compared_)
      status = InStint([this] { return CompareOutputs(); }, nullptr);
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
    Retire(std::move(worker_));
  } else {
    row.outcome = OutOfMemory(status) ? CellOutcome::kOom : CellOutcome::kError;
    row.detail = status.message();
    Retire(std::move(worker_));  // its slots may hold what nobody waits for
  }
  return row;
}

// Rows in a slot's arena, and how far it has been written to.
Result<std::vector<TensorView>> ContainerCells::Place(uint32_t slot, size_t first, int rows) {
  const std::span<std::byte> arena = worker_->channel().input_arena(slot);
  auto inputs = pool_->Fill(first, rows, arena);
  if (!inputs.ok() || inputs->empty()) return inputs;
  const auto end =
      static_cast<size_t>(inputs->back().data.data() + inputs->back().data.size() - arena.data());
  used_[slot] = std::max(used_[slot], end);
  return inputs;
}

// One run on its own: for warming. `blank`: of zeros, where the model takes them, which are not written where the arena holds them
// already: whoever touches shared memory first is charged for it, and that is to be the worker, as in serving.
Status ContainerCells::Once(int rows, bool blank) {
  ipc::Channel& channel = worker_->channel();
  const uint32_t slot = channel.Reserve();
  std::optional<std::vector<TensorView>> zeros;
  if (blank) zeros = pool_->Blank(rows, channel.input_arena(slot), used_[slot]);
  auto inputs =
      zeros ? Result<std::vector<TensorView>>(std::move(*zeros)) : Place(slot, cursor_, rows);
  if (!inputs.ok()) return inputs.status();
  channel.Submit(slot, next_batch_++, *inputs);
  auto done = worker_->Wait(Now() + options_.run_timeout);
  if (!done.ok()) return done.status();
  channel.Release(done->slot);
  return done->status;
}

// A model with a batch axis of one size runs that many rows whatever is asked.
int ContainerCells::RunRows(int rows) const {
  const int64_t axis = signature_.batched ? signature_.inputs.front().shape[0] : kDynamic;
  return axis == kDynamic ? rows : static_cast<int>(axis);
}

Status ContainerCells::WarmUp(int batch) {
  // Each slot's turn comes.
  for (uint32_t i = 0; i < ipc::kSlots; ++i)
    EK_RETURN_IF_ERROR(Once(RunRows(batch), /*blank=*/true));
  for (int i = 0; i < kWarmRuns; ++i) {
    EK_RETURN_IF_ERROR(Once(RunRows(batch), /*blank=*/false));
    if (batch > 1) EK_RETURN_IF_ERROR(Once(RunRows(1), /*blank=*/false));
  }
  return Status::Ok();
}

Status ContainerCells::Measure(int batch, Times* times) {
  const Status warm = InStint([&] { return WarmUp(batch); }, nullptr);
  if (!warm.ok()) return warm;
  Rounds rounds(batch);
  while (!Enough(*times, batch)) {
    Times with = *times;
    StintEnd end;
    const int64_t faults = MajorFaults(worker_->pid());
    EK_RETURN_IF_ERROR(InStint([&] { return RunStint(&rounds, &with); }, &end));
    if (!end.counts) continue;
    with.major_faults += std::max<int64_t>(0, MajorFaults(worker_->pid()) - faults);
    with.TakeOff(end.waited_s * 1e6, *times);
    *times = std::move(with);
  }
  return Status::Ok();
}

bool ContainerCells::Enough(const Times& times, int batch) const {
  const size_t runs = times.batch.size(), singles = times.single.size();
  const bool all_singles = batch == 1 || singles >= static_cast<size_t>(batch);
  const bool late = times.active > options_.most_time;
  return (times.batch_us >= Seconds(options_.least_time) * 1e6 && runs >= kLeastRuns &&
          all_singles) ||
         (late && runs >= kFewestRuns && (batch == 1 || singles >= kFewestRuns)) ||
         (times.active > 3 * options_.most_time && runs > 0 && (batch == 1 || singles > 0));
}

// Runs one behind the other, until the cell has enough or the stint is over.
Status ContainerCells::RunStint(Rounds* rounds, Times* times) {
  struct Flight {
    bool is_batch;
    Time submitted;
  };
  std::vector<Flight> flights;
  ipc::Channel& channel = worker_->channel();
  const int batch = rounds->batch();
  const Duration longest = worker_shape_.milli_cores % 1000 == 0 ? kStint : kQuotaStint;
  const double least_us = Seconds(options_.least_time) * 1e6;
  const Time begin = Now();
  const Duration active = times->active;
  Time last_end = begin;
  size_t depth = options_.gate == nullptr ? ipc::kSlots : 1;
  bool over = false;
  const auto submit = [&]() -> Status {
    const Rounds::Run run = rounds->Next(times->single_us < least_us, &cursor_);
    const uint32_t slot = channel.Reserve();
    auto inputs = Place(slot, run.first, RunRows(run.is_batch ? batch : 1));
    if (!inputs.ok()) return inputs.status();
    flights.push_back({run.is_batch, Now()});
    channel.Submit(slot, next_batch_++, *inputs);
    return Status::Ok();
  };
  while (!over || !flights.empty()) {
    while (!over && channel.free_slots() > 0 && flights.size() < depth)
      EK_RETURN_IF_ERROR(submit());
    auto done = worker_->Wait(Now() + options_.run_timeout);
    if (!done.ok()) return done.status();
    channel.Release(done->slot);
    EK_RETURN_IF_ERROR(done->status);
    const Flight flight = flights.front();
    flights.erase(flights.begin());
    const Time end = done->started + done->compute;
    const Duration took = end - std::max(last_end, flight.submitted);
    last_end = end;
    times->Add(flight.is_batch, Seconds(took) * 1e6);
    times->active = active + (Now() - begin);
    // A long run does not take another with it into the stint.
    if (options_.gate != nullptr) depth = 2 * took < kStint ? ipc::kSlots : 1;
    over = over || Enough(*times, batch) || (options_.gate != nullptr && Now() - begin >= longest);
  }
  return Status::Ok();
}

void ContainerCells::Fill(const Times& times, LoadRow* row) const {
  const auto runs = static_cast<double>(times.batch.size());
  row->runs = static_cast<int64_t>(times.batch.size());
  row->major_faults = times.major_faults;
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
  const int rows = RunRows(1);
  for (size_t i = 0; i < std::min(kComparedRows, pool_->size()); ++i) {
    const uint32_t slot = channel.Reserve();
    auto inputs = pool_->Fill(i, rows, channel.input_arena(slot));
    if (!inputs.ok()) return inputs.status();
    channel.Submit(slot, next_batch_++, *inputs);
    auto done = worker.Wait(Now() + options_.run_timeout);
    if (!done.ok()) return done.status();
    if (done->status.ok()) all.push_back(Elements(done->outputs));
    channel.Release(done->slot);
    EK_RETURN_IF_ERROR(done->status);
  }
  return all;
}

Status ContainerCells::CompareOutputs() {
  if (!f32_outputs_) {
    std::optional<Fate> fate;
    auto worker = CellWorker::Start(OptionsFor(std::nullopt, Precision::kF32), runtime_, &fate,
                                    &retired_core_s_);
    if (!worker.ok()) return worker.status();
    auto outputs = Outputs(**worker);
    Retire(std::move(*worker));
    if (!outputs.ok()) return outputs.status();
    f32_outputs_ = std::move(*outputs);
  }
  auto outputs = Outputs(*worker_);
  if (!outputs.ok()) return outputs.status();
  const OutputDifference difference = Compare(*f32_outputs_, *outputs);
  diff_max_ = difference.largest;
  diff_mean_ = difference.mean;
  compared_ = true;
  return Status::Ok();
}

}  // namespace evenkeel
