#include "llm/answer_parts.h"

#include <sys/random.h>

#include <array>

namespace evenkeel {
namespace {

// What `now` has beyond `told`, which grows by it; nothing where it does not begin with it.
std::string Growth(const std::string& now, std::string* told) {
  if (!now.starts_with(*told)) return {};
  std::string more = now.substr(told->size());
  *told = now;
  return more;
}

}  // namespace

std::string RandomToolCallId() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::array<unsigned char, 24> bytes{};
  static_cast<void>(::getrandom(bytes.data(), bytes.size(), 0));
  std::string id = "call_";
  for (const unsigned char byte : bytes) id += kLetters[byte % kLetters.size()];
  return id;
}

GenerationDelta AnswerParts::Update(const ParsedAnswer& parsed) {
  GenerationDelta delta;
  delta.text = Growth(parsed.content, &told_.content);
  delta.reasoning = Growth(parsed.reasoning, &told_.reasoning);
  for (size_t i = 0; i < parsed.tool_calls.size(); ++i) {
    const ParsedAnswer::ToolCall& call = parsed.tool_calls[i];
    if (call.name.empty()) break;  // its name has not come yet
    ToolCallDelta more;
    more.index = static_cast<int>(i);
    if (i >= told_.tool_calls.size()) {
      more.id = call.id.empty() ? RandomToolCallId() : call.id;
      more.name = call.name;
      told_.tool_calls.push_back({more.id, more.name, {}});
    }
    more.arguments = Growth(call.arguments, &told_.tool_calls[i].arguments);
    if (!more.id.empty() || !more.arguments.empty()) delta.tool_calls.push_back(std::move(more));
  }
  return delta;
}

}  // namespace evenkeel
