// The flags of `evenkeel bench` and the load plan that they ask for.
//
// Thread-safety: main thread only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "loadgen/inputs.h"
#include "loadgen/load.h"
#include "loadgen/render.h"

namespace evenkeel {

// With --llm: prompts instead of tensors.
struct TextFlags {
  bool on = false;
  std::string api = "completions";
  int prompt_tokens = 64;
  int output_tokens = 64;
  std::string lengths;  // file of both
  int context = 0;      // what lengths of a file are cut to; 0: not
  std::string temperature = "0";
  bool natural_end = false;
  std::string first_token, inter_token;  // objectives
};

// As given; "" means not given.
struct BenchFlags {
  std::vector<std::string> models;  // "name" or "name:weight"
  std::string url;
  std::string ca_file;
  std::string protocol = "http";
  std::string raw_file;
  std::string grpc_method;
  std::vector<std::string> headers;  // "Name: value"
  std::string key_file;              // --api-key-file
  std::string bearer;                // the key that came of it; "": none
  std::string version;
  std::vector<std::string> stages;
  int concurrency = 0;
  std::string rate;
  std::vector<std::string> arrivals;  // {"poisson"}, {"trace", "FILE"}
  std::string scale;
  std::string duration = "10s";
  bool duration_given = false;
  uint64_t requests = 0;
  std::string warm_up = "1s";
  int batch = 1;
  std::string input = "random";
  int distinct = 0;  // 0: 64 inputs, 1024 prompts
  int64_t id_max = -1;
  std::vector<std::string> shapes;  // "name:1,3,48,320"
  std::string encoding = "binary";
  bool check_stable = false;
  double tolerance = 1e-4;
  std::string timeout;                  // "": 10 s, with --llm 120 s
  std::vector<std::string> deadlines;   // "TIME" for every model, or "NAME=TIME"
  std::vector<std::string> objectives;  // the same
  std::string timeline;
  int threads = 1;
  int connections = 1;
  int max_in_flight = 4096;
  uint64_t seed = 1;
  TextFlags text;
};

// Everything but models and inputs: where, how fast, how long. Reads trace files.
Result<loadgen::LoadPlan> PlanFromFlags(const BenchFlags& flags);

// Asks the server what its models take and prepares the requests; with check_stable also fetches the right answers.
Status PrepareModels(const BenchFlags& flags, loadgen::LoadPlan* plan);

// With --llm: prompts for each model.
Status PrepareTextModels(const BenchFlags& flags, loadgen::LoadPlan* plan);

// Parts of both. "name" or "name:weight"; what is sent with each request of `model`; the duration for `model` among "TIME" (every model)
// and "NAME=TIME" (that one, the stronger).
Result<std::pair<std::string, double>> ParseModelFlag(const std::string& text);
Result<loadgen::RenderOptions> RenderFromFlags(const BenchFlags& flags, const std::string& model);
Status SetDurationFor(const std::string& model, const std::vector<std::string>& entries,
                      const char* flag, Duration* value);

// Rows from a samples export or any safetensors file whose tensors are named like the model's inputs, rows first.
Result<loadgen::RowTable> RowsFromSafetensors(const std::string& bytes,
                                              const loadgen::ModelInfo& model);

}  // namespace evenkeel
