// Tools for models whose chat template knows nothing of them: said in plain words, called by a JSON object, which alone is an answer.
//
// Contract: an answer that begins with "{" is held back until it is whole; then it is a call if it names a tool, else text.
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

struct common_chat_tool;

namespace evenkeel {

class PlainTools {
 public:
  explicit PlainTools(const std::vector<common_chat_tool>& tools);

  std::string Words() const;  // for the system's message
  // JSON schema of a call, or, where one is given, of that or an answer of the schema `answer`.
  std::string Schema(const std::string& answer = {}) const;
  std::string Parser() const;  // JSON for ParsePlainTools()

 private:
  nlohmann::ordered_json tools_ =
      nlohmann::ordered_json::array();  // {"name", "description", "parameters"}
};

// A message of kParsed (llm/wire/prompt_messages.h).
std::string ParsePlainTools(const nlohmann::json& parser, const nlohmann::json& id,
                            const std::string& text, bool partial);

}  // namespace evenkeel
