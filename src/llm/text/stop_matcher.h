// Ends a text before the first of some words, also where a word comes in pieces.
//
// The first is the one that is complete first; of two that end together, the longer. So it does not matter how the text was cut.
// Contract: Feed() returns what can be told: text up to a found word, else all but a tail that a word might begin with. Once stopped()
//   nothing more comes. End() gives what was held.
// Thread-safety: thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace evenkeel {

class StopMatcher {
 public:
  // Empty words are ignored.
  explicit StopMatcher(std::vector<std::string> words);

  std::string Feed(std::string_view text);
  std::string End();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> words_;
  size_t longest_ = 0;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace evenkeel
