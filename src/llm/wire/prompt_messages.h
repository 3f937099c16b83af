// What the daemon asks a language model's prompt process, and what that answers: JSON texts as frames of an ipc::StreamChannel.
//
//   kPrepare  {"id", "chat"|"prompt"|"tokens": ..., "json_schema"?, "grammar"?}
//   kParse    {"id", "parser": {...}, "text", "partial"}
//   kTexts    {"id", "texts": [...], "query"?, "limit", "truncate"}
//   answers   {"id", "code", "message"} or {"id", ...} with the fields of PreparedPrompt, ParsedAnswer or TokenisedTexts
// Requests are answered in order, one at a time.
// Contract: decoders take any bytes and check everything that is used. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/generation.h"
#include "core/status.h"
#include "llm/wire/messages.h"

namespace evenkeel {

enum class PromptFrame : uint32_t {
  kPrepare = 1,
  kParse = 2,
  kTexts = 3,
  kPrepared = 16,
  kParsed = 17,
  kFailed = 18,
  kTokenised = 19
};

struct PreparedPrompt {
  uint64_t id = 0;
  std::vector<int32_t> tokens;
  AnswerGrammar grammar;
  std::vector<std::string> stop;  // beside those that were asked for
  std::string parser;             // JSON for kParse; empty: the answer is text as it is
};

// An answer so far, or in whole, taken apart.
struct ParsedAnswer {
  struct ToolCall {
    std::string id, name, arguments;
    bool operator==(const ToolCall&) const = default;
  };
  uint64_t id = 0;
  std::string content, reasoning;
  std::vector<ToolCall> tool_calls;
};

// Texts that are to become vectors, or documents to be scored for a query.
struct TextsToTokenise {
  std::vector<std::string> texts;
  std::optional<std::string> query;
  int limit = 0;          // tokens of a text at most
  bool truncate = false;  // what is longer loses its end, but not what the model wants at the end
};

struct TokenisedTexts {
  uint64_t id = 0;
  std::vector<std::vector<int32_t>> rows;  // one a text
  std::vector<int64_t> sizes;              // tokens before anything was cut off
};

std::string EncodeTexts(uint64_t id, const TextsToTokenise& texts);
std::string EncodePrepare(uint64_t id, const GenerationRequest& request);
std::string EncodeParse(uint64_t id, const std::string& parser, const std::string& text,
                        bool partial);

// Errors: kInternal (a message that breaks its rules).
Result<PreparedPrompt> DecodePrepared(std::string_view message);
Result<ParsedAnswer> DecodeParsed(std::string_view message);
Result<TokenisedTexts> DecodeTokenised(std::string_view message);
struct PromptFailure {
  uint64_t id = 0;
  Status status;
};
Result<PromptFailure> DecodePromptFailure(std::string_view message);

}  // namespace evenkeel
