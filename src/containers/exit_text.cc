#include "containers/exit_text.h"

#include <sys/wait.h>

#include <cstring>

#include "core/format.h"

namespace evenkeel {

std::string DescribeExit(int status) {
  if (WIFEXITED(status)) return fmt::format("exit {}", WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  const char* text = ::sigdescr_np(signal);
  return fmt::format("signal {} ({})", signal, text != nullptr ? text : "unknown");
}

}  // namespace evenkeel
