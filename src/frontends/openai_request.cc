#include "frontends/openai_request.h"

#include <algorithm>
#include <optional>

#include "frontends/openai_messages.h"
#include "frontends/openai_sampling.h"

// Requests for text. Those for vectors are in openai_embedding_request.cc.
namespace evenkeel {
namespace {

using Value = const JsonElement&;
using Path = const std::string&;

constexpr size_t kMaxModelName = 256;
constexpr size_t kMaxPromptBytes = size_t{64} << 20;  // the body's limit is the one that counts
constexpr uint64_t kLongestTimeoutUs = uint64_t{1000} * 3600 * 1'000'000;
constexpr size_t kMaxPromptTokens = size_t{1} << 22;

// A request while its fields are being read: what depends on several of them is decided at the end.
struct Draft {
  TextRequest* request = nullptr;
  GenerationRequest text;
  std::optional<JsonElement> messages, prompt;
  ChatTools tools;
  std::optional<bool> parallel_tool_calls, logprobs;
  int max_completion_tokens = 0;
  int top_logprobs = -1;  // -1: not given
  int best_of = 0;
  bool stream_options = false;
};

// Known to OpenAI's clients, and without effect whatever they say.
template <size_t limit>
ApiError Text(Value value, Path path, Draft*) {
  std::string_view ignored;
  return ReadText(value, path, limit, &ignored);
}

ApiError NotSupported(Value, Path path, Draft*) {
  return UnsupportedField(path, "is not supported");
}

ApiError ReplacedByTools(Value, Path path, Draft*) {
  return UnsupportedField(path, "is not supported, use 'tools' and 'tool_choice'");
}

// A field of which only what happens anyway is supported.
ApiError Only(std::string_view word, Value value, Path path) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, 64, &text));
  if (text == word || text == "auto") return {};
  return UnsupportedField(path, "only '{}' is supported, got '{}'", word, text);
}

ApiError Store(Value value, Path path, Draft*) {
  bool store = false;
  EK_RETURN_IF_API_ERROR(ReadBool(value, path, &store));
  if (!store) return {};
  return UnsupportedField(path, "answers are not stored");
}

ApiError Metadata(Value value, Path path, Draft*) {
  JsonObject object;
  return ReadObject(value, path, &object);
}

ApiError Modalities(Value value, Path path, Draft*) {
  JsonArray items;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, 8, &items));
  for (const JsonElement item : items) {
    std::string_view word;
    EK_RETURN_IF_API_ERROR(ReadText(item, path, 64, &word));
    if (word != "text") return UnsupportedField(path, "only 'text' is supported, got '{}'", word);
  }
  return {};
}

ApiError StreamOptions(Value value, Path path, Draft* out) {
  out->stream_options = true;
  static constexpr JsonField<TextRequest> kOptions[] = {
      {"include_usage",
       [](Value v, Path p, TextRequest* r) { return ReadBool(v, p, &r->include_usage); }},
      {"include_obfuscation",
       [](Value v, Path p, TextRequest*) {
         bool ignored = false;
         return ReadBool(v, p, &ignored);
       }},
  };
  JsonObject object;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  return ReadFields<TextRequest>(object, path, kOptions, out->request, &out->request->unknown);
}

ApiError ModelName(Value value, Path path, Draft* out) {
  std::string_view name;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxModelName, &name));
  out->request->model = name;
  return {};
}

constexpr JsonField<Draft> kSharedFields[] = {
    {"model", ModelName},
    {"stream", [](Value v, Path p, Draft* d) { return ReadBool(v, p, &d->request->stream); }},
    {"stream_options", StreamOptions},
    {"user", Text<1024>},
};

constexpr JsonField<Draft> kChatFields[] = {
    {"messages",
     [](Value v, Path, Draft* d) {
       d->messages = v;
       return ApiError();
     }},
    {"max_completion_tokens",
     [](Value v, Path p, Draft* d) {
       return ReadInt(v, p, 1, kMaxTokens, &d->max_completion_tokens);
     }},
    {"logprobs",
     [](Value v, Path p, Draft* d) {
       d->logprobs = false;
       return ReadBool(v, p, &*d->logprobs);
     }},
    {"top_logprobs",
     [](Value v, Path p, Draft* d) { return ReadInt(v, p, 0, 20, &d->top_logprobs); }},
    {"tools", [](Value v, Path p, Draft* d) { return ReadTools(v, p, &d->tools); }},
    {"tool_choice", [](Value v, Path p, Draft* d) { return ReadToolChoice(v, p, &d->tools); }},
    {"parallel_tool_calls",
     [](Value v, Path p, Draft* d) {
       d->parallel_tool_calls = false;
       return ReadBool(v, p, &*d->parallel_tool_calls);
     }},
    {"response_format",
     [](Value v, Path p, Draft* d) { return ReadResponseFormat(v, p, &d->text); }},
    {"functions", ReplacedByTools},
    {"function_call", ReplacedByTools},
    {"modalities", Modalities},
    {"audio", NotSupported},
    {"prediction", NotSupported},
    {"web_search_options", NotSupported},
    {"reasoning_effort", NotSupported},
    {"verbosity", [](Value v, Path p, Draft*) { return Only("medium", v, p); }},
    {"service_tier", [](Value v, Path p, Draft*) { return Only("default", v, p); }},
    {"store", Store},
    {"metadata", Metadata},
    {"safety_identifier", Text<1024>},
    {"prompt_cache_key", Text<1024>},
    {"prompt_cache_retention", Text<64>},
};

constexpr JsonField<Draft> kCompletionFields[] = {
    {"prompt",
     [](Value v, Path, Draft* d) {
       d->prompt = v;
       return ApiError();
     }},
    {"logprobs", [](Value v, Path p, Draft* d) { return ReadInt(v, p, 0, 5, &d->top_logprobs); }},
    {"echo", [](Value v, Path p, Draft* d) { return ReadBool(v, p, &d->request->echo); }},
    {"best_of",
     [](Value v, Path p, Draft* d) { return ReadInt(v, p, 1, kMaxChoices, &d->best_of); }},
    {"suffix", NotSupported},
};

template <size_t count>
const JsonField<Draft>* Find(const JsonField<Draft> (&fields)[count], std::string_view name) {
  for (const JsonField<Draft>& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// The whole request but what `messages` and `prompt` hold.
template <size_t count>
ApiError ReadDraft(const JsonObject& root, const JsonField<Draft> (&own)[count], Draft* out) {
  const Status keys = CheckJsonKeys(root);
  if (!keys.ok()) return {keys, "", ""};
  for (const auto field : root) {
    const std::string path(field.key);
    const JsonField<Draft>* known = Find(own, field.key);
    if (known == nullptr) known = Find(kSharedFields, field.key);
    if (known != nullptr) {
      if (!field.value.is_null()) EK_RETURN_IF_API_ERROR(known->read(field.value, path, out));
      continue;
    }
    bool found = false;
    EK_RETURN_IF_API_ERROR(ReadSamplingField(field.key, field.value, path, &out->text, &found));
    if (!found) out->request->unknown.push_back(path);
  }
  return {};
}

ApiError CheckTogether(const Draft& draft) {
  if (draft.request->model.empty()) return BadField("model", "is missing");
  if (draft.stream_options && !draft.request->stream)
    return BadField("stream_options", "is only for 'stream': true");
  if (!draft.text.grammar.empty() && !draft.text.json_schema.empty())
    return BadField("grammar", "cannot be given together with 'response_format'");
  const bool may_call = !draft.tools.tools.empty() && draft.tools.choice != "\"none\"";
  if (!draft.text.grammar.empty() && may_call)
    return BadField("grammar", "cannot be given together with 'tools'");
  return {};
}

ApiError FinishChat(Draft* draft) {
  EK_RETURN_IF_API_ERROR(CheckTogether(*draft));
  EK_RETURN_IF_API_ERROR(CheckToolChoice(draft->tools));
  if (!draft->messages) return BadField("messages", "is missing");
  GenerationRequest& text = draft->text;
  if (draft->max_completion_tokens > 0) {
    if (text.max_tokens > 0 && text.max_tokens != draft->max_completion_tokens)
      return BadField("max_tokens", "differs from 'max_completion_tokens': give one of the two");
    text.max_tokens = draft->max_completion_tokens;
  }
  if (draft->logprobs.value_or(false)) {
    text.top_logprobs = std::max(draft->top_logprobs, 0);
  } else if (draft->top_logprobs > 0) {
    return BadField("top_logprobs", "is only for 'logprobs': true");
  }
  text.chat = "{\"messages\":";
  EK_RETURN_IF_API_ERROR(
      ReadMessages(*draft->messages, "messages", &text.chat, &draft->request->unknown));
  if (!draft->tools.tools.empty()) {
    text.chat.append(",\"tools\":").append(draft->tools.tools);
    if (!draft->tools.choice.empty())
      text.chat.append(",\"tool_choice\":").append(draft->tools.choice);
    if (draft->parallel_tool_calls)
      text.chat.append(*draft->parallel_tool_calls ? ",\"parallel_tool_calls\":true"
                                                   : ",\"parallel_tool_calls\":false");
  }
  text.chat.push_back('}');
  draft->request->chat = true;
  draft->request->prompts.push_back(std::move(text));
  return {};
}

ApiError ReadTokens(const JsonElement& value, const std::string& path, std::vector<int32_t>* out) {
  JsonArray ids;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxPromptTokens, &ids));
  for (const JsonElement id : ids) {
    int token = 0;
    EK_RETURN_IF_API_ERROR(ReadInt(id, path, 0, INT32_MAX, &token));
    out->push_back(token);
  }
  return {};
}

// A string, an array of token ids, or an array of either.
ApiError ReadPrompts(const Draft& draft) {
  const JsonElement& value = *draft.prompt;
  const std::string path = "prompt";
  std::vector<GenerationRequest>& prompts = draft.request->prompts;
  const auto add = [&](const JsonElement& one, const std::string& at) -> ApiError {
    GenerationRequest text = draft.text;
    std::string_view words;
    if (one.is_array()) {
      EK_RETURN_IF_API_ERROR(ReadTokens(one, at, &text.tokens));
    } else {
      EK_RETURN_IF_API_ERROR(ReadText(one, at, kMaxPromptBytes, &words));
      text.prompt = words;
    }
    prompts.push_back(std::move(text));
    return {};
  };
  JsonArray items;
  if (value.is_string()) return add(value, path);
  if (!value.is_array())
    return BadField(path, "expected a string, token ids, or an array of either, got {}",
                    Describe(value));
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxPromptTokens, &items));
  if ((*items.begin()).is_number()) return add(value, path);
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxPrompts, &items));
  for (const JsonElement item : items)
    EK_RETURN_IF_API_ERROR(add(item, JsonPath(path, prompts.size())));
  return {};
}

ApiError FinishCompletion(Draft* draft) {
  EK_RETURN_IF_API_ERROR(CheckTogether(*draft));
  if (!draft->prompt) return BadField("prompt", "is missing");
  if (draft->best_of > 0 && draft->best_of != draft->text.choices)
    return UnsupportedField("best_of", "only the value of 'n' ({}) is supported",
                            draft->text.choices);
  draft->text.top_logprobs = draft->top_logprobs;
  if (draft->text.max_tokens == 0) draft->text.max_tokens = kDefaultMaxTokens;
  EK_RETURN_IF_API_ERROR(ReadPrompts(*draft));
  if (!draft->request->echo) return {};
  if (draft->text.top_logprobs >= 0)
    return UnsupportedField("echo", "together with 'logprobs' is not supported");
  for (const GenerationRequest& prompt : draft->request->prompts) {
    if (!prompt.tokens.empty())
      return UnsupportedField("echo", "is not supported for a prompt of token ids");
  }
  return {};
}

// Where the generate extension has its text and parameters.
struct GenerateDraft {
  TextRequest* request = nullptr;
  GenerationRequest text;
  bool has_text = false;
};

ApiError ReadTimeout(Value value, Path path, Duration* out) {
  uint64_t us = 0;
  if (value.get_uint64().get(us) != simdjson::SUCCESS)
    return BadField(path, "expected a whole number of microseconds, got {}", Describe(value));
  *out = std::chrono::microseconds(std::min(us, kLongestTimeoutUs));
  return {};
}

ApiError ReadParameters(Value value, Path path, GenerateDraft* out) {
  JsonObject object;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  for (const auto field : object) {
    const std::string field_path = JsonPath(path, field.key);
    bool found = false;
    // The path says whether it streams; some clients say it twice.
    if (field.key == "stream" || field.value.is_null()) continue;
    if (field.key == "priority") {
      EK_RETURN_IF_API_ERROR(ReadInt(field.value, field_path, 0, 16, &out->request->priority));
      continue;
    }
    if (field.key == "timeout") {
      EK_RETURN_IF_API_ERROR(ReadTimeout(field.value, field_path, &out->request->timeout));
      continue;
    }
    if (field.key == "n") return UnsupportedField(field_path, "one answer a request is supported");
    EK_RETURN_IF_API_ERROR(
        ReadSamplingField(field.key, field.value, field_path, &out->text, &found));
    if (!found) out->request->unknown.push_back(field_path);
  }
  return {};
}

constexpr JsonField<GenerateDraft> kGenerateFields[] = {
    {"text_input",
     [](Value v, Path p, GenerateDraft* d) {
       std::string_view text;
       d->has_text = true;
       EK_RETURN_IF_API_ERROR(ReadText(v, p, kMaxPromptBytes, &text));
       d->text.prompt = text;
       return ApiError();
     }},
    {"id",
     [](Value v, Path p, GenerateDraft* d) {
       std::string_view text;
       EK_RETURN_IF_API_ERROR(ReadText(v, p, 1024, &text));
       d->request->id = text;
       return ApiError();
     }},
    {"parameters", ReadParameters},
};

template <size_t count>
ApiError Parse(std::string_view body, const JsonField<Draft> (&own)[count],
               ApiError (*finish)(Draft*), TextRequest* out) {
  StrictJson document;
  const Status status = document.Parse(body);
  if (!status.ok()) return {status, "", ""};
  Draft draft;
  draft.request = out;
  EK_RETURN_IF_API_ERROR(ReadDraft(document.root(), own, &draft));
  return finish(&draft);
}

}  // namespace

ApiError ParseChatRequest(std::string_view body, TextRequest* out) {
  return Parse(body, kChatFields, FinishChat, out);
}

ApiError ParseCompletionRequest(std::string_view body, TextRequest* out) {
  return Parse(body, kCompletionFields, FinishCompletion, out);
}

ApiError ParseGenerateRequest(std::string_view body, TextRequest* out) {
  StrictJson document;
  const Status status = document.Parse(body);
  if (!status.ok()) return {status, "", ""};
  GenerateDraft draft;
  draft.request = out;
  EK_RETURN_IF_API_ERROR(
      ReadFields<GenerateDraft>(document.root(), "", kGenerateFields, &draft, &out->unknown));
  if (!draft.has_text) return BadField("text_input", "is missing");
  if (draft.text.max_tokens == 0) draft.text.max_tokens = kDefaultMaxTokens;
  out->prompts.push_back(std::move(draft.text));
  return {};
}

ApiError CheckPrompts(const LanguageModelInfo& model, const TextRequest& request) {
  if (!model.generates) {
    return {{Code::kInvalidArgument,
             fmt::format("model '{}' generates no text: it is one for {}", model.name,
                         model.ranks ? "/v1/rerank" : "/v1/embeddings")},
            "model",
            "unsupported_model"};
  }
  if (request.chat && !model.chat) {
    return {{Code::kInvalidArgument,
             fmt::format("model '{}' has no chat template: use /v1/completions", model.name)},
            "model",
            "unsupported_model"};
  }
  for (const GenerationRequest& prompt : request.prompts)
    EK_RETURN_IF_API_ERROR(CheckAgainst(model, prompt));
  return {};
}

}  // namespace evenkeel
