// A conversation with a language model of a running server, whose answers are printed as they come.
//
// Contract: Say() sends what was said so far and the new prompt, and prints the answer to stdout. What a model says reaches a terminal
//   without control characters, and a pipe as it is. An answer that was stopped stays in the conversation; one that failed takes its prompt
//   with it.
// Thread-safety: main thread only.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "api.h"
#include "core/status.h"

namespace evenkeel {

struct ConversationOptions {
  std::string model;
  std::string system;               // "": none
  nlohmann::ordered_json sampling;  // fields of the request
  bool chat = true;      // false: the model has no chat template, and every prompt stands alone
  bool verbose = false;  // figures to stderr
};

class Conversation {
 public:
  Conversation(const Api* api, ConversationOptions options);

  // Errors: as Api::StreamEvents; kCancelled when `stopped` said so.
  Status Say(const std::string& prompt, const std::function<bool()>& stopped);
  void Clear();

 private:
  nlohmann::ordered_json Request(const std::string& prompt) const;
  void Take(std::string_view data);
  void Print(std::string_view text, bool thought);
  void EndLine();
  void PrintFigures() const;

  const Api* const api_;
  const ConversationOptions options_;
  const bool terminal_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();

  // Of the answer that is coming.
  std::string answer_, finish_reason_;
  Status failed_;
  nlohmann::ordered_json usage_;
  bool thinking_ = false;
  bool line_open_ = false;  // the cursor is not at a line's beginning
  Time asked_{}, first_{};
};

// `text` with what could steer a terminal replaced: control characters but tab and line feed, C1 controls.
std::string SafeForTerminal(std::string_view text);

}  // namespace evenkeel
