#include "engines/device_list.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "ipc/unique_fd.h"

extern char** environ;

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = 1 << 20;
constexpr size_t kMostDevices = 64;

// What the child writes until it closes its end, or the time is over.
Result<std::string> ReadAll(int fd, Time deadline) {
  std::string text;
  for (;;) {
    const Duration left = deadline - SteadyClock::Instance().Now();
    if (left <= Duration::zero()) return Unavailable("took too long");
    pollfd poll{fd, POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count() + 1;
    if (::poll(&poll, 1, static_cast<int>(ms)) <= 0) continue;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || text.size() > kMostBytes) return Unavailable("said nothing of use");
    text.append(buffer, static_cast<size_t>(n));
  }
}

Result<pid_t> Spawn(const std::string& executable, int out) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string name = executable, flag = "--devices";
  char* argv[] = {name.data(), flag.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, executable.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Unavailable("{} does not start: error {}", executable, error);
  return pid;
}

}  // namespace

std::string EncodeDevices(const std::vector<EngineDevice>& devices) {
  Json list = Json::array();
  for (const EngineDevice& device : devices) {
    list.push_back({{"name", device.name},
                    {"full_name", device.full_name},
                    {"cores", device.cores},
                    {"memory_bytes", device.memory_bytes}});
  }
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::vector<EngineDevice>> DecodeDevices(std::string_view json) {
  const Json list = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array() || list.size() > kMostDevices) return Internal("no list of devices");
  std::vector<EngineDevice> devices;
  try {
    for (const Json& one : list) {
      EngineDevice& device = devices.emplace_back();
      device.name = one.at("name").get<std::string>();
      device.full_name = one.value("full_name", "");
      device.cores =
          static_cast<int>(std::clamp<int64_t>(one.value("cores", int64_t{0}), 0, 65'536));
      device.memory_bytes = std::max<int64_t>(0, one.value("memory_bytes", int64_t{0}));
      if (device.name.empty()) return Internal("a device without a name");
    }
  } catch (const Json::exception& e) {
    return Internal("list of devices: {}", e.what());
  }
  return devices;
}

Result<std::vector<EngineDevice>> ListDevices(const std::string& executable, Duration limit) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Unavailable("pipe: error {}", errno);
  const ipc::UniqueFd in(ends[0]);
  ipc::UniqueFd out(ends[1]);
  const auto pid = Spawn(executable, out.get());
  if (!pid.ok()) return pid.status();
  out.Close();
  const auto text = ReadAll(in.get(), SteadyClock::Instance().Now() + limit);
  if (!text.ok()) ::kill(*pid, SIGKILL);
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!text.ok()) return text.status().Annotate(executable + " --devices");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return Unavailable("{} --devices failed", executable);
  return DecodeDevices(*text);
}

}  // namespace evenkeel
