#include "top_screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "core/format.h"

namespace evenkeel {
namespace {

// Alternate screen, cursor off, no wrapping at the right edge; and back.
constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[?7l\033[2J";
constexpr std::string_view kLeave = "\033[?7h\033[?25h\033[?1049l";
constexpr int kEndings[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

// For the signal handlers.
termios before{};
bool before_known = false;
volatile std::sig_atomic_t resized = 0;

void WriteAll(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // the terminal is gone
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void GiveBack() {
  WriteAll(kLeave);
  if (before_known) ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void Take() {
  if (before_known) {
    termios mine = before;
    mine.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    mine.c_cc[VMIN] = 1;
    mine.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &mine);
  }
  WriteAll(kEnter);
}

void OnEnd(int signal) {
  GiveBack();
  if (signal == SIGINT) ::_exit(0);
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

void OnResize(int) { resized = 1; }

void Install(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);  // no SA_RESTART: poll() is to return
}

void OnStop(int) {
  const int saved = errno;
  GiveBack();
  ::raise(SIGSTOP);  // goes on here
  Take();
  resized = 1;
  errno = saved;
}

winsize SizeOfTerminal() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    size = {24, 80, 0, 0};
  return size;
}

}  // namespace

std::string CutToWidth(const std::string& text, size_t columns) {
  std::string cut;
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\033') {
      const size_t end = std::min(text.find('m', i), text.size() - 1);
      cut.append(text, i, end - i + 1);
      i = end + 1;
      continue;
    }
    size_t next = i + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
    if (width < columns) cut.append(text, i, next - i);
    ++width;
    i = next;
  }
  return cut;
}

std::unique_ptr<TopScreen> TopScreen::Open() {
  const char* terminal = std::getenv("TERM");
  const bool able =
      terminal != nullptr && *terminal != '\0' && std::string_view(terminal) != "dumb";
  if (!able || ::isatty(STDOUT_FILENO) != 1) return nullptr;
  return std::unique_ptr<TopScreen>(new TopScreen());
}

TopScreen::TopScreen() {
  keys_ = ::isatty(STDIN_FILENO) == 1;
  before_known = keys_ && ::tcgetattr(STDIN_FILENO, &before) == 0;
  for (const int signal : kEndings) Install(signal, OnEnd);
  Install(SIGWINCH, OnResize);
  Install(SIGTSTP, OnStop);
  Take();
}

TopScreen::~TopScreen() {
  for (const int signal : kEndings) std::signal(signal, SIG_DFL);
  std::signal(SIGWINCH, SIG_DFL);
  std::signal(SIGTSTP, SIG_DFL);
  GiveBack();
}

void TopScreen::Draw(const std::vector<std::string>& lines) {
  drawn_ = lines;
  const winsize size = SizeOfTerminal();
  const size_t room = size.ws_row;
  const bool all = lines.size() <= room;
  const size_t shown = all ? lines.size() : room - 1;
  std::string page = "\033[H";
  for (size_t i = 0; i < shown; ++i) {
    if (i > 0) page += "\r\n";
    page += CutToWidth(lines[i], size.ws_col) + "\033[K";
  }
  if (!all) {
    const std::string rest = fmt::format("{} more lines", lines.size() - shown);
    page += (shown > 0 ? "\r\n" : "") + CutToWidth(rest, size.ws_col) + "\033[K";
  }
  page += "\033[J";
  WriteAll(page);
}

bool TopScreen::WaitUntil(Time end) {
  for (;;) {
    if (resized != 0) {
      resized = 0;
      Draw(drawn_);
    }
    const Duration left = end - SteadyClock::Instance().Now();
    if (left <= Duration::zero()) return true;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd key{keys_ ? STDIN_FILENO : -1, POLLIN, 0};
    const int ready = ::poll(&key, 1, static_cast<int>(std::min<int64_t>(ms, 60'000)));
    if (ready <= 0) continue;
    char pressed = 0;
    const ssize_t got = ::read(STDIN_FILENO, &pressed, 1);
    if (got == 1 && (pressed == 'q' || pressed == 'Q')) return false;
    if (got == 0) keys_ = false;  // closed: nobody can press anything
  }
}

}  // namespace evenkeel
