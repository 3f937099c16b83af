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

  std::string Words() const;   // for the system's message
  std::string Schema() const;  // JSON schema of a call
  std::string Parser() const;  // JSON for ParsePlainTools()

 private:
  nlohmann::json tools_ = nlohmann::json::array();  // {"name", "description", "parameters"}
};

// A message of kParsed (llm/wire/prompt_messages.h).
std::string ParsePlainTools(const nlohmann::json& parser, const nlohmann::json& id,
                            const std::string& text, bool partial);

}  // namespace evenkeel
