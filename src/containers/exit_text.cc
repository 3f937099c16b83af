#include "containers/exit_text.h"

#include <sys/wait.h>

#include <cstring>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr std::string_view kOutOfMemory = ": out of memory,";

}  // namespace

std::string DescribeExit(int status) {
  if (WIFEXITED(status)) return fmt::format("exit {}", WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  const char* text = ::sigdescr_np(signal);
  return fmt::format("signal {} ({})", signal, text != nullptr ? text : "unknown");
}

std::string OutOfMemoryText(int64_t allowed_bytes) {
  return fmt::format("{} {} allowed", kOutOfMemory, FormatBytes(allowed_bytes));
}

bool SaysOutOfMemory(std::string_view how) {
  return how.find(kOutOfMemory) != std::string_view::npos;
}

}  // namespace evenkeel
