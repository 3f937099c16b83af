// The checks of `evenkeel doctor` that are about what `serve` would meet.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "core/format.h"
#include "doctor_checks.h"
#include "figures.h"
#include "net/http_client.h"
#include "net/http_message.h"
#include "net/tls_files.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
constexpr double kMiB = 1024.0 * 1024;
constexpr std::string_view kWorkerPrefix = "evenkeel-worker-";

// The folder of the worker executables: beside this program, or in the installed tree; empty when
// there is none.
fs::path WorkersFolder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (const char* place : {"libexec/evenkeel", "../libexec/evenkeel"}) {
    const fs::path folder = (program.parent_path() / place).lexically_normal();
    if (fs::is_directory(folder, error)) return folder;
  }
  return {};
}

// Libraries that `program` needs and the loader does not find. The loader is asked, the program
// itself does not run.
std::vector<std::string> MissingLibraries(const std::string& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string argument = program;
  char* arguments[] = {argument.data(), nullptr};
  char trace[] = "LD_TRACE_LOADED_OBJECTS=1";
  char* environment[] = {trace, nullptr};
  pid_t pid = -1;
  const int spawned =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; spawned == 0 && (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  ::close(ends[0]);
  if (spawned != 0) return {std::strerror(spawned)};
  ::waitpid(pid, nullptr, 0);
  std::vector<std::string> missing;
  for (size_t at = text.find("=> not found"); at != std::string::npos;
       at = text.find("=> not found", at + 1)) {
    const size_t begin = text.find_last_of("\t\n", at) + 1;
    missing.push_back(text.substr(begin, at - begin - 1));
  }
  return missing;
}

std::vector<Check> Engines() {
  const fs::path folder = WorkersFolder();
  const std::string fix = "build or install them: make build, or cmake --install build";
  if (folder.empty())
    return {{"engines", Verdict::kFail, "no folder libexec/evenkeel beside the program", fix}};
  std::vector<Check> checks;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kWorkerPrefix)) continue;
    const std::string check = "engine " + name.substr(kWorkerPrefix.size());
    if (::access(entry.path().c_str(), X_OK) != 0) {
      checks.push_back({check, Verdict::kFail, entry.path().string() + " may not be executed",
                        "chmod +x " + entry.path().string()});
      continue;
    }
    const auto missing = MissingLibraries(entry.path().string());
    if (missing.empty()) {
      checks.push_back({check, Verdict::kPass, entry.path().string(), {}});
    } else {
      checks.push_back(
          {check, Verdict::kFail,
           fmt::format("{}: cannot load {}", entry.path().string(), fmt::join(missing, ", ")),
           fix});
    }
  }
  if (checks.empty())
    return {{"engines", Verdict::kFail, folder.string() + " has no workers", fix}};
  return checks;
}

// The folder itself, or the nearest one above it that exists.
fs::path Existing(fs::path folder) {
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

Check Folder(const Settings& settings, const std::string& key) {
  const std::string& folder = settings.text(key);
  const std::string name = key + " folder";
  const fs::path existing = Existing(folder);
  const std::string elsewhere = fmt::format("free it, or name another: {} FOLDER", FlagName(key));
  if (!fs::is_directory(existing))
    return {name, Verdict::kFail, existing.string() + " is no folder", elsewhere};
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    return {name, Verdict::kFail, existing.string() + " cannot be written to",
            fmt::format("make it this user's, or name another: {} FOLDER", FlagName(key))};
  }
  struct statvfs facts {};
  ::statvfs(existing.c_str(), &facts);
  const double free = static_cast<double>(facts.f_bavail) * static_cast<double>(facts.f_frsize);
  const std::string finding = fmt::format("{}, {} free", folder, HumanBytes(free));
  if (free < 64 * kMiB) return {name, Verdict::kFail, finding, elsewhere};
  if (free < 1024 * kMiB) return {name, Verdict::kWarn, finding, elsewhere};
  return {name, Verdict::kPass, finding, {}};
}

Check Models(const Settings& settings) {
  const std::string& folder = settings.text("models");
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return {"models folder", Verdict::kWarn, folder + " is not there",
            "make it and put models there, or: evenkeel serve FOLDER"};
  }
  const auto entries = fs::directory_iterator(folder, error);
  if (error)
    return {"models folder", Verdict::kFail, folder + ": " + error.message(),
            "let this user read it"};
  const auto count = std::distance(begin(entries), end(entries));
  if (count == 0)
    return {"models folder", Verdict::kWarn, folder + " is empty",
            "put a model there, for example an .onnx file"};
  return {"models folder", Verdict::kPass, fmt::format("{}, {} entries", folder, count), {}};
}

Check Lock(const Settings& settings) {
  const std::string path = settings.text("state") + "/lock";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {"state lock", Verdict::kPass, "free", {}};
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  char holder[32] = "unknown";
  if (const ssize_t n = ::pread(fd, holder, sizeof holder - 1, 0); n > 0) holder[n] = '\0';
  ::close(fd);
  if (!held) return {"state lock", Verdict::kPass, "free", {}};
  return {"state lock", Verdict::kWarn,
          fmt::format("a daemon runs on this state folder (process {})", holder),
          "for a second daemon: --state FOLDER"};
}

// 0, or errno of trying to listen there.
int TryListen(const std::string& address, const std::string& port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (::getaddrinfo(address.c_str(), port.c_str(), &hints, &raw) != 0) return EADDRNOTAVAIL;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(raw, ::freeaddrinfo);
  const int fd = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  if (fd < 0) return errno;
  const int yes = 1;  // as the daemon does: connections that are just closing are no obstacle
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const bool bound = ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 1) == 0;
  const int error = bound ? 0 : errno;
  ::close(fd);
  return error;
}

// `certificate`: of a server with TLS; what it presents is trusted.
bool IsEvenkeel(const std::string& address, const std::string& port,
                const std::string& certificate) {
  HttpCall call;
  const bool v6 = address.find(':') != std::string::npos;
  call.server = (certificate.empty() ? "http://" : "https://") +
                (v6 ? "[" + address + "]:" + port : address + ":" + port);
  call.ca_file = certificate;
  call.target = "/v2";
  call.timeout = std::chrono::milliseconds(500);
  const auto answer = CallHttp(call);
  if (!answer.ok()) return false;
  // One that needs a key says how to come in.
  const auto challenges = [](const auto& field) {
    return EqualsNoCase(field.first, "www-authenticate") &&
           field.second.find("evenkeel") != std::string::npos;
  };
  if (answer->status == 401) return std::ranges::any_of(answer->headers, challenges);
  return answer->status == 200 && answer->body.find("evenkeel") != std::string::npos;
}

Check Port(const Settings& settings, const std::string& listener) {
  const std::string& address = settings.text(listener + ".address");
  const std::string& port = settings.text(listener + ".port");
  const std::string name = listener + " port";
  if (port == "0") return {name, Verdict::kPass, "any free one", {}};
  const std::string where = address + ":" + port;
  const int error = TryListen(address, port);
  if (error == 0) return {name, Verdict::kPass, where + " is free", {}};
  const std::string another = fmt::format("choose another: {} PORT", FlagName(listener + ".port"));
  if (error == EADDRINUSE) {
    const bool ours =
        listener == "http" && IsEvenkeel(address, port, settings.text("tls.cert_file"));
    return {name, Verdict::kWarn, where + (ours ? " is an Evenkeel server already" : " is in use"),
            ours ? "ask it: evenkeel ls; for a second one " + another : another};
  }
  return {name, Verdict::kFail, fmt::format("{}: {}", where, std::strerror(error)),
          error == EACCES ? another
                          : fmt::format("choose an address of this machine: {} ADDRESS",
                                        FlagName(listener + ".address"))};
}

// The pair that HTTP, gRPC and metrics present: is it there, whole, and for how long.
Check Tls(const Settings& settings) {
  using std::chrono::days;
  const TlsPairFiles files{settings.text("tls.cert_file"), settings.text("tls.key_file")};
  if (files.empty()) return {"TLS", Verdict::kPass, "none: connections are plain", {}};
  if (files.certificate.empty() || files.key.empty())
    return {"TLS", Verdict::kFail, "one of tls.cert_file and tls.key_file is not set", "set both"};
  const Result<TlsPair> pair = ReadTlsPair(files);
  if (!pair.ok())
    return {"TLS", Verdict::kFail, pair.status().message(),
            "name a certificate and its key: --tls-cert-file FILE --tls-key-file FILE"};
  const CertificateFacts facts = FactsOf(pair->chain.front().get());
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto left = std::chrono::floor<days>(facts.not_after - now).count();
  const std::string renew = "renew it: a running server takes the new files within seconds";
  if (facts.not_after < now)
    return {"TLS", Verdict::kFail, fmt::format("{} has expired", facts.subject), renew};
  if (facts.not_before > now)
    return {"TLS", Verdict::kFail, fmt::format("{} is not valid yet", facts.subject),
            "look at this machine's clock"};
  if (facts.names.empty())
    return {"TLS", Verdict::kWarn, facts.subject + " names no server: clients will refuse it",
            "make one with -addext subjectAltName=DNS:NAME,IP:ADDRESS, see docs/operations.md"};
  const std::string finding =
      fmt::format("{}, for {}, {} days left", facts.subject, fmt::join(facts.names, ", "), left);
  if (left < 30) return {"TLS", Verdict::kWarn, finding, renew};
  return {"TLS", Verdict::kPass, finding, {}};
}

// Whoever has the key is this server, to every client. The server takes it as it is: that another may read it is for its owner to know.
std::optional<Check> TlsKey(const Settings& settings) {
  const std::string& file = settings.text("tls.key_file");
  if (file.empty() || !OpenToOthers(file)) return std::nullopt;
  return Check{"TLS key", Verdict::kWarn, file + " can be read or written by everybody here",
               "chmod 600 " + file};
}

}  // namespace

std::vector<Check> CheckServing(const Settings& settings) {
  std::vector<Check> checks = Engines();
  for (Check& check : CheckRuntimes(settings, WorkersFolder().string()))
    checks.push_back(std::move(check));
  checks.push_back(CheckAccelerators(settings, WorkersFolder().string()));
  checks.push_back(Models(settings));
  checks.push_back(Folder(settings, "state"));
  checks.push_back(Folder(settings, "cache"));
  checks.push_back(Lock(settings));
  checks.push_back(Tls(settings));
  if (auto key = TlsKey(settings)) checks.push_back(std::move(*key));
  for (Check& check : CheckAccess(settings)) checks.push_back(std::move(check));
  for (const char* listener : {"http", "grpc", "metrics"})
    checks.push_back(Port(settings, listener));
  return checks;
}

}  // namespace evenkeel
