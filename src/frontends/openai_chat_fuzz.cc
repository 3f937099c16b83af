// Any bytes as the JSON of a request for text or vectors: in each of the five forms.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/parse.h"
#include "frontends/openai_request.h"
#include "frontends/strict_json.h"

namespace {

using namespace evenkeel;  // NOLINT: a program of its own

void Expect(bool holds) {
  if (!holds) std::abort();
}

// What is accepted is within what core/generation.h promises to the engine.
void CheckText(const TextRequest& request) {
  Expect(!request.prompts.empty());
  for (const GenerationRequest& prompt : request.prompts) {
    const Sampling& s = prompt.sampling;
    Expect(s.temperature >= 0 && s.temperature <= 2 && s.top_p > 0 && s.top_p <= 1);
    Expect(s.top_k >= 0 && s.min_p >= 0 && s.min_p <= 1 && s.repeat_penalty > 0);
    Expect(s.frequency_penalty >= -2 && s.frequency_penalty <= 2);
    Expect(s.presence_penalty >= -2 && s.presence_penalty <= 2 && s.repeat_penalty <= 10);
    for (const auto& [id, bias] : s.logit_bias) Expect(id >= 0 && bias >= -100 && bias <= 100);
    for (const int32_t id : prompt.tokens) Expect(id >= 0);
    for (const std::string& stop : prompt.stop) Expect(!stop.empty() && IsUtf8(stop));
    Expect(prompt.choices >= 1 && prompt.choices <= 128 && prompt.max_tokens >= 0);
    Expect(prompt.top_logprobs >= -1 && prompt.top_logprobs <= 20);
    Expect(IsUtf8(prompt.prompt) && IsUtf8(prompt.grammar));
    for (const std::string* json : {&prompt.chat, &prompt.json_schema}) {
      StrictJson again;
      Expect(json->empty() || again.Parse(*json).ok());
    }
    Expect(request.chat == !prompt.chat.empty());
  }
}

void CheckError(const ApiError& error) {
  Expect(error.status.code() == Code::kInvalidArgument);
  StrictJson again;
  Expect(again.Parse(ApiErrorJson(error)).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto parse : {ParseChatRequest, ParseCompletionRequest, ParseGenerateRequest}) {
    TextRequest request;
    const ApiError error = parse(text, &request);
    error.ok() ? CheckText(request) : CheckError(error);
  }
  RerankRequest rerank;
  const ApiError no_rerank = ParseRerankRequest(text, &rerank);
  no_rerank.ok() ? Expect(rerank.inputs.query && !rerank.inputs.texts.empty() && rerank.top_n >= 0)
                 : CheckError(no_rerank);
  EmbeddingRequest request;
  const ApiError error = ParseEmbeddingRequest(text, &request);
  if (!error.ok()) {
    CheckError(error);
    return 0;
  }
  Expect(request.texts.empty() != request.tokens.empty());
  for (const std::string& input : request.texts) Expect(!input.empty() && IsUtf8(input));
  return 0;
}
