#include "frontends/openai_sampling.h"

#include <charconv>

namespace evenkeel {
namespace {

using Request = GenerationRequest;
using Path = const std::string&;
using Value = const JsonElement&;

ApiError Seed(Value value, Path path, Request* out) {
  int64_t number = 0;
  uint64_t large = 0;
  if (value.get_int64().get(number) == simdjson::SUCCESS) {
    large = static_cast<uint64_t>(number);
  } else if (value.get_uint64().get(large) != simdjson::SUCCESS) {
    return BadField(path, "expected a whole number, got {}", Describe(value));
  }
  // Small seeds stay themselves, and all bits of large ones count.
  out->sampling.seed = static_cast<uint32_t>(large) ^ static_cast<uint32_t>(large >> 32);
  return {};
}

ApiError OneStop(Value value, Path path, Request* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxStopBytes, &text));
  if (text.empty()) return BadField(path, "expected a text that is not empty");
  out->stop.emplace_back(text);
  return {};
}

ApiError Stop(Value value, Path path, Request* out) {
  if (value.is_string()) return OneStop(value, path, out);
  if (!value.is_array())
    return BadField(path, "expected a string or an array of strings, got {}", Describe(value));
  JsonArray items;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 0, kMaxStops, &items));
  size_t i = 0;
  for (const JsonElement item : items)
    EK_RETURN_IF_API_ERROR(OneStop(item, JsonPath(path, i++), out));
  return {};
}

ApiError LogitBias(Value value, Path path, Request* out) {
  JsonObject object;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  for (const auto field : object) {
    const std::string key_path = JsonPath(path, field.key);
    int32_t id = -1;
    const auto [end, error] =
        std::from_chars(field.key.data(), field.key.data() + field.key.size(), id);
    if (error != std::errc() || end != field.key.data() + field.key.size() || id < 0)
      return BadField(path, "expected token ids as keys, got '{}'", field.key.substr(0, 32));
    float bias = 0;
    EK_RETURN_IF_API_ERROR(ReadNumber(field.value, key_path, -100, 100, &bias));
    out->sampling.logit_bias.emplace_back(id, bias);
  }
  return {};
}

ApiError RepeatPenalty(Value value, Path path, Request* out) {
  return ReadNumber(value, path, 0.01, 10, &out->sampling.repeat_penalty);
}

ApiError Grammar(Value value, Path path, Request* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxGrammarBytes, &text));
  out->grammar = text;
  return {};
}

ApiError Truncation(Value value, Path path, Request* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, 16, &text));
  if (text != "auto" && text != "disabled")
    return BadField(path, "expected \"auto\" or \"disabled\"");
  out->truncate = text == "auto";
  return {};
}

constexpr JsonField<Request> kFields[] = {
    {"temperature",
     [](Value v, Path p, Request* r) { return ReadNumber(v, p, 0, 2, &r->sampling.temperature); }},
    {"top_p",
     [](Value v, Path p, Request* r) {
       EK_RETURN_IF_API_ERROR(ReadNumber(v, p, 0, 1, &r->sampling.top_p));
       // 0 is what some clients send for "the likeliest token only".
       if (r->sampling.top_p <= 0) r->sampling.top_p = 1e-6F;
       return ApiError();
     }},
    {"top_k",
     [](Value v, Path p, Request* r) {
       EK_RETURN_IF_API_ERROR(ReadInt(v, p, -1, 1 << 20, &r->sampling.top_k));
       if (r->sampling.top_k < 0) r->sampling.top_k = 0;  // -1: all, elsewhere
       return ApiError();
     }},
    {"min_p",
     [](Value v, Path p, Request* r) { return ReadNumber(v, p, 0, 1, &r->sampling.min_p); }},
    {"frequency_penalty",
     [](Value v, Path p, Request* r) {
       return ReadNumber(v, p, -2, 2, &r->sampling.frequency_penalty);
     }},
    {"presence_penalty",
     [](Value v, Path p, Request* r) {
       return ReadNumber(v, p, -2, 2, &r->sampling.presence_penalty);
     }},
    {"repeat_penalty", RepeatPenalty},
    {"repetition_penalty", RepeatPenalty},
    {"seed", Seed},
    {"stop", Stop},
    {"logit_bias", LogitBias},
    {"n", [](Value v, Path p, Request* r) { return ReadInt(v, p, 1, kMaxChoices, &r->choices); }},
    {"max_tokens",
     [](Value v, Path p, Request* r) { return ReadInt(v, p, 1, kMaxTokens, &r->max_tokens); }},
    {"ignore_eos", [](Value v, Path p, Request* r) { return ReadBool(v, p, &r->ignore_eos); }},
    {"grammar", Grammar},
    {"truncation", Truncation},
};

}  // namespace

std::span<const JsonField<GenerationRequest>> SamplingFields() { return kFields; }

ApiError ReadSamplingField(std::string_view name, const JsonElement& value, const std::string& path,
                           GenerationRequest* out, bool* found) {
  for (const JsonField<Request>& field : kFields) {
    if (field.name != name) continue;
    *found = true;
    return value.is_null() ? ApiError() : field.read(value, path, out);
  }
  *found = false;
  return {};
}

ApiError CheckAgainst(const LanguageModelInfo& model, const GenerationRequest& request) {
  if (model.context_tokens > 0 && request.max_tokens > model.context_tokens) {
    return BadField("max_tokens", "model '{}' has a context of {} tokens, asked for {}", model.name,
                    model.context_tokens, request.max_tokens);
  }
  if (model.vocabulary <= 0) return {};
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    if (id >= model.vocabulary)
      return BadField("logit_bias", "model '{}' has token ids below {}, got {}", model.name,
                      model.vocabulary, id);
  }
  for (const int32_t id : request.tokens) {
    if (id < 0 || id >= model.vocabulary)
      return BadField("prompt", "model '{}' has token ids below {}, got {}", model.name,
                      model.vocabulary, id);
  }
  return {};
}

}  // namespace evenkeel
