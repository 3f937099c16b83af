#include "repository/gguf_vocabulary_check.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/format.h"
#include "core/parse.h"
#include "repository/gguf_cursor.h"

namespace evenkeel {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTemplate = "tokenizer.chat_template";

// A token's text by hash, and where it is.
struct TokenText {
  uint64_t hash = 0;
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

class VocabularyChecker {
 public:
  VocabularyChecker(ByteSource& source, const GgufMetadata& metadata, GgufFacts* facts)
      : source_(source), metadata_(metadata), facts_(*facts) {}

  Status Check() {
    EK_RETURN_IF_ERROR(CheckKind());
    EK_RETURN_IF_ERROR(CheckTokens());
    EK_RETURN_IF_ERROR(CheckOneEach("tokenizer.ggml.scores", GgufType::kFloat32));
    EK_RETURN_IF_ERROR(CheckOneEach("tokenizer.ggml.token_type", GgufType::kInt32));
    EK_RETURN_IF_ERROR(CheckMerges());
    EK_RETURN_IF_ERROR(CheckCharacterMap());
    EK_RETURN_IF_ERROR(CheckRoles());
    return CheckTemplates();
  }

 private:
  Status CheckKind() const {
    constexpr std::string_view kKey = "tokenizer.ggml.model";
    const Result<std::optional<std::string>> kind = metadata_.Text(kKey, 64);
    if (!kind.ok()) return kind.status();
    if (!*kind) return GgufMetadata::Error(kKey, "is missing, expected the tokenizer's kind");
    if (**kind == "none" || **kind == "no_vocab") {
      return Unsupported("key '{}': the model has no tokenizer", kKey);
    }
    return Status::Ok();
  }

  Status CheckTokens() {
    const Result<const GgufValue*> tokens = metadata_.Array(kTokens, GgufType::kString);
    if (!tokens.ok()) return tokens.status();
    if (*tokens == nullptr) return GgufMetadata::Error(kTokens, "is missing");
    const uint64_t count = (*tokens)->count;
    if (count == 0 || count > kMaxGgufVocabulary) {
      return GgufMetadata::Error(
          kTokens, fmt::format("expected 1 to {} tokens, got {}", kMaxGgufVocabulary, count));
    }
    facts_.vocabulary = static_cast<int>(count);
    std::vector<TokenText> texts;
    texts.reserve(count);
    GgufCursor cursor(source_, (*tokens)->at, source_.size());
    for (uint64_t id = 0; id < count; ++id) {
      TokenText text;
      if (!cursor.String(&text.begin, &text.bytes)) {
        return GgufMetadata::Error(kTokens, cursor.status().message());
      }
      if (text.bytes > kMaxGgufTokenBytes) {
        return GgufMetadata::Error(
            kTokens, fmt::format("token {} has {} bytes, expected at most {}", id, text.bytes,
                                 kMaxGgufTokenBytes));
      }
      if (text.bytes == 0) continue;  // the engine gives those names of their own
      text.hash = Hash(text);
      texts.push_back(text);
    }
    return CheckUnlike(std::move(texts));
  }

  // FNV-1a.
  uint64_t Hash(const TokenText& text) const {
    uint64_t hash = 0xcbf29ce484222325;
    for (uint64_t i = 0; i < text.bytes; ++i) {
      hash = (hash ^ static_cast<uint64_t>(source_.ByteAt(text.begin + i))) * 0x100000001b3;
    }
    return hash;
  }

  // An engine aborts on a text that two tokens have. Texts are only compared where their hashes are alike.
  Status CheckUnlike(std::vector<TokenText> texts) const {
    std::ranges::sort(texts, {}, &TokenText::hash);
    std::set<std::string> alike;
    for (size_t i = 1; i < texts.size(); ++i) {
      if (texts[i].hash != texts[i - 1].hash) {
        alike.clear();
        continue;
      }
      if (alike.empty()) alike.insert(Read(texts[i - 1]));
      const auto [place, is_new] = alike.insert(Read(texts[i]));
      if (!is_new) {
        return GgufMetadata::Error(kTokens, fmt::format("{} is there twice", Excerpt(*place)));
      }
    }
    return Status::Ok();
  }
  std::string Read(const TokenText& text) const {
    return source_.Text(text.begin, text.begin + text.bytes, kMaxGgufTokenBytes);
  }

  Status CheckOneEach(std::string_view key, GgufType item) const {
    const Result<const GgufValue*> array = metadata_.Array(key, item);
    if (!array.ok()) return array.status();
    if (*array == nullptr || (*array)->count == static_cast<uint64_t>(facts_.vocabulary)) {
      return Status::Ok();
    }
    return GgufMetadata::Error(key, fmt::format("expected {} items, one a token, got {}",
                                                facts_.vocabulary, (*array)->count));
  }

  Status CheckMerges() const {
    constexpr std::string_view kKey = "tokenizer.ggml.merges";
    const Result<const GgufValue*> merges = metadata_.Array(kKey, GgufType::kString);
    if (!merges.ok()) return merges.status();
    if (*merges == nullptr || (*merges)->count <= kMaxGgufMerges) return Status::Ok();
    return GgufMetadata::Error(
        kKey, fmt::format("expected at most {} merges, got {}", kMaxGgufMerges, (*merges)->count));
  }

  Status CheckCharacterMap() const {
    constexpr std::string_view kKey = "tokenizer.ggml.precompiled_charsmap";
    const GgufValue* map = metadata_.Find(kKey);
    if (map != nullptr && map->type == GgufType::kArray && map->item == GgufType::kInt8) {
      return Status::Ok();
    }
    return metadata_.Array(kKey, GgufType::kUint8).status();
  }

  // Ids of tokens with a role: one under "..._token_id", several under "..._token_ids".
  Status CheckRoles() const {
    const uint64_t last = static_cast<uint64_t>(facts_.vocabulary) - 1;
    for (const std::string& key : metadata_.KeysFrom("tokenizer.ggml.")) {
      if (key.ends_with("_token_id")) {
        EK_RETURN_IF_ERROR(metadata_.Whole(key, 0, last).status());
      } else if (key.ends_with("_token_ids")) {
        EK_RETURN_IF_ERROR(metadata_.CheckItems(key, *metadata_.Find(key), 0, last));
      }
    }
    return Status::Ok();
  }

  Status CheckTemplates() {
    for (const std::string& key : metadata_.KeysFrom(kTemplate)) {
      if (key != kTemplate && !key.starts_with(std::string(kTemplate) + ".")) continue;
      const Result<std::optional<std::string>> text = metadata_.Text(key, kMaxGgufTemplateBytes);
      if (!text.ok()) return text.status();
      if (!IsUtf8(**text)) return GgufMetadata::Error(key, "is not UTF-8");
      if (key == kTemplate) facts_.chat_template = !(*text)->empty();
    }
    return Status::Ok();
  }

  ByteSource& source_;
  const GgufMetadata& metadata_;
  GgufFacts& facts_;
};

}  // namespace

Status CheckGgufVocabulary(ByteSource& source, const GgufMetadata& metadata, GgufFacts* facts) {
  return VocabularyChecker(source, metadata, facts).Check();
}

}  // namespace evenkeel
