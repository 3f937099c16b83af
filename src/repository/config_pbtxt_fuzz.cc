// Fuzzes the reader of config.pbtxt and, with the same bytes, that of a load request's JSON. No files are opened: there is
// no folder to read labels from.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "core/check.h"
#include "core/parse.h"
#include "repository/config_pbtxt.h"
#include "repository/ensemble.h"
#include "repository/triton_config.h"

namespace {

void CheckConfig(const evenkeel::ModelConfig& config) {
  EK_CHECK(config.instances >= 0 && config.batching.max_batch >= 0);
  EK_CHECK(!(config.no_batch_axis && config.batch_axis_declared));
  EK_CHECK(config.default_priority >= 1 && config.default_priority <= 16);
  // An ensemble's tensors are made once each; that the order is one to run in is ensemble_fuzz's to find.
  EK_CHECK(config.ensemble.size() <= evenkeel::kMostEnsembleSteps);
  std::set<std::string> made;
  for (const auto& step : config.ensemble) {
    EK_CHECK(!step.model.empty() && !step.outputs.empty());
    for (const auto& output : step.outputs) EK_CHECK(made.insert(output.tensor).second);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  evenkeel::ModelConfig base;
  base.name = "m";
  const auto parsed = evenkeel::ParseConfigPbtxt(text, "fuzz.pbtxt", base);
  EK_CHECK(evenkeel::IsUtf8(parsed.status().message()));
  if (parsed.ok()) CheckConfig(parsed->config);
  const auto changed = evenkeel::ApplyTritonOverride(base, text);
  EK_CHECK(evenkeel::IsUtf8(changed.status().message()));
  if (changed.ok()) CheckConfig(*changed);
  return 0;
}
