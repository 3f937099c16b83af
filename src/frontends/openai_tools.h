// Tools of a chat request, and the form its answer must have.
//
// Contract: names and types are checked; whether a schema makes sense is found out where it is compiled, apart from the server. Sizes are
//   bounded here (kMaxTools, kMaxSchemaBytes).
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/generation.h"
#include "frontends/openai_fields.h"

namespace evenkeel {

inline constexpr size_t kMaxTools = 128;

struct ChatTools {
  std::string tools;   // a JSON array, or empty
  std::string choice;  // "auto" with its quotes, or an object; empty: not given
  std::vector<std::string> names;
  std::string chosen;  // the function that tool_choice names
};

ApiError ReadTools(const JsonElement& value, const std::string& path, ChatTools* out);
ApiError ReadToolChoice(const JsonElement& value, const std::string& path, ChatTools* out);
// That the choice is one of the tools.
ApiError CheckToolChoice(const ChatTools& tools);

// "response_format".
ApiError ReadResponseFormat(const JsonElement& value, const std::string& path,
                            GenerationRequest* out);

}  // namespace evenkeel
