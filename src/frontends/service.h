// What every protocol front end calls. Implemented in server/; a fake stands in for it in front-end tests.
//
// Contract: all calls are thread-safe and, but for the *Async ones' work, do not block. Errors are Statuses; a front end only translates them.
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/generation.h"
#include "core/infer.h"
#include "core/served_model.h"
#include "core/status.h"
#include "core/tensor.h"
#include "frontends/deploy_request.h"

namespace evenkeel {

struct DurationStat {
  uint64_t count = 0;
  uint64_t ns = 0;
};

// Triton's per-model statistics; cumulative since load.
struct ModelStatistics {
  std::string name, version;
  uint64_t last_inference_ms = 0;  // since the Unix epoch; 0: never
  uint64_t inference_count = 0;    // rows
  uint64_t execution_count = 0;    // batches
  DurationStat success, fail, queue, compute_input, compute_infer, compute_output, cancel;
  struct Batch {
    uint64_t batch_size = 0;
    DurationStat compute_input, compute_infer, compute_output;
  };
  std::vector<Batch> batch_stats;  // by batch size, ascending
};

struct RepositoryEntry {
  std::string name, version;  // version "" when none is loaded
  std::string state;          // READY, LOADING, UNLOADING, UNAVAILABLE
  std::string reason;         // why it is not ready; "unloaded" or an error
};

struct ModelMetadata {
  std::string name, platform;
  std::vector<std::string> versions;
  std::vector<TensorSpec> inputs, outputs;
};

struct SampleSummary {
  std::string model, signature;  // signature: "x:FP32[64]"
  uint64_t seen = 0, kept = 0, bytes = 0;
};

class Service {
 public:
  virtual ~Service() = default;

  // The ready model; version "" means the newest. Errors: kNotFound (unknown name or version), kUnavailable (known, not ready).
  virtual Result<std::shared_ptr<ServedModel>> Find(std::string_view name,
                                                    std::string_view version) = 0;

  // The ready language model. Errors: kNotFound (unknown, or no language model), kUnavailable (known, not ready).
  virtual Result<std::shared_ptr<LanguageModel>> FindLanguageModel(std::string_view name) {
    static_cast<void>(name);
    return Status(Code::kNotFound, "this server has no language models");
  }
  // Those that are ready, by name.
  virtual std::vector<LanguageModelInfo> LanguageModels() const { return {}; }

  virtual bool Live() const = 0;
  // Start-up is over and every model that serves has a worker up (a broken one does not count). `why`
  // (may be null) gets a line a model that is not ready.
  virtual bool Ready(std::vector<std::string>* why) const = 0;
  // Error kNotFound for unknown names or versions; false while loading or broken.
  virtual Result<bool> ModelReady(std::string_view name, std::string_view version) const = 0;

  virtual Result<ModelMetadata> Metadata(std::string_view name, std::string_view version) const = 0;
  // Triton's ModelConfig as JSON (snake_case field names of the published protocol).
  virtual Result<nlohmann::json> Config(std::string_view name, std::string_view version) const = 0;
  // name "": all models.
  virtual Result<std::vector<ModelStatistics>> Statistics(std::string_view name,
                                                          std::string_view version) const = 0;

  virtual std::vector<RepositoryEntry> RepositoryIndex(bool ready_only) const = 0;
  // `config_override`: Triton's "config" load parameter (JSON text), or empty. `done` is called exactly once, on any thread.
  virtual void LoadAsync(std::string name, std::string config_override,
                         std::function<void(Status)> done) = 0;
  virtual void UnloadAsync(std::string name, std::function<void(Status)> done) = 0;

  // Per model: settings, instances, their process ids, measured T(b), recent batches with close reasons. For `ps` and `show`.
  virtual nlohmann::json Describe() const = 0;
  virtual Result<nlohmann::json> DescribeModel(std::string_view name) const = 0;
  // How its batches are formed: parameters, T(b), forecast, the last batches and why they closed.
  virtual Result<nlohmann::json> DescribeBatching(std::string_view name,
                                                  std::string_view version) const = 0;

  // The cluster as a document that `evenkeel plan` reads (cluster/cluster_file.h). Error kNotFound: this server is alone.
  virtual Result<nlohmann::json> DescribeCluster() const;
  // What a node of the cluster is to do from now on: "drain" (no new work, and what it has goes elsewhere where that is possible), "cordon" (no new work),
  // "uncordon". `done` is called exactly once, on any thread: kNotFound (no such node, or no cluster), kInvalidArgument, kUnavailable (it can't be reached).
  virtual void SetNodeState(std::string node, std::string state, std::function<void(Status)> done);
  // The cluster's store, who leads, the plan. Error kNotFound: this server is alone.
  virtual Result<nlohmann::json> DescribeMembership() const;
  // "rm": the node is taken off the cluster; "replace": its member of the store is taken out, and made anew where there is room; "promote": the store is begun anew
  // on this server, `node` is empty. `done` is called exactly once, on any thread: kNotFound, kConflict, kInvalidArgument, kUnavailable (the store is away).
  virtual void ChangeMembership(std::string change, std::string node,
                                std::function<void(Status)> done);
  // A model served by nodes of the cluster, or not any more. `done` is called exactly once, on any thread: with the nodes that were chosen, or when it is gone.
  // Errors: kNotFound (no such model or node, or no cluster), kConflict, kUnavailable, kInvalidArgument.
  virtual void DeployModel(DeployRequest request, std::function<void(Result<nlohmann::json>)> done);
  virtual void UndeployModel(UndeployRequest request,
                             std::function<void(Result<nlohmann::json>)> done);
  // Deployments that were asked of this server, and how far they are.
  virtual Result<nlohmann::json> Deploys() const;
  // Has a plan that is about to be carried out kept in the cluster's store, so that older ones are refused: {"stored", "stamp"}; not stored where there is no store. `done` once, on any
  // thread. Errors: kNotFound (no cluster), kUnavailable (the store is away, or nobody leads), kConflict, kTooLarge.
  virtual void StorePlan(std::string plan, std::function<void(Result<nlohmann::json>)> done);

  virtual std::vector<SampleSummary> Samples() const = 0;
  // Writes the kept samples of `model` as safetensors bytes. Error kNotFound without samples.
  virtual Result<std::string> ExportSamples(std::string_view model) const = 0;
  virtual Status RemoveSamples(std::string_view model) = 0;  // "": all

  // Prometheus text exposition.
  virtual std::string MetricsText() const = 0;
};

// Name and version that the protocol's server metadata gives.
inline constexpr std::string_view kServerName = "evenkeel";
std::string_view ServerVersion();
// What the protocol's server metadata lists: extensions that both protocols answer.
inline constexpr std::string_view kServerExtensions[] = {
    "classification",     "model_repository",    "model_repository(unload_dependents)",
    "schedule_policy",    "model_configuration", "statistics",
    "binary_tensor_data", "parameters",          "logging"};

}  // namespace evenkeel
