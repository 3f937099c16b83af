// Where language models' load tables are kept, as the parts of a language model see it.
//
// Thread-safety: thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace evenkeel {

// What a table holds for, beside this machine.
struct LlmTableKey {
  std::string model;   // name
  std::string path;    // of the GGUF file
  std::string engine;  // and its build
};

class LlmTables {
 public:
  virtual ~LlmTables() = default;
  // `found` is called once, on the loop: the document that was kept for this model, file, engine and machine; nullopt: none.
  virtual void Find(const LlmTableKey& key,
                    std::function<void(std::optional<std::string>)> found) = 0;
  // Replaces it. Returns at once.
  virtual void Keep(const LlmTableKey& key, std::string document) = 0;
};

}  // namespace evenkeel
