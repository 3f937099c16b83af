#include "repository/gguf_check.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "core/format.h"
#include "core/parse.h"
#include "repository/byte_source.h"
#include "repository/gguf_metadata.h"
#include "repository/gguf_reader.h"
#include "repository/gguf_shape_check.h"
#include "repository/gguf_tensor_check.h"
#include "repository/gguf_vocabulary_check.h"

namespace evenkeel {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;  // of the widest number
constexpr uint64_t kMaxAlignment = 65'536;
constexpr size_t kMaxArchitecture = 64;
constexpr size_t kMaxShown = 256;  // bytes of texts that are only shown
constexpr size_t kMaxText = size_t{1} << 20;

class GgufChecker {
 public:
  GgufChecker(ByteSource& source, const GgufHeader& header)
      : source_(source), header_(header), metadata_(source, header) {}

  Result<GgufFacts> Check() {
    EK_RETURN_IF_ERROR(CheckWhole());
    EK_RETURN_IF_ERROR(ReadArchitecture());
    const Result<uint64_t> alignment = Alignment();
    if (!alignment.ok()) return alignment.status();
    const Result<GgufWeights> weights = CheckGgufTensors(header_, *alignment, source_.size());
    if (!weights.ok()) return weights.status();
    EK_RETURN_IF_ERROR(CheckGgufShape(metadata_, &facts_));
    EK_RETURN_IF_ERROR(CheckGgufVocabulary(source_, metadata_, &facts_));
    EK_RETURN_IF_ERROR(CheckGgufTensorNames(header_, static_cast<uint64_t>(facts_.blocks),
                                            RowOfEmbedding(),
                                            static_cast<uint64_t>(facts_.vocabulary)));
    EK_RETURN_IF_ERROR(Describe(*weights));
    return facts_;
  }

 private:
  // One model, and all of it.
  Status CheckWhole() const {
    const Result<std::optional<std::string>> type = metadata_.Text("general.type", kMaxText);
    if (!type.ok()) return type.status();
    if (*type && **type != "model") {
      return Unsupported("key 'general.type': expected 'model', got {}", Excerpt(**type));
    }
    const Result<std::optional<uint64_t>> parts = metadata_.Whole("split.count", 0, 65'535);
    if (!parts.ok()) return parts.status();
    if (parts->value_or(0) <= 1) return Status::Ok();
    const Result<std::optional<uint64_t>> number = metadata_.Whole("split.no", 0, 65'535);
    if (!number.ok()) return number.status();
    return Unsupported(
        "key 'split.count': expected a whole model, got part {} of {}: join the parts into one "
        "file first",
        number->value_or(0) + 1, **parts);
  }

  Status ReadArchitecture() {
    constexpr std::string_view kKey = "general.architecture";
    const Result<std::optional<std::string>> name = metadata_.Text(kKey, kMaxText);
    if (!name.ok()) return name.status();
    if (!*name) return GgufMetadata::Error(kKey, "is missing, expected a name such as 'llama'");
    const auto is_plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if ((*name)->empty() || (*name)->size() > kMaxArchitecture ||
        !std::ranges::all_of(**name, is_plain)) {
      return GgufMetadata::Error(
          kKey, fmt::format("expected 1 to {} small letters, digits, '-', '_' or '.', got {}",
                            kMaxArchitecture, Excerpt(**name)));
    }
    facts_.architecture = **name;
    return Status::Ok();
  }

  Result<uint64_t> Alignment() const {
    constexpr std::string_view kKey = "general.alignment";
    const Result<std::optional<uint64_t>> alignment =
        metadata_.Whole(kKey, kMinAlignment, kMaxAlignment);
    if (!alignment.ok()) return alignment.status();
    const uint64_t bytes = alignment->value_or(kDefaultAlignment);
    if (!std::has_single_bit(bytes)) {
      return GgufMetadata::Error(kKey, fmt::format("expected a power of two, got {}", bytes));
    }
    return bytes;
  }

  // 0: not known. Models with a feature extractor before the first block say so.
  uint64_t RowOfEmbedding() const {
    const bool has_features = metadata_.Find(facts_.architecture + ".features_length") != nullptr;
    return has_features ? 0 : static_cast<uint64_t>(facts_.embedding);
  }

  // A text that is only shown: cut, never anything but UTF-8, and empty where it is no text.
  std::string Shown(std::string_view key) const {
    const GgufValue* value = metadata_.Find(key);
    if (value == nullptr || value->type != GgufType::kString) return "";
    std::string text = source_.Text(value->at, value->at + value->count, kMaxShown + 1);
    return text.size() <= kMaxShown && IsUtf8(text) ? text : Excerpt(text, kMaxShown);
  }

  Status Describe(const GgufWeights& weights) {
    facts_.name = Shown("general.name");
    facts_.licence = Shown("general.license");
    const Result<std::optional<uint64_t>> type =
        metadata_.Whole("general.file_type", 0, UINT32_MAX);
    if (!type.ok()) return type.status();
    facts_.weight_type = weights.main_type;
    if (*type) facts_.quantisation = GgufFileTypeName(**type);
    if (facts_.quantisation.empty()) facts_.quantisation = facts_.weight_type;
    facts_.parameters = weights.parameters;
    facts_.weight_bytes = static_cast<int64_t>(weights.bytes);
    facts_.file_bytes = static_cast<int64_t>(source_.size());
    return Status::Ok();
  }

  ByteSource& source_;
  const GgufHeader& header_;
  const GgufMetadata metadata_;
  GgufFacts facts_;
};

Result<GgufFacts> CheckGguf(ByteSource& source) {
  const Result<GgufHeader> header = ReadGgufHeader(source);
  if (!header.ok()) return header.status();
  return GgufChecker(source, *header).Check();
}

}  // namespace

Result<GgufFacts> CheckGgufFile(const std::string& path) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  return CheckGguf(*source);
}

Result<GgufFacts> CheckGgufBytes(std::string_view bytes) {
  if (bytes.empty()) return InvalidArgument("the file is empty");
  ByteSource source = ByteSource::OfBytes(bytes);
  return CheckGguf(source);
}

}  // namespace evenkeel
