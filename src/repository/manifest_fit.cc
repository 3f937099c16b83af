#include "repository/manifest_fit.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/format.h"
#include "repository/yaml_tree.h"

namespace evenkeel {
namespace {

struct TensorKey {
  std::string_view name;
  std::string_view instead;
};
constexpr std::array<TensorKey, 8> kTensorKeys = {{
    {"max_batch", "'language.sequences' says how many run at once"},
    {"batching", "'language.sequences' says how many run at once"},
    {"objective", "give 'language.time_to_first_token' and 'language.inter_token'"},
    {"precision", "the file says how its weights are kept"},
    {"tolerance", "the file says how its weights are kept"},
    {"inputs", "it takes texts"},
    {"outputs", "it gives texts"},
    {"samples", "prompts are not sampled"},
}};

}  // namespace

Status CheckKeysFit(const Manifest& manifest, bool is_language) {
  for (const Manifest::Key& key : manifest.keys) {
    if (!is_language && key.name == "language") {
      return YamlError(manifest.config.source, key.line, key.column,
                       "language: has a meaning only for language models (.gguf)");
    }
    const auto tensor_key = std::ranges::find(kTensorKeys, key.name, &TensorKey::name);
    if (!is_language || tensor_key == kTensorKeys.end()) continue;
    return YamlError(
        manifest.config.source, key.line, key.column,
        fmt::format("{}: means nothing for a language model: {}", key.name, tensor_key->instead));
  }
  return Status::Ok();
}

Status CheckTritonFits(const ModelConfig& config, bool is_language) {
  if (!is_language) return Status::Ok();
  const BatchingConfig& batching = config.batching;
  const char* key = !config.inputs.empty()                      ? "input"
                    : !config.outputs.empty()                   ? "output"
                    : batching.max_batch > 0                    ? "max_batch_size"
                    : batching.policy == BatchingPolicy::kFixed ? "dynamic_batching"
                                                                : nullptr;
  if (key == nullptr) return Status::Ok();
  return InvalidArgument("{}: {}: means nothing for a language model: it takes and gives texts",
                         config.source, key);
}

}  // namespace evenkeel
