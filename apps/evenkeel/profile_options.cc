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

Result<PlotKind> PlotKindOf(const std::string& file) {
  std::string suffix = fs::path(file).extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  if (suffix == ".html" || suffix == ".htm") return PlotKind::kPage;
  if (suffix == ".png") return PlotKind::kPicture;
  return InvalidArgument("--plot: expected .html or .png, got {}", Excerpt(file));
}

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
  verb.add_option("--plot", plot_, "Draw the table: a self-contained page, or a picture")
      ->type_name("FILE.html|png");
  verb.add_option("--cell-timeout", timeout_, "A batch that takes longer is a row `timeout` [30s]")
      ->type_name("TIME");
  verb.add_option("--runtime", given_.runtime,
                  "How containers are isolated: process|cgroup|oci|auto [the server's]")
      ->type_name("RUNG");
  verb.add_option("--models", models_, "Folder of models [the server's]")->type_name("FOLDER");
  verb.add_option("--state", state_, "Folder of tables and samples [the server's]")
      ->type_name("FOLDER");
  verb.add_option("--cache", cache_, "Folder of compiled models [the server's]")
      ->type_name("FOLDER");
  verb.add_option("--emulated-gpu", emulated_,
                  "For tests: the accelerator of models of class gpu and auto [the server's]")
      ->type_name("DEVICE");
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
  if (!emulated_.empty()) sources.flags.emplace_back("emulated_gpu", emulated_);
  const auto settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) return settings.status();
  options.models_folder = settings->text("models");
  options.state = settings->text("state");
  options.cache = settings->text("cache");
  options.cpus = settings->cpus("worker_cpus");
  // Under the same rung the daemon's tables are this one's. `none` is for debuggers, and measures as `process` does.
  options.as_daemon = options.runtime.empty();
  if (options.as_daemon) options.runtime = settings->text("runtime");
  if (options.runtime == "none") options.runtime = "process";
  options.emulated = settings->emulated_gpu("emulated_gpu");
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
  if (plot_) {
    const auto kind = PlotKindOf(*plot_);
    if (!kind.ok()) return kind.status();
    options.plot_file = *plot_;
    options.plot = *kind;
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

}  // namespace evenkeel
