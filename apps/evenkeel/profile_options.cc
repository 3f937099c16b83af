#include "profile_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>

#include "core/format.h"
#include "core/parse.h"
#include "repository/scan.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr Duration kLeastObjective = std::chrono::microseconds(100);
constexpr Duration kMostObjective = std::chrono::hours(1);
constexpr size_t kMaxShapes = 256;

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

Result<Duration> DurationBetween(const char* flag, const std::string& text, Duration lo,
                                 Duration hi) {
  const auto value = ParseDuration(text);
  if (!value.ok()) return value.status().Annotate(flag);
  if (*value < lo || *value > hi) {
    return InvalidArgument("{}: expected {} to {}, got {}", flag, FormatDuration(lo),
                           FormatDuration(hi), Excerpt(text));
  }
  return *value;
}

CellShape FromWorkerShape(const WorkerShape& shape) {
  CellShape cell{shape.milli_cores, shape.memory_bytes, 0, 0};
  if (shape.gpu) {
    cell.gpu_cores = shape.gpu->cores;
    cell.gpu_memory_bytes = shape.gpu->memory_bytes;
  }
  return cell;
}

bool HoldsCores(Rung rung) { return rung >= Rung::kCgroup; }

}  // namespace

void ProfileFlags::AddTo(CLI::App& verb) {
  verb.add_option("MODEL", given_.model, "A model file or folder, or a name in the models folder")
      ->required()
      ->type_name("");
  verb.add_option("--shapes", given_.shapes_text,
                  "Container shapes, as in 1c/512MiB,2c/1GiB [what this host holds]")
      ->type_name("LIST");
  verb.add_option("--batches", given_.batches_text,
                  "Batch sizes, as in 1,2,4,8 [1, 2, 4 ... the model's largest]")
      ->type_name("LIST");
  verb.add_option("--objective", objective_, "p99 to keep [the model's, else 50ms]")
      ->type_name("TIME");
  verb.add_option("--rate", given_.rate_per_s,
                  "Forecast, items a second [0.7 of what a row can serve]")
      ->type_name("NUMBER");
  verb.add_option("--threshold", given_.threshold, "Batchtime / NoBatchtime that passes [0.8]")
      ->type_name("RATIO");
  verb.add_option("--samples", given_.samples_file,
                  "Inputs from this file of `samples export` [those kept on disk]")
      ->type_name("FILE");
  verb.add_flag("--full", given_.full, "Run every cell: imply none");
  verb.add_flag("--fresh", given_.fresh, "Forget what was measured before");
  verb.add_flag("--explain", given_.explain, "Say which rows each rule dropped, and why one won");
  verb.add_option("--plot", given_.plot_file, "Draw the table into one self-contained page")
      ->type_name("FILE.html");
  verb.add_option("--cell-timeout", timeout_, "A batch that takes longer is a row `timeout` [30s]")
      ->type_name("TIME");
  verb.add_option("--runtime", given_.runtime,
                  "How containers are isolated: process|cgroup|oci|auto [auto]")
      ->type_name("RUNG");
  verb.add_option("--models", models_, "Folder of models [the server's]")->type_name("FOLDER");
  verb.add_option("--state", state_, "Folder of tables and samples [the server's]")
      ->type_name("FOLDER");
  verb.add_option("--cache", cache_, "Folder of compiled models [the server's]")
      ->type_name("FOLDER");
  verb.add_option("-o,--output", format_, "How to print: table|wide|csv|json|yaml [table]")
      ->type_name("")
      ->check([](const std::string& text) -> std::string {
        for (const char* known : {"table", "wide", "csv", "json", "yaml"}) {
          if (text == known) return {};
        }
        return "expected one of table|wide|csv|json|yaml, got " + Excerpt(text);
      });
}

Result<ProfileOptions> ProfileFlags::Settled() const {
  ProfileOptions options = given_;
  SettingSources sources = DefaultSources();
  if (!models_.empty()) sources.flags.emplace_back("models", models_);
  if (!state_.empty()) sources.flags.emplace_back("state", state_);
  if (!cache_.empty()) sources.flags.emplace_back("cache", cache_);
  const auto settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) return settings.status();
  options.models_folder = settings->text("models");
  options.state = settings->text("state");
  options.cache = settings->text("cache");
  options.cpus = settings->cpus("worker_cpus");
  if (!objective_.empty()) {
    auto objective = DurationBetween("--objective", objective_, kLeastObjective, kMostObjective);
    if (!objective.ok()) return objective.status();
    options.objective = *objective;
  }
  if (!timeout_.empty()) {
    auto timeout = DurationBetween("--cell-timeout", timeout_, std::chrono::milliseconds(10),
                                   std::chrono::hours(1));
    if (!timeout.ok()) return timeout.status();
    options.run_timeout = *timeout;
  }
  if (!(options.threshold > 0 && options.threshold <= 1)) {
    return InvalidArgument("--threshold: expected more than 0 and at most 1, got {}",
                           options.threshold);
  }
  if (!(options.rate_per_s >= 0 && options.rate_per_s <= 1e9))
    return InvalidArgument("--rate: expected 0 to 1e9, got {}", options.rate_per_s);
  for (const char* known : {"process", "cgroup", "oci", "auto", ""}) {
    if (options.runtime == known) break;
    if (*known == '\0') {
      return InvalidArgument("--runtime: expected process, cgroup, oci or auto, got {}",
                             Excerpt(options.runtime));
    }
  }
  const std::map<std::string, ProfileFormat> formats = {{"table", ProfileFormat::kTable},
                                                        {"wide", ProfileFormat::kWide},
                                                        {"json", ProfileFormat::kJson},
                                                        {"yaml", ProfileFormat::kYaml},
                                                        {"csv", ProfileFormat::kCsv}};
  options.format = formats.at(format_);
  return options;
}

Result<ModelConfig> FindProfiledModel(const ProfileOptions& options) {
  std::error_code error;
  fs::path path = fs::absolute(options.model, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const bool by_path = options.model.find('/') != std::string::npos || fs::exists(path, error);
  std::string folder = options.models_folder;
  std::string name = options.model;
  if (by_path) {
    if (!fs::exists(path, error)) return NotFound("there is no '{}'", options.model);
    folder = fs::canonical(path.parent_path(), error).string();
    name = fs::is_directory(path, error) ? path.filename().string() : path.stem().string();
  } else {
    EK_RETURN_IF_ERROR(CheckModelsFolder(folder));
  }
  auto found = FindModel(folder, name);
  if (!found.ok() && !by_path) {
    return found.status().Annotate(
        fmt::format("'{}' is no file or folder here, and in the models folder", options.model));
  }
  if (!found.ok()) return found.status();
  if (!found->status.ok()) return found->status;
  return found->versions.back();
}

Result<std::vector<CellShape>> ShapesToSweep(const ProfileOptions& options, Rung rung,
                                             const HostSize& host) {
  const HostCapacity capacity{host.milli_cores, host.memory_bytes};
  std::vector<CellShape> shapes;
  if (!options.shapes_text) {
    for (const WorkerShape& shape : ShapesOf(capacity)) {
      if (HoldsCores(rung) || shape.whole_cores()) shapes.push_back(FromWorkerShape(shape));
    }
    if (shapes.empty()) return InvalidArgument("this host holds no shape of a container");
    return shapes;
  }
  for (const std::string& word : Words(*options.shapes_text)) {
    const auto shape = ParseWorkerShape(word);
    if (!shape.ok()) return shape.status().Annotate("--shapes");
    const Status fits = CheckFits(*shape, capacity);
    if (!fits.ok()) return fits.Annotate("--shapes");
    if (shape->gpu) {
      return InvalidArgument("--shapes: {}: this machine has no GPU that a worker could use",
                             FormatWorkerShape(*shape));
    }
    if (!HoldsCores(rung) && !shape->whole_cores()) {
      return InvalidArgument(
          "--shapes: {}: the rung '{}' cannot hold a container to a part of a core; try --runtime "
          "cgroup",
          FormatWorkerShape(*shape), NameOf(rung));
    }
    const CellShape cell = FromWorkerShape(*shape);
    if (std::ranges::find(shapes, cell) == shapes.end()) shapes.push_back(cell);
  }
  if (shapes.size() > kMaxShapes)
    return InvalidArgument("--shapes: expected at most {}, got {}", kMaxShapes, shapes.size());
  return shapes;
}

Result<std::vector<int>> BatchesToSweep(const ProfileOptions& options, const Signature& signature,
                                        int most) {
  const int largest = signature.batched ? std::min(signature.max_batch, most) : 1;
  std::vector<int> batches;
  if (!options.batches_text) {
    for (int rows = 1; rows < largest; rows *= 2) batches.push_back(rows);
    batches.push_back(largest);
    return batches;
  }
  for (const std::string& word : Words(*options.batches_text)) {
    const auto rows = ParseInt(word, 1, 1 << 16);
    if (!rows.ok()) return rows.status().Annotate("--batches");
    if (*rows > largest) {
      return InvalidArgument("--batches: {}: {}", *rows,
                             signature.batched
                                 ? fmt::format("the model takes at most {} rows", largest)
                                 : std::string("the model has no batch axis"));
    }
    batches.push_back(static_cast<int>(*rows));
  }
  std::ranges::sort(batches);
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  return batches;
}

}  // namespace evenkeel
