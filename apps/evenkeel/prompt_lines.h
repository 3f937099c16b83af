// Lines that someone types, put together into prompts.
//
// A line that ends with a backslash goes on in the next; """ begins a block that a """ at the end of a line closes. A line that begins with
// "/" is a command, unless it lies in a block.
// Thread-safety: single-owner.
#pragma once

#include <string>
#include <string_view>

namespace evenkeel {

class PromptLines {
 public:
  enum class State { kMore, kPrompt, kCommand, kNothing };

  // `line` without its end. kMore: it goes on. kPrompt, kCommand: Take() has it. kNothing: an empty line.
  State Add(std::string_view line);
  std::string Take();
  bool inside() const { return block_ || continued_; }

 private:
  State Complete();

  std::string text_;
  bool block_ = false, continued_ = false;
};

}  // namespace evenkeel
