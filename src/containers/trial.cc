#include "containers/trial.h"

#include <poll.h>

#include "core/clock.h"
#include "core/format.h"

namespace evenkeel {

Status TryOut(Runtime& runtime, const std::string& libexec, const WorkerShape& shape,
              std::chrono::milliseconds within) {
  WorkerSpec spec;
  spec.executable = libexec + "/evenkeel-init";
  spec.args = {"--trial"};
  spec.log_name = "trial";
  spec.shape = shape;
  const Time end = SteadyClock::Instance().Now() + within;
  auto started = runtime.Start(spec);
  if (!started.ok()) return started.status();
  std::string how;
  while (!(*started)->Ended(&how)) {
    if (SteadyClock::Instance().Now() >= end) {
      (*started)->Kill();
      return Unavailable("what was started for a trial did not end within {} ms", within.count());
    }
    pollfd ended{(*started)->pidfd(), POLLIN, 0};  // -1, on old kernels: waits the time out
    ::poll(&ended, 1, 5);
  }
  if (how != "exit 0") return Unavailable("what was started for a trial ended with {}", how);
  return Status::Ok();
}

}  // namespace evenkeel
