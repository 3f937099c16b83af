// Fuzzes the reader of config.pbtxt and, with the same bytes, that of a load request's JSON. No files are opened: there is
// no folder to read labels from.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/check.h"
#include "core/parse.h"
#include "repository/config_pbtxt.h"
#include "repository/triton_config.h"

namespace {

void CheckConfig(const evenkeel::ModelConfig& config) {
  EK_CHECK(config.instances >= 0 && config.batching.max_batch >= 0);
  EK_CHECK(!(config.no_batch_axis && config.batch_axis_declared));
  EK_CHECK(config.default_priority >= 1 && config.default_priority <= 16);
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
