#include "frontends/openai_fields.h"
#include "frontends/openai_request.h"

namespace evenkeel {
namespace {

using Value = const JsonElement&;
using Path = const std::string&;

constexpr size_t kMaxInputBytes = size_t{16} << 20;
constexpr size_t kMaxInputTokens = size_t{1} << 20;
constexpr int kMostDimensions = 1 << 20;

ApiError AddText(Value value, Path path, EmbeddingRequest* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxInputBytes, &text));
  if (text.empty()) return BadField(path, "expected a text that is not empty");
  out->texts.emplace_back(text);
  return {};
}

ApiError AddTokens(Value value, Path path, EmbeddingRequest* out) {
  JsonArray ids;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxInputTokens, &ids));
  std::vector<int32_t>& row = out->tokens.emplace_back();
  for (const JsonElement id : ids) {
    int token = 0;
    EK_RETURN_IF_API_ERROR(ReadInt(id, path, 0, INT32_MAX, &token));
    row.push_back(token);
  }
  return {};
}

ApiError Input(Value value, Path path, EmbeddingRequest* out) {
  if (value.is_string()) return AddText(value, path, out);
  if (!value.is_array())
    return BadField(path, "expected a string, token ids, or an array of either, got {}",
                    Describe(value));
  JsonArray items;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxInputTokens, &items));
  const JsonElement first = *items.begin();
  if (first.is_number()) return AddTokens(value, path, out);
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxInputs, &items));
  size_t i = 0;
  for (const JsonElement item : items) {
    const std::string item_path = JsonPath(path, i++);
    if (item.is_array() != first.is_array())
      return BadField(item_path, "expected texts only, or token ids only");
    EK_RETURN_IF_API_ERROR(item.is_array() ? AddTokens(item, item_path, out)
                                           : AddText(item, item_path, out));
  }
  return {};
}

ApiError EncodingFormat(Value value, Path path, EmbeddingRequest* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, 64, &text));
  if (text != "float" && text != "base64")
    return BadField(path, "expected 'float' or 'base64', got '{}'", text);
  out->base64 = text == "base64";
  return {};
}

constexpr JsonField<EmbeddingRequest> kFields[] = {
    {"input", Input},
    {"model",
     [](Value v, Path p, EmbeddingRequest* r) {
       std::string_view name;
       EK_RETURN_IF_API_ERROR(ReadText(v, p, 256, &name));
       r->model = name;
       return ApiError();
     }},
    {"encoding_format", EncodingFormat},
    {"dimensions",
     [](Value v, Path p, EmbeddingRequest* r) {
       return ReadInt(v, p, 1, kMostDimensions, &r->dimensions);
     }},
    {"truncation",
     [](Value v, Path p, EmbeddingRequest* r) { return ReadTruncation(v, p, &r->truncate); }},
    {"user", AnyText<EmbeddingRequest>},
};

}  // namespace

ApiError ParseEmbeddingRequest(std::string_view body, EmbeddingRequest* out) {
  StrictJson document;
  const Status status = document.Parse(body);
  if (!status.ok()) return {status, "", ""};
  EK_RETURN_IF_API_ERROR(
      ReadFields<EmbeddingRequest>(document.root(), "", kFields, out, &out->unknown));
  if (out->model.empty()) return BadField("model", "is missing");
  if (out->texts.empty() && out->tokens.empty()) return BadField("input", "is missing");
  return {};
}

ApiError CheckInputs(const LanguageModelInfo& model, const EmbeddingRequest& request) {
  const auto cannot = [&](std::string_view what) {
    return ApiError{{Code::kInvalidArgument, fmt::format("model '{}' {}", model.name, what)},
                    "model",
                    "unsupported_model"};
  };
  if (request.query && !model.ranks)
    return cannot("does not rank: rerank needs a model with a classification head");
  if (!request.query && !model.embeddings)
    return cannot(model.ranks ? "ranks documents and gives no embeddings" : "gives no embeddings");
  if (request.dimensions > model.vector_size)
    return BadField("dimensions", "the vectors of model '{}' have {} numbers, got {}", model.name,
                    model.vector_size, request.dimensions);
  for (const std::vector<int32_t>& row : request.tokens) {
    for (const int32_t id : row) {
      if (model.vocabulary > 0 && id >= model.vocabulary)
        return BadField("input", "model '{}' has token ids below {}, got {}", model.name,
                        model.vocabulary, id);
    }
  }
  return {};
}

}  // namespace evenkeel
