// JSON of what chat answers and completions have in common. Internal to openai_answer*.
// Thread-safety: thread-safe.
#pragma once

#include <span>
#include <string>

#include "core/generation.h"
#include "frontends/openai_answer.h"

namespace evenkeel {

// Finite: a number; else -9999.
void AppendLogprob(float value, std::string* out);
// {"id":...,"object":"<object>","created":...,"model":...,"system_fingerprint":...,"choices":[ without its end.
std::string AnswerHead(const AnswerIdentity& identity, std::string_view object);
// `json` as one event.
std::string SseEvent(std::string_view json);
inline constexpr std::string_view kDoneEvent = "data: [DONE]\n\n";

}  // namespace evenkeel
