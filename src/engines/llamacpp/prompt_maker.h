// From what a client sent to what a model continues: chat template, tokens, grammar; and from an answer's text to its parts.
//
// Runs in a process of its own (prompt_main.cc), since templates and grammars come from strangers and llama.cpp's code for them may recurse,
// loop or abort: then that process ends, and nothing else.
// Contract: the calls take a message of llm/wire/prompt_messages.h and return one; what throws becomes a failure of that message.
// Thread-safety: single-owner.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "engines/llamacpp/llama_model.h"
#include "engines/llamacpp/text_tokeniser.h"

struct common_chat_templates;

namespace evenkeel {

class PromptMaker {
 public:
  // `model` has at least a vocabulary. Where its template is none, or is not to be read for the reason `without_chat`, it serves texts only.
  explicit PromptMaker(const LlamaModel& model, const std::string& without_chat = {});
  ~PromptMaker();

  // Errors: kInvalidArgument (the template refuses the messages, the schema or grammar is none), kUnsupported (no template).
  Result<std::string> Prepare(const std::string& message) const;
  Result<std::string> Parse(const std::string& message) const;
  // Texts for vectors or scores: see text_tokeniser.h.
  Result<std::string> Tokenise(const std::string& message) const;
  bool chats() const { return templates_ != nullptr; }

 private:
  const LlamaModel& model_;
  const TextTokeniser tokeniser_;
  std::string template_problem_;
  common_chat_templates* templates_ = nullptr;
};

}  // namespace evenkeel
