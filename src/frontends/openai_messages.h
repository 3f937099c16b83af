// The conversation of a chat request: checked, and written anew for the model's template.
//
// What comes out has only what is known: role (developer becomes system), content (a string, or an array of {"type":"text"} parts), name,
// reasoning_content, tool_calls, tool_call_id. Images, sound and files are an error that says so, as are function_call and the role
// function, which tools have replaced.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <vector>

#include "frontends/openai_fields.h"

namespace evenkeel {

inline constexpr size_t kMaxMessages = 10'000;
inline constexpr size_t kMaxMessageParts = 1'000;
inline constexpr size_t kMaxToolCalls = 128;

// Appends the messages as a JSON array to `out`, and the paths of what was ignored to `unknown`.
ApiError ReadMessages(const JsonElement& value, const std::string& path, std::string* out,
                      std::vector<std::string>* unknown);

}  // namespace evenkeel
