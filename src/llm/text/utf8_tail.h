// Holds back the end of a text until its last character is whole.
//
// Contract: Feed() returns the characters that are complete; bytes that can't be part of one become U+FFFD. At most 3 bytes are held.
// Thread-safety: thread-compatible.
#pragma once

#include <string>
#include <string_view>

namespace evenkeel {

class Utf8Tail {
 public:
  std::string Feed(std::string_view bytes);
  // What is held never became a character: U+FFFD for it, or nothing.
  std::string End();

 private:
  std::string held_;
};

}  // namespace evenkeel
