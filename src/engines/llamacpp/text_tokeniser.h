// Texts, or pairs of a query and a document, to the tokens that a model wants of them: for vectors and scores.
//
// A client's text is text: what looks like a control token in it is taken for letters. Control tokens come from the model's own settings, and
//   from its template for pairs ("rerank") where it has one; without one a pair is [BOS] query [EOS] [SEP] document [EOS], those that
//   the vocabulary asks for.
// Contract: Tokenise() takes a message kTexts of llm/wire/prompt_messages.h and returns kTokenised. Throws what llama.cpp and the JSON reader
//   throw. Runs in the prompt process. Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "engines/llamacpp/llama_model.h"

namespace evenkeel {

class TextTokeniser {
 public:
  explicit TextTokeniser(const LlamaModel& model);

  // Of what is longer than the limit and may not, or cannot, be cut, only the size comes back.
  Result<std::string> Tokenise(const std::string& message) const;

 private:
  using Tokens = std::vector<int32_t>;
  struct Part {  // of the template: a control token, or text with {query} and {document}
    std::optional<int32_t> token;
    std::string text;
  };
  struct Limit {
    size_t tokens;
    bool truncate;
  };

  Tokens Plain(const std::string& text) const;
  Tokens OneText(const std::string& text, const Limit& limit, int64_t* size) const;
  Tokens OnePair(const std::string& query, const std::string& document, const Limit& limit,
                 int64_t* size) const;
  Tokens Filled(std::string_view query, std::string_view document) const;
  void CutAtControlTokens(std::string_view pattern);

  const LlamaModel& model_;
  size_t ending_ = 0;       // tokens that come after a text
  std::vector<Part> pair_;  // empty: no template
};

}  // namespace evenkeel
