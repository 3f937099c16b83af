#include "frontends/openai_fields.h"
#include "frontends/openai_request.h"

namespace evenkeel {
namespace {

using Value = const JsonElement&;
using Path = const std::string&;

constexpr size_t kMaxTextBytes = size_t{16} << 20;

struct Draft {
  RerankRequest* request = nullptr;
  std::string_view query;
  std::vector<std::string> documents;
};

ApiError ReadWords(Value value, Path path, std::string_view* out) {
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxTextBytes, out));
  return out->empty() ? BadField(path, "expected a text that is not empty") : ApiError();
}

// A text, or {"text": ...}.
ApiError Document(Value value, Path path, Draft* out) {
  std::string_view text;
  if (!value.is_object()) {
    EK_RETURN_IF_API_ERROR(ReadWords(value, path, &text));
  } else {
    JsonObject object;
    JsonElement field;
    EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
    const std::string text_path = JsonPath(path, "text");
    if (object["text"].get(field) != simdjson::SUCCESS) return BadField(text_path, "is missing");
    EK_RETURN_IF_API_ERROR(ReadWords(field, text_path, &text));
  }
  out->documents.emplace_back(text);
  return {};
}

ApiError Documents(Value value, Path path, Draft* out) {
  JsonArray items;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxInputs, &items));
  for (const JsonElement item : items)
    EK_RETURN_IF_API_ERROR(Document(item, JsonPath(path, out->documents.size()), out));
  return {};
}

constexpr JsonField<Draft> kFields[] = {
    {"model",
     [](Value v, Path p, Draft* d) {
       std::string_view name;
       EK_RETURN_IF_API_ERROR(ReadText(v, p, 256, &name));
       d->request->inputs.model = name;
       return ApiError();
     }},
    {"query", [](Value v, Path p, Draft* d) { return ReadWords(v, p, &d->query); }},
    {"documents", Documents},
    {"top_n",
     [](Value v, Path p, Draft* d) { return ReadInt(v, p, 1, INT32_MAX, &d->request->top_n); }},
    {"return_documents",
     [](Value v, Path p, Draft* d) { return ReadBool(v, p, &d->request->return_documents); }},
    {"truncation",
     [](Value v, Path p, Draft* d) { return ReadTruncation(v, p, &d->request->inputs.truncate); }},
    {"rank_fields", [](Value, Path p, Draft*) { return UnsupportedField(p, "is not supported"); }},
    {"max_chunks_per_doc",
     [](Value, Path p, Draft*) { return UnsupportedField(p, "is not supported"); }},
};

}  // namespace

ApiError ParseRerankRequest(std::string_view body, RerankRequest* out) {
  StrictJson document;
  const Status status = document.Parse(body);
  if (!status.ok()) return {status, "", ""};
  Draft draft;
  draft.request = out;
  EK_RETURN_IF_API_ERROR(
      ReadFields<Draft>(document.root(), "", kFields, &draft, &out->inputs.unknown));
  if (out->inputs.model.empty()) return BadField("model", "is missing");
  if (draft.query.empty()) return BadField("query", "is missing");
  if (draft.documents.empty()) return BadField("documents", "is missing");
  out->inputs.query = std::string(draft.query);
  out->inputs.texts = std::move(draft.documents);
  return {};
}

}  // namespace evenkeel
