// What has been told of an answer that is taken apart (text, reasoning, tool calls), and what a newer look at it adds.
//
// Contract: Update() gives the difference as a delta. A part that a newer look takes back is left as it was told: parts only grow.
//   Tool calls without an id get one. Thread-safety: single-owner.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/generation.h"
#include "llm/wire/prompt_messages.h"

namespace evenkeel {

class AnswerParts {
 public:
  explicit AnswerParts(std::string parser) : parser_(std::move(parser)) {}

  void Add(std::string_view text) { text_ += text; }
  const std::string& parser() const { return parser_; }
  const std::string& text() const { return text_; }
  bool behind() const { return looked_ != text_.size(); }  // text came since the last look
  void Looking() { looked_ = text_.size(); }

  GenerationDelta Update(const ParsedAnswer& parsed);
  bool has_tool_calls() const { return !told_.tool_calls.empty(); }

 private:
  const std::string parser_;
  std::string text_;
  size_t looked_ = 0;
  ParsedAnswer told_;
};

// 24 letters and digits that nobody guesses.
std::string RandomToolCallId();

}  // namespace evenkeel
