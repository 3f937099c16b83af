// Fuzzes the reader of evenkeel.yaml. No files are opened: there is no folder to read labels from.
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "core/parse.h"
#include "repository/manifest_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const evenkeel::Result<evenkeel::Manifest> manifest =
      evenkeel::ParseManifest(text, "fuzz.yaml", evenkeel::ModelConfig());
  if (!manifest.ok()) {
    EK_CHECK(evenkeel::IsUtf8(manifest.status().message()));
    return 0;
  }
  const evenkeel::ModelConfig& config = manifest->config;
  EK_CHECK(config.instances >= 0 && config.version >= 1 && config.batching.max_batch >= 0);
  EK_CHECK(!(config.no_batch_axis && config.batch_axis_declared));
  return 0;
}
