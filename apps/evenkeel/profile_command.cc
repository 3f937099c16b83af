// `evenkeel profile`: measures a model over container shapes and batch sizes, and says which to use.
#include <sys/eventfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "api.h"
#include "commands.h"
#include "containers/usable_cpus.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "core/replace_file.h"
#include "engines/device_list.h"
#include "profile_choices.h"
#include "profile_options.h"
#include "profile_picture.h"
#include "profile_plot.h"
#include "profile_png.h"
#include "profile_print.h"
#include "profiling/cell_runner.h"
#include "profiling/load_table_store.h"
#include "profiling/model_profile.h"
#include "profiling/saved_samples.h"
#include "repository/model_check.h"
#include "server/state_lock.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    "  evenkeel profile ctr                        a model of the models folder\n"
    "  evenkeel profile ./model.onnx --objective 20ms --explain\n"
    "  evenkeel profile ctr --shapes 1c/512MiB,2c/1GiB --batches 1,8,32 --plot ctr.png\n"
    "  evenkeel profile ctr -o json > ctr.json; evenkeel simulate --models ctr.json --arrivals "
    "ctr=poisson:1000";
constexpr int kExitInterrupted = 130;

int cancel_fd = -1;

void OnSignal(int) {
  const int saved = errno;
  const uint64_t one = 1;
  if (::write(cancel_fd, &one, sizeof one) < 0) errno = 0;
  errno = saved;
}

void Warn(const std::string& text) { std::fprintf(stderr, "evenkeel: %s\n", text.c_str()); }

[[noreturn]] void FailWith(const Status& status) {
  const bool usage = status.code() == Code::kInvalidArgument || status.code() == Code::kNotFound;
  Fail(usage ? kExitUsage : kExitFailed, status.message());
}

template <typename T>
T OrFail(Result<T> result) {
  if (!result.ok()) FailWith(result.status());
  return std::move(result).value();
}

// What is wrong with a flag names it.
template <typename T>
Result<T> For(const char* flag, Result<T> result) {
  if (result.ok()) return result;
  return result.status().Annotate(flag);
}

// A folder of this run's own below the state folder, locked: two sweeps at once would measure each other.
struct RunFolder {
  std::string path;
  std::unique_ptr<StateLock> lock;
  bool temporary = false;
  ~RunFolder() {
    std::error_code ignored;
    if (temporary) fs::remove_all(path, ignored);
  }
};

std::unique_ptr<RunFolder> TakeRunFolder(const std::string& state) {
  auto folder = std::make_unique<RunFolder>();
  folder->path = state + "/profile";
  auto lock = StateLock::Take(folder->path);
  // A daemon that looks whether somebody measures by hand holds it for a moment.
  for (int i = 0; i < 10 && !lock.ok() && lock.status().code() == Code::kConflict; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    lock = StateLock::Take(folder->path);
  }
  if (!lock.ok() && lock.status().code() == Code::kConflict)
    Fail(kExitFailed, "another profile is running: " + lock.status().message());
  if (lock.ok()) {
    folder->lock = std::move(*lock);
    return folder;
  }
  std::string name = (fs::temp_directory_path() / "evenkeel-profile-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) FailWith(lock.status());
  folder->path = name;
  folder->temporary = true;
  return folder;
}

std::string Libexec() {
  std::error_code error;
  const auto program = fs::read_symlink("/proc/self/exe", error);
  for (const char* place : {"libexec/evenkeel", "../libexec/evenkeel"}) {
    const auto folder = (program.parent_path() / place).lexically_normal();
    if (fs::is_directory(folder, error)) return folder.string();
  }
  Fail(kExitFailed,
       "no worker executables: expected the folder libexec/evenkeel beside " + program.string());
}

// What the daemon of the state folder has taken, so that the tables are its own; "auto" where there is none, or where it can't be had here.
std::string DaemonsRuntime(const std::string& state) {
  const auto kept = KeptRung(state);
  if (!kept) return "auto";
  const std::string name(*kept == Rung::kNone ? "process" : NameOf(*kept));
  for (const RungReport& report : ProbeRungs(Libexec())) {
    if (report.rung != *kept || report.works) continue;
    Warn(
        fmt::format("the server runs its workers under '{}', which does not work here ({}): these "
                    "tables are not its own",
                    name, report.why));
    return "auto";
  }
  return name;
}

// Where the batches' rows come from: a named file, kept samples, or the signature.
RowPool RowsFor(const ProfileOptions& options, const ModelConfig& model, const Signature& signature,
                std::string* origin) {
  *origin = kFromSamples;
  if (!options.samples_file.empty()) return OrFail(ReadSampleFile(options.samples_file, signature));
  std::vector<std::string> warnings;
  auto kept = ReadSavedSamples(options.state + "/samples", model.name, signature, &warnings);
  for (const std::string& line : warnings) Warn(line);
  if (kept) return std::move(*kept);
  *origin = kFromSignature;
  Warn("no sampled inputs of '" + model.name +
       "': they are made up from its signature, and times that depend on the data may differ");
  return OrFail(MadeUpRows(signature));
}

// The accelerator that GPU shapes are measured on, for models that may use one.
void AddDevice(const ProfileOptions& options, const ModelConfig& model, HostSize* host,
               CellRunnerOptions* runner) {
  if (model.device == DeviceClass::kCpu) return;
  DeviceSize size;
  if (options.emulated) {
    size = options.emulated->size;
    runner->emulated = options.emulated;
    Warn("the accelerator is EMULATED: " + FormatEmulatedGpu(*options.emulated));
  } else {
    const auto devices = ListDevices(Libexec() + "/evenkeel-worker-openvino");
    if (devices.ok() && !devices->empty()) {
      runner->gpu_device = devices->front().name;
      size = {std::max(1, devices->front().cores), devices->front().memory_bytes};
    }
  }
  host->gpu_cores = size.cores;
  host->gpu_memory_bytes = size.memory_bytes;
  if (size.cores == 0 && model.device == DeviceClass::kGpu) {
    Fail(kExitFailed, "'" + model.name +
                          "' is of class gpu, and OpenVINO sees no GPU or NPU here; for a test see "
                          "--emulated-gpu");
  }
}

// Rows of different devices are never mixed: the processor's alone keep the key that they had.
std::string DeviceText(const ProfileOptions& options, const HostSize& host,
                       const CellRunnerOptions& runner) {
  if (host.gpu_cores == 0) return "CPU";
  return TableDevice(options.emulated, runner.gpu_device);
}

struct Sweeping {
  ProfileOptions options;
  ModelConfig model;
  HostSize host;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<ContainerCells> cells;
};

std::vector<CellShape> ShapesOf(const Sweeping& sweeping) {
  return OrFail(
      For("--shapes", ShapesToSweep(sweeping.options.shapes_text, sweeping.runtime->rung(),
                                    sweeping.host, sweeping.model.device)));
}

SweepPlan MakePlan(const Sweeping& sweeping, const Signature& signature) {
  SweepPlan::Grid grid;
  grid.shapes = ShapesOf(sweeping);
  grid.batches = OrFail(For("--batches", BatchesToSweep(sweeping.options.batches_text, signature,
                                                        sweeping.cells->LargestBatch())));
  grid.precisions = PrecisionsToSweep(sweeping.model, ThisMachine(sweeping.host));
  grid.full = sweeping.options.full;
  return SweepPlan(std::move(grid));
}

Status Draw(const ProfileOptions& options, const ProfileReport& report) {
  if (options.plot == PlotKind::kNone) return Status::Ok();
  if (options.plot == PlotKind::kPage)
    return ReplaceFile(options.plot_file, PlotPage(report, options.threshold));
  const auto png = RenderPng(Libexec(), PlotPicture(report, options.threshold));
  return png.ok() ? ReplaceFile(options.plot_file, *png) : For("--plot", png).status();
}

void Profile(ProfileOptions options) {
  Sweeping s;
  InitLogging("warning");
  options.cpus = OrFail(UsableCpus(options.cpus));
  s.model = OrFail(FindProfiledModel(options));
  if (const Status whole = CheckModelFile(s.model); !whole.ok()) FailWith(whole);
  if (options.plot == PlotKind::kPicture) {
    if (const Status able = CheckPng(Libexec()); !able.ok()) FailWith(able.Annotate("--plot"));
  }
  s.folder = TakeRunFolder(options.state);
  if (options.as_daemon && options.runtime == "auto")
    options.runtime = DaemonsRuntime(options.state);
  s.runtime = OrFail(MakeRuntime({options.runtime, s.folder->path, Libexec()}));
  s.host = HostFor(s.runtime->rung(), options.cpus);
  s.options = options;
  CellRunnerOptions runner = CellsOf(s.model, Libexec(), options.cache + "/compiled");
  AddDevice(options, s.model, &s.host, &runner);
  ShapesOf(s);  // what is wrong with them is told before anything takes time

  cancel_fd = ::eventfd(0, EFD_CLOEXEC);
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  std::signal(SIGPIPE, SIG_IGN);
  runner.cpus = options.cpus;
  runner.run_timeout = options.run_timeout;
  runner.cancel_fd = cancel_fd;
  const std::string device = DeviceText(options, s.host, runner);
  s.cells = std::make_unique<ContainerCells>(std::move(runner), *s.runtime);

  const Signature signature = OrFail(s.cells->Probe());
  ProfileReport report;
  std::string inputs;
  s.cells->SetRows(RowsFor(options, s.model, signature, &inputs));
  SweepPlan plan = MakePlan(s, signature);

  std::vector<std::string> warnings;
  const auto store =
      LoadTableStore::Open(fmt::format("{}/{}", options.state, kLoadTablesFile), &warnings);
  for (const std::string& line : warnings) Warn(line);
  report.table.key =
      OrFail(TableKeyOf(s.model, s.host, s.runtime->rung(), s.cells->engine(), device));
  if (options.fresh) {
    if (const Status removed = store->Remove(report.table.key); !removed.ok())
      Warn(removed.message());
  }
  const auto before = store->Get(report.table.key, inputs);
  if (!before.ok()) {
    Warn(before.status().message());
  } else {
    for (const LoadRow& row : before->rows) plan.Record(row);
    report.table.inputs = before->inputs;
  }
  report.run_before = plan.measured();

  const Time begin = SteadyClock::Instance().Now();
  Status swept;
  bool told = false;
  {
    ProfileProgress progress(plan);
    swept = RunSweep(
        &plan, *s.cells, [&](const Cell& cell) { progress.Begin(cell); },
        [&](const LoadRow& row) {
          const Status kept = store->Put(report.table.key, inputs, row);
          if (!kept.ok() && !std::exchange(told, true)) Warn(kept.message());
          progress.Done();
        });
  }
  s.cells.reset();
  s.runtime->EndAll();
  report.seconds = Seconds(SteadyClock::Instance().Now() - begin);
  report.run_now = plan.measured() - report.run_before;
  if (report.run_now > 0) report.table.inputs = inputs;
  if (swept.code() == Code::kCancelled) {
    Warn(fmt::format("interrupted; {} cells are kept, the same command goes on from there",
                     plan.measured()));
    throw CLI::RuntimeError(kExitInterrupted);
  }
  if (!swept.ok()) FailWith(swept);
  report.table.rows = plan.Table();
  report.cells = plan.cells();
  ChooseAll(options, s.model, s.host, &report);
  PrintReport(report, options.format, options.explain);
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %zu of %zu cells run (%zu earlier), the rest implied; %.1f s\n",
               s.model.name.c_str(), plan.measured(), report.cells, report.run_before,
               report.seconds);
  if (const auto advice = AdviceFor(report.table.rows)) Warn(*advice);
  if (const Status drawn = Draw(options, report); !drawn.ok()) FailWith(drawn);
}

}  // namespace

void RegisterProfile(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "profile", "Measure a model over container shapes and batch sizes, and choose among them");
  verb->footer(kExamples);
  auto flags = std::make_shared<ProfileFlags>();
  flags->AddTo(*verb);
  verb->callback([flags] {
    auto options = flags->Settled();
    if (!options.ok()) Fail(kExitUsage, options.status().message());
    Profile(std::move(*options));
  });
}

}  // namespace evenkeel
