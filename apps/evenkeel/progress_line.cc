#include "progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/format.h"
#include "output.h"

namespace evenkeel {
namespace {

constexpr size_t kBarWidth = 24;

size_t TerminalColumns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

ProgressLine::ProgressLine() : live_(AnimationAllowed()), started_(SteadyClock::Instance().Now()) {}

ProgressLine::~ProgressLine() { Erase(); }

Duration ProgressLine::elapsed() const { return SteadyClock::Instance().Now() - started_; }

void ProgressLine::Draw(double share, const std::string& text) {
  if (!live_ || elapsed() < kQuiet) return;
  std::string line = Printable(share < 0 ? text : ProgressBar(share) + " " + text);
  // A line that wraps or breaks could not be erased.
  std::replace(line.begin(), line.end(), '\n', ' ');
  line.resize(std::min(line.size(), TerminalColumns() - 1));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  drawn_ = true;
}

void ProgressLine::Erase() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

std::string ProgressBar(double share) {
  const double part = std::clamp(share, 0.0, 1.0) * static_cast<double>(kBarWidth);
  const auto filled = static_cast<size_t>(part);
  return "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "]";
}

std::string TimeLeftText(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::clamp(seconds, 1.0, 1e9)));
  return whole < 60 ? fmt::format("{} s", whole)
                    : fmt::format("{} min {} s", whole / 60, whole % 60);
}

}  // namespace evenkeel
