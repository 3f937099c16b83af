// Answers of /v1/chat/completions, /v1/completions and /v1/embeddings.
//
// Contract: see AnswerWriter. Bytes that are no UTF-8 (halves of characters in log probabilities) become '?'; their values are in "bytes".
//   Log probabilities that are not finite are given as -9999, as OpenAI does.
// Thread-safety: the functions are thread-safe; writers are single-owner.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/answer_writer.h"
#include "frontends/openai_request.h"

namespace evenkeel {

// What all pieces of one answer repeat.
struct AnswerIdentity {
  std::string id;  // "chatcmpl-..."
  int64_t created_s = 0;
  std::string model;
};
// A new one: `prefix` and 24 random digits, the time of day.
AnswerIdentity NewIdentity(std::string_view prefix, std::string_view model);

std::unique_ptr<AnswerWriter> NewChatWriter(AnswerIdentity identity, bool include_usage,
                                            bool logprobs);
// `echo`: what each prompt's answers begin with; empty: nothing. `choices`: answers a prompt.
std::unique_ptr<AnswerWriter> NewCompletionWriter(AnswerIdentity identity, bool include_usage,
                                                  bool logprobs, std::vector<std::string> echo,
                                                  int choices);

// {"object":"list","data":[...]}
std::string EmbeddingsJson(const std::vector<std::vector<float>>& rows, int prompt_tokens,
                           std::string_view model, bool base64);
// The first `numbers` of each row, of length 1 again; 0: the rows as they are.
std::vector<std::vector<float>> Shortened(const std::vector<std::vector<float>>& rows, int numbers);
// {"object":"list","results":[...]}, best first, `documents` where they are to be given back. top_n 0: all. A row is one score.
std::string RerankJson(const std::vector<std::vector<float>>& rows, int top_n,
                       const std::vector<std::string>* documents, int prompt_tokens,
                       std::string_view model);
// {"object":"list","data":[...]}, and one of them.
std::string ModelsJson(const std::vector<LanguageModelInfo>& models);
std::string ModelJson(const LanguageModelInfo& model);

// {"prompt_tokens":...}
std::string UsageJson(const GenerationUsage& usage);
std::string_view NameOf(FinishReason reason);

}  // namespace evenkeel
