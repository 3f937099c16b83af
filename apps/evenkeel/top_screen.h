// A page on the terminal that is drawn again and again: alternate screen, no cursor, keys without echo.
//
// Contract: the terminal is given back as it was when the object goes, and also on SIGINT, SIGTERM, SIGHUP and SIGQUIT, which end the
//   program (SIGINT with exit code 0: that is how one leaves); SIGTSTP gives it back until the program goes on. One object at a time.
// Thread-safety: main thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

class TopScreen {
 public:
  // nullptr: standard output is no terminal that can do it (a file, a pipe, TERM=dumb).
  static std::unique_ptr<TopScreen> Open();
  ~TopScreen();
  TopScreen(const TopScreen&) = delete;
  TopScreen& operator=(const TopScreen&) = delete;

  // Draws the lines, each cut to the width, as many as there is room for; where not all fit, the last line says how many are missing.
  void Draw(const std::vector<std::string>& lines);
  // Waits until `end`, drawing again when the size changes. False: `q` was pressed.
  bool WaitUntil(Time end);

 private:
  TopScreen();

  std::vector<std::string> drawn_;
  bool keys_ = false;  // standard input is the terminal
};

// `text` cut to `columns` characters; colour sequences take no room and are kept, so that colours end.
std::string CutToWidth(const std::string& text, size_t columns);

}  // namespace evenkeel
