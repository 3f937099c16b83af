#include "cluster/etcd/etcd_program.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "cluster/etcd/etcd_version.h"
#include "cluster/node_record.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kVersionPatience = 5s;
constexpr size_t kMostVersionBytes = 4096;
constexpr size_t kMostMembers = 9;

bool IsNumeric(const std::string& address) {
  std::array<unsigned char, 16> bytes{};
  return ::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
}

std::string HostPort(const std::string& address, int port) {
  return address.find(':') == std::string::npos ? fmt::format("{}:{}", address, port)
                                                : fmt::format("[{}]:{}", address, port);
}

std::string Url(const EtcdProcessOptions& options, int port) {
  return fmt::format("{}://{}", options.tls ? "https" : "http", HostPort(options.address, port));
}

// What is read from `fd` until its end, too much of it, or too long a time.
std::string ReadSome(int fd, Duration patience) {
  std::string text;
  const Time end = SteadyClock::Instance().Now() + patience;
  std::array<char, 1024> buffer;
  while (text.size() < kMostVersionBytes) {
    const Duration left = end - SteadyClock::Instance().Now();
    pollfd readable{fd, POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
    const int ready = ::poll(&readable, 1, static_cast<int>(std::max<int64_t>(ms, 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  return text;
}

Status CheckMembers(const EtcdProcessOptions& options) {
  if (options.members.size() > kMostMembers)
    return InvalidArgument("etcd: members: expected at most {}, got {}", kMostMembers,
                           options.members.size());
  for (const EtcdMember& member : options.members) {
    // A comma or an equals sign would be read as another member.
    if (!IsNodeId(member.name) || member.peer_url.empty() ||
        member.peer_url.find_first_of(",= ") != std::string::npos)
      return InvalidArgument("etcd: members: expected a name and a URL, got {} and {}",
                             Excerpt(member.name), Excerpt(member.peer_url));
  }
  if (options.members.empty() ||
      std::ranges::find(options.members, options.name, &EtcdMember::name) != options.members.end())
    return Status::Ok();
  return InvalidArgument("etcd: members: this one, {}, is not among them", options.name);
}

}  // namespace

Result<std::string> FindEtcd() {
  const char* const path = std::getenv("PATH");
  const std::string folders =
      fmt::format("{}:/usr/bin:/usr/local/bin", path != nullptr ? path : "");
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string program = folders.substr(begin, end - begin) + "/etcd";
    if (program[0] == '/' && program.size() > 5 && ::access(program.c_str(), X_OK) == 0)
      return program;
    begin = end + 1;
  }
  return Unavailable(
      "there is no program etcd on this machine: install Debian's package etcd-server (apt install "
      "etcd-server), or name a cluster that runs with --etcd");
}

Result<std::string> VersionOfEtcd(const std::string& program) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return Unavailable("pipe: {}", std::generic_category().message(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string name = program, flag = "--version";
  std::array<char*, 3> argv = {name.data(), flag.data(), nullptr};
  std::array<char*, 1> envp = {nullptr};
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  const std::string text = error == 0 ? ReadSome(ends[0], kVersionPatience) : "";
  ::close(ends[0]);
  if (error != 0) return Unavailable("{}: {}", program, std::generic_category().message(error));
  ::kill(pid, SIGKILL);  // it has said what it had to
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  constexpr std::string_view kBefore = "etcd Version: ";
  const size_t at = text.find(kBefore);
  if (at == std::string::npos)
    return Unavailable("{} --version: expected '{}', got {}", program, kBefore, Excerpt(text));
  const size_t begin = at + kBefore.size();
  std::string version = text.substr(begin, text.find('\n', begin) - begin);
  if (const Status known = CheckEtcdVersion(version); !known.ok())
    return Unsupported("{}: {}", program, known.message());
  return version;
}

Status CheckEtcdOptions(const EtcdProcessOptions& options) {
  if (!options.data.starts_with('/'))
    return InvalidArgument("etcd: data: expected an absolute path, got {}", Excerpt(options.data));
  if (!IsNodeId(options.name))
    return InvalidArgument("etcd: name: expected a-z, 0-9 and '-', got {}", Excerpt(options.name));
  if (!IsNodeId(options.token))
    return InvalidArgument("etcd: token: expected a cluster's id, got {}", Excerpt(options.token));
  if (!IsNumeric(options.address))
    return InvalidArgument("etcd: address: expected a numeric one, got {}",
                           Excerpt(options.address));
  for (const int port : {options.client_port, options.peer_port}) {
    if (port < 1 || port > 65535)
      return InvalidArgument("etcd: ports: expected 1 to 65535, got {}", port);
  }
  if (options.client_port == options.peer_port)
    return InvalidArgument("etcd: ports: expected two, got {} twice", options.client_port);
  if (options.quota_bytes < (int64_t{16} << 20) || options.quota_bytes > (int64_t{8} << 30))
    return InvalidArgument("etcd: quota: expected 16MiB to 8GiB, got {}",
                           FormatBytes(std::max<int64_t>(options.quota_bytes, 0)));
  if (options.compact_after < 1min || options.compact_after > 24h)
    return InvalidArgument("etcd: compact_after: expected 1m to 24h");
  if (options.heartbeat < 10ms || options.election < 5 * options.heartbeat ||
      options.election > 50s)
    return InvalidArgument(
        "etcd: expected a heartbeat of at least 10ms and an election of at least 5 of them, at "
        "most 50s");
  return CheckMembers(options);
}

std::vector<std::string> EtcdArguments(const EtcdProcessOptions& options) {
  const auto ms = [](Duration d) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
  };
  const std::string client = Url(options, options.client_port);
  const std::string peer = EtcdPeerUrl(options);
  std::string members;
  for (const EtcdMember& member : options.members)
    members += fmt::format("{}{}={}", members.empty() ? "" : ",", member.name, member.peer_url);
  if (members.empty()) members = fmt::format("{}={}", options.name, peer);
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(options.compact_after);
  std::vector<std::string> arguments = {
      "--name=" + options.name,
      "--data-dir=" + options.data,
      "--listen-client-urls=" + client,
      "--advertise-client-urls=" + client,
      "--listen-peer-urls=" + peer,
      "--initial-advertise-peer-urls=" + peer,
      "--initial-cluster=" + members,
      "--initial-cluster-token=" + options.token,
      fmt::format("--initial-cluster-state={}", options.join_existing ? "existing" : "new"),
      fmt::format("--quota-backend-bytes={}", options.quota_bytes),
      "--auto-compaction-mode=periodic",
      fmt::format("--auto-compaction-retention={}m", minutes.count()),
      "--heartbeat-interval=" + ms(options.heartbeat),
      "--election-timeout=" + ms(options.election),
      "--enable-grpc-gateway=false",  // nobody speaks JSON to it
      "--logger=zap",
      "--log-outputs=stderr",
      "--log-level=warn",
  };
  if (options.tls) {
    for (const char* const side : {"", "peer-"}) {
      arguments.push_back(fmt::format("--{}cert-file={}", side, options.tls->certificate));
      arguments.push_back(fmt::format("--{}key-file={}", side, options.tls->key));
      arguments.push_back(fmt::format("--{}trusted-ca-file={}", side, options.tls->ca));
      arguments.push_back(fmt::format("--{}client-cert-auth=true", side));
    }
  }
  return arguments;
}

std::string EtcdEndpoint(const EtcdProcessOptions& options) {
  return HostPort(options.address, options.client_port);
}

std::string EtcdPeerUrl(const EtcdProcessOptions& options) {
  return Url(options, options.peer_port);
}

}  // namespace evenkeel
