#include "prompt_lines.h"

#include <utility>

namespace evenkeel {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

PromptLines::State PromptLines::Add(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (!block_ && !continued_) {
    if (line.starts_with('/')) {
      text_ = line;
      return State::kCommand;
    }
    if (line.starts_with(kQuotes)) {
      block_ = true;
      line.remove_prefix(kQuotes.size());
    }
  }
  if (block_) {
    const bool closes = line.ends_with(kQuotes);
    if (closes) line.remove_suffix(kQuotes.size());
    text_.append(line);
    if (closes) return Complete();
    // What stands behind the opening quotes is the first line, if anything does.
    if (!text_.empty()) text_.push_back('\n');
    return State::kMore;
  }
  continued_ = line.ends_with('\\');
  if (continued_) line.remove_suffix(1);
  text_.append(line);
  if (!continued_) return Complete();
  text_.push_back('\n');
  return State::kMore;
}

PromptLines::State PromptLines::Complete() {
  block_ = continued_ = false;
  if (!IsBlank(text_)) return State::kPrompt;
  text_.clear();
  return State::kNothing;
}

std::string PromptLines::Take() {
  block_ = continued_ = false;
  return std::exchange(text_, {});
}

}  // namespace evenkeel
