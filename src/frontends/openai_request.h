// Requests for text and for vectors, from JSON to what a language model takes.
//
// Use for: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, and the generate extension of /v2.
// Contract: read strictly (strict_json.h). Unknown fields are remembered in `unknown` and change nothing; fields that are known and not
//   supported are an error. Nothing here knows a model; see CheckAgainst() and CheckPrompts().
// Thread-safety: thread-safe; the requests are values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/generation.h"
#include "frontends/openai_error.h"
#include "frontends/openai_tools.h"

namespace evenkeel {

inline constexpr size_t kMaxPrompts = 128;    // of one completion request
inline constexpr size_t kMaxInputs = 2048;    // of one embedding request
inline constexpr int kDefaultMaxTokens = 16;  // of a completion, as OpenAI has it

struct TextRequest {
  std::string model;
  std::vector<GenerationRequest> prompts;  // never empty; more than one only of completions
  bool chat = false;
  bool stream = false;
  bool include_usage = false;  // a last piece with the usage
  bool echo = false;           // the answer begins with the prompt, which is a text then
  std::string id;              // the generate extension's, as are the next two
  int priority = 0;            // 0: not given; else 1 (first) to 16 (last)
  Duration timeout{};          // zero: not given
  std::vector<std::string> unknown;
};

// Errors: 400 in every case.
ApiError ParseChatRequest(std::string_view body, TextRequest* out);
ApiError ParseCompletionRequest(std::string_view body, TextRequest* out);
// {"text_input", "parameters", "id"}; the model is in the path.
ApiError ParseGenerateRequest(std::string_view body, TextRequest* out);

// That the model can do what is asked.
ApiError CheckPrompts(const LanguageModelInfo& model, const TextRequest& request);

struct EmbeddingRequest {
  std::string model;
  std::vector<std::string> texts;            // or
  std::vector<std::vector<int32_t>> tokens;  // one of the two
  std::optional<std::string> query;          // of rerank: the texts are documents
  int dimensions = 0;                        // the first so many numbers of a vector; 0: all
  bool base64 = false;                       // little-endian floats instead of numbers
  bool truncate = false;
  std::vector<std::string> unknown;
};

ApiError ParseEmbeddingRequest(std::string_view body, EmbeddingRequest* out);
// That the model can do what is asked: vectors, or scores where there is a query.
ApiError CheckInputs(const LanguageModelInfo& model, const EmbeddingRequest& request);

// Documents to be put in the order of how well they answer a query, in the form that Jina and Cohere share.
struct RerankRequest {
  EmbeddingRequest inputs;  // the query and the documents
  int top_n = 0;            // 0: all
  bool return_documents = false;
};

ApiError ParseRerankRequest(std::string_view body, RerankRequest* out);

}  // namespace evenkeel
