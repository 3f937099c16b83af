#include "live_table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/format.h"
#include "output.h"

namespace evenkeel {

LiveTable::LiveTable() : live_(AnimationAllowed()) {}

LiveTable::~LiveTable() { Erase(); }

void LiveTable::Erase() {
  if (lines_ > 0) std::fprintf(stderr, "\033[%dA\033[J", lines_);
  lines_ = 0;
}

void LiveTable::Draw(const std::string& text) {
  if (!live_) return;
  winsize size{};
  const bool known =
      ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && size.ws_row > 1;
  const size_t columns = known ? size.ws_col - 1U : 79;
  const int rows = known ? size.ws_row - 1 : 23;
  // What would wrap or scroll away could not be erased.
  std::string lines;
  int count = 0;
  for (size_t begin = 0; begin < text.size() && count < rows; ++count) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines += Printable(text.substr(begin, std::min(end - begin, columns))) + "\n";
    begin = end + 1;
  }
  Erase();
  std::fputs(lines.c_str(), stderr);
  lines_ = count;
}

}  // namespace evenkeel
