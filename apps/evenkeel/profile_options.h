// What `evenkeel profile` was asked for: flags checked and brought together with the settings.
//
// Thread-safety: main thread only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "containers/runtime.h"
#include "core/model_config.h"
#include "core/settings.h"
#include "core/tensor.h"
#include "profiling/policy/select_method.h"
#include "profiling/policy/select_objective.h"

namespace CLI {
class App;
}

namespace evenkeel {

enum class ProfileFormat { kTable, kWide, kJson, kYaml, kCsv };
enum class PlotKind { kNone, kPage, kPicture };  // HTML, PNG

struct ProfileOptions {
  std::string model;
  std::string models_folder, state, cache;  // from the settings unless given
  std::string runtime;                      // of the settings unless given
  bool as_daemon =
      false;  // `runtime` is of the settings: where it is "auto", what the daemon has taken counts
  std::vector<int> cpus;
  std::optional<EmulatedGpu> emulated;  // the setting emulated_gpu, or the flag
  std::optional<std::string> shapes_text, batches_text;
  std::optional<Duration> objective;
  double rate_per_s = 0;
  double threshold = kDefaultRatioThreshold;
  std::string samples_file;
  std::string plot_file;  // empty: none
  PlotKind plot = PlotKind::kNone;
  Duration run_timeout = std::chrono::seconds(30);
  bool full = false, fresh = false, explain = false;
  ProfileFormat format = ProfileFormat::kTable;
};

// Adds the flags to `verb`; Settled() is to be called once the command line was read.
class ProfileFlags {
 public:
  void AddTo(CLI::App& verb);
  // Error kInvalidArgument: which flag or setting is wrong, and how.
  Result<ProfileOptions> Settled() const;

 private:
  ProfileOptions given_;
  std::string models_, state_, cache_, emulated_, objective_, timeout_, format_ = "table";
  std::optional<std::string> plot_;
};

// The model that MODEL names: a file or model folder, or a name in the models folder. Errors: kNotFound, kInvalidArgument.
Result<ModelConfig> FindProfiledModel(const ProfileOptions& options);

}  // namespace evenkeel
