#include "containers/oci.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <system_error>

#include "containers/container_watch.h"
#include "containers/leftovers.h"
#include "containers/log_relay.h"
#include "containers/oci_spec.h"
#include "containers/program_files.h"
#include "containers/spawner.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostDescriptors = 32;  // what evenkeel-init has room for

std::string ErrnoText(int error) { return std::generic_category().message(error); }

// Letters, digits and "-": what names of groups and of runc's states may hold.
std::string Plain(std::string_view text) {
  std::string plain;
  for (const char c : text.substr(0, 40)) {
    const bool keep = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    plain += keep ? c : '-';
  }
  return plain;
}

Status CheckPath(const std::string& path, bool folder) {
  struct stat info {};
  if (!IsUtf8(path))  // the specification is JSON
    return InvalidArgument("{} cannot be shown to a worker in a container: expected UTF-8",
                           Excerpt(path));
  if (path.empty() || path[0] != '/' || path == "/") {
    return InvalidArgument("'{}' cannot be shown to a worker: expected an absolute path", path);
  }
  for (const char* taken : {"/proc", "/dev", "/sys", "/tmp"}) {
    if (path == taken)
      return InvalidArgument(
          "a worker in a container has a {} of its own: put the model into a folder in it, or "
          "choose the runtime cgroup",
          path);
  }
  if (::stat(path.c_str(), &info) != 0) {
    return Unavailable("a worker needs {}: {}", path, ErrnoText(errno));
  }
  if (folder && !S_ISDIR(info.st_mode)) return Unavailable("a worker needs {}: no folder", path);
  return Status::Ok();
}

// Whether a process with this one's user and no capability is kept from it by its owner, another user.
bool IsClosed(const fs::path& path, bool to_write) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || info.st_uid == ::geteuid()) return false;
  mode_t needed = S_IROTH;
  if (to_write) needed |= S_IWOTH;
  if (S_ISDIR(info.st_mode)) needed |= S_IXOTH;
  return (info.st_mode & needed) != needed;
}

// The same of something in it; of a folder with many entries it is taken for granted.
bool HasClosed(const fs::path& path) {
  constexpr int kMost = 1000;
  int seen = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    if (++seen > kMost || IsClosed(at->path(), false)) return true;
  }
  return false;
}

bool NeedsOthersFiles(const WorkerSpec& spec, const std::vector<std::string>& program) {
  const auto closed = [](const std::string& path) { return IsClosed(path, false); };
  return std::ranges::any_of(program, closed) || std::ranges::any_of(spec.readable, closed) ||
         std::ranges::any_of(spec.readable, HasClosed) ||
         std::ranges::any_of(spec.writable,
                             [](const std::string& path) { return IsClosed(path, true); });
}

// Descriptors that close themselves.
class Descriptors {
 public:
  Descriptors() = default;
  Descriptors(const Descriptors&) = delete;
  ~Descriptors() {
    for (const int fd : fds_) {
      if (fd >= 0) ::close(fd);
    }
  }
  Status OpenPipe() { return Opened("pipe", ::pipe2(Two(), O_CLOEXEC)); }
  Status OpenSockets() {
    return Opened("socketpair", ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, Two()));
  }
  Status AddCopies(const std::vector<int>& of) {
    for (const int fd : of) {
      const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
      if (copy < 0) {
        return Unavailable("descriptor {} cannot be passed on: {}", fd, ErrnoText(errno));
      }
      fds_.push_back(copy);
    }
    return Status::Ok();
  }
  int at(size_t i) const { return fds_[i]; }
  int Release(size_t i) { return std::exchange(fds_[i], -1); }
  std::vector<int> ReleaseAll() { return std::exchange(fds_, {}); }

 private:
  int* Two() {
    fds_.assign(2, -1);
    return fds_.data();
  }
  static Status Opened(const char* what, int result) {
    return result == 0 ? Status::Ok() : Unavailable("{}: {}", what, ErrnoText(errno));
  }
  std::vector<int> fds_;
};

class OciProcess final : public WorkerProcess {
 public:
  explicit OciProcess(std::shared_ptr<Container> container) : container_(std::move(container)) {}
  ~OciProcess() override {
    container_->Kill();
    container_->AwaitEnd();
  }
  pid_t pid() const override { return container_->pid(); }
  int pidfd() const override { return container_->ended_fd(); }
  void Kill() override { container_->Kill(); }
  bool Ended(std::string* how) override { return container_->Ended(how); }
  WorkerUsage Usage() const override { return container_->Usage(); }
  Status Reshape(const WorkerShape& shape) override { return container_->Reshape(shape); }

 private:
  const std::shared_ptr<Container> container_;
};

class OciRuntime final : public Runtime {
 public:
  OciRuntime(OciOptions options, std::shared_ptr<const CgroupHost> host)
      : options_(std::move(options)),
        host_(std::move(host)),
        capacity_(host_->Capacity()),
        swap_limited_(
            host_->version() == 2 ||
            host_->files().Exists(host_->OwnFolder("memory") + "/memory.memsw.limit_in_bytes")),
        cgroup_namespace_(fs::exists("/proc/self/ns/cgroup")) {
    // Asked now, since the loader takes tens of milliseconds and Start() has but a few.
    std::error_code error;
    const fs::path libexec = fs::path(options_.init).parent_path();
    for (const auto& entry : fs::directory_iterator(libexec, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("evenkeel-worker-") || name.starts_with("evenkeel-prompt-"))
        static_cast<void>(FilesOf(entry.path().string()));
    }
  }

  Rung rung() const override { return Rung::kOci; }
  Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) override;
  ~OciRuntime() override { EndAll(); }
  void EndAll() override {
    watch_.EndAll();
    RemoveLeftovers(options_.containers, options_.label);
  }

 private:
  Status Check(const WorkerSpec& spec) const;
  Result<std::vector<std::string>> FilesOf(const std::string& program);
  Result<ContainerRequest> RequestFor(const WorkerSpec& spec, const std::string& id,
                                      const std::string& bundle);
  Status WriteBundle(const ContainerRequest& request, const std::string& bundle) const;
  Result<std::shared_ptr<Container>> Launch(const WorkerSpec& spec, const std::string& id,
                                            const std::string& bundle, int log_fd);

  const OciOptions options_;
  const std::shared_ptr<const CgroupHost> host_;
  const HostCapacity capacity_;
  const bool swap_limited_, cgroup_namespace_;
  std::atomic<uint64_t> count_{0};
  std::mutex files_mutex_;                                 // guards files_
  std::map<std::string, std::vector<std::string>> files_;  // by program: what it needs
  LogRelay relay_;
  ContainerWatch watch_;
  Spawner spawner_;
};

Status OciRuntime::Check(const WorkerSpec& spec) const {
  if (spec.executable.empty() || spec.executable[0] != '/') {
    return InvalidArgument("worker program '{}': expected an absolute path", spec.executable);
  }
  if (spec.inherit.size() > kMostDescriptors) {
    return InvalidArgument("{} descriptors: at most {} can be passed on", spec.inherit.size(),
                           kMostDescriptors);
  }
  for (const int fd : spec.inherit) {
    if (fd < 3) return InvalidArgument("descriptor {} cannot be passed on to a worker", fd);
  }
  if (spec.shape) EK_RETURN_IF_ERROR(CheckFits(*spec.shape, capacity_));
  for (const std::string& path : spec.readable) EK_RETURN_IF_ERROR(CheckPath(path, false));
  for (const std::string& path : spec.writable) EK_RETURN_IF_ERROR(CheckPath(path, true));
  return Status::Ok();
}

Result<std::vector<std::string>> OciRuntime::FilesOf(const std::string& program) {
  const std::lock_guard lock(files_mutex_);
  // A program that was replaced may need others.
  std::error_code error;
  const auto changed = fs::last_write_time(program, error);
  const std::string key = fmt::format("{}@{}", program, changed.time_since_epoch().count());
  const auto known = files_.find(key);
  if (known != files_.end()) return known->second;
  auto files = FilesOfProgram(program);
  if (files.ok()) files_.emplace(key, *files);
  return files;
}

Result<ContainerRequest> OciRuntime::RequestFor(const WorkerSpec& spec, const std::string& id,
                                                const std::string& bundle) {
  auto files = FilesOf(spec.executable);
  if (!files.ok()) return files.status();
  ContainerRequest request;
  request.root = bundle + "/root";
  const auto numbers = spec.inherit.empty() ? "-" : fmt::format("{}", fmt::join(spec.inherit, ","));
  request.args = {kInitPath, numbers, spec.executable};
  request.args.insert(request.args.end(), spec.args.begin(), spec.args.end());
  request.env = {"PATH=/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp"};
  for (const char* name : {"LANG", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS",
                           "TSAN_OPTIONS", "UBSAN_OPTIONS", "TBB_ENABLE_SANITIZERS"}) {
    if (const char* value = std::getenv(name))
      request.env.push_back(fmt::format("{}={}", name, value));
  }
  request.env.insert(request.env.end(), spec.env.begin(), spec.env.end());
  std::set<std::string> readable(files->begin(), files->end());
  readable.insert(spec.readable.begin(), spec.readable.end());
  for (const std::string& path : spec.writable) readable.erase(path);
  request.readable.assign(readable.begin(), readable.end());
  request.writable = spec.writable;
  request.init = options_.init;
  request.cgroups_path = host_->RuncPath(CgroupBase(options_.label) + "/" + id);
  request.limits = LimitsOf(spec.shape, spec.cpus, spec.hard_cap);
  request.limits.background = spec.background;
  request.limit_swap = swap_limited_;
  request.cgroup_namespace = cgroup_namespace_;
  request.uid = ::geteuid();
  request.gid = ::getegid();
  request.others_files = NeedsOthersFiles(spec, *files);
  request.label = options_.label;
  return request;
}

Status OciRuntime::WriteBundle(const ContainerRequest& request, const std::string& bundle) const {
  std::error_code error;
  fs::create_directories(request.root, error);
  if (error) return Unavailable("making {}: {}", request.root, error.message());
  const std::string path = bundle + "/config.json";
  std::ofstream file(path);
  file << SpecText(request);
  file.close();
  if (!file) return Unavailable("writing {}: {}", path, ErrnoText(errno));
  return Status::Ok();
}

Result<std::shared_ptr<Container>> OciRuntime::Launch(const WorkerSpec& spec, const std::string& id,
                                                      const std::string& bundle, int log_fd) {
  auto request = RequestFor(spec, id, bundle);
  if (!request.ok()) return request.status();
  EK_RETURN_IF_ERROR(WriteBundle(*request, bundle));
  Descriptors lifeline, handed_on;
  EK_RETURN_IF_ERROR(lifeline.OpenSockets());
  EK_RETURN_IF_ERROR(handed_on.AddCopies(spec.inherit));
  const std::string states = options_.containers + "/runc";
  WorkerSpec runc;
  runc.executable = options_.runc;
  runc.inherit = {lifeline.at(0)};
  runc.args = {"--root",   states,     "--log",          bundle + "/runc.log",
               "run",      "--detach", "--preserve-fds", std::to_string(runc.inherit.size()),
               "--bundle", bundle,     "--pid-file",     bundle + "/pid",
               id};
  SpawnOptions how;
  how.renumber = true;
  auto started = spawner_.Start(runc, log_fd, how);
  if (!started.ok()) return started.status();
  Container::Making making{started->pid, started->pidfd, lifeline.Release(1),
                           handed_on.ReleaseAll()};
  Container::Walls walls{Cgroup(*host_, CgroupBase(options_.label) + "/" + id), request->limits,
                         spec.hard_cap, capacity_};
  return std::make_shared<Container>(Container::Files{bundle, states + "/" + id}, std::move(walls),
                                     std::move(making));
}

Result<std::unique_ptr<WorkerProcess>> OciRuntime::Start(const WorkerSpec& spec) {
  EK_RETURN_IF_ERROR(Check(spec));
  Descriptors log;
  EK_RETURN_IF_ERROR(log.OpenPipe());
  const std::string id =
      fmt::format("ek-{}-{}-{}", options_.label, Plain(spec.log_name), count_.fetch_add(1));
  const std::string bundle = options_.containers + "/" + id;
  auto container = Launch(spec, id, bundle, log.at(1));
  if (!container.ok()) {
    std::error_code error;
    fs::remove_all(bundle, error);
    return container.status();
  }
  relay_.Add(log.Release(0), spec.log_name);
  watch_.Add(*container);
  return std::unique_ptr<WorkerProcess>(std::make_unique<OciProcess>(*container));
}

}  // namespace

std::string FindRunc() {
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "" : path;
  folders += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (size_t begin = 0; begin < folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    std::string program = folders.substr(begin, end - begin) + "/runc";
    if (program[0] == '/' && ::access(program.c_str(), X_OK) == 0) return program;
    begin = end + 1;
  }
  return {};
}

Result<std::unique_ptr<Runtime>> MakeOciRuntime(OciOptions options,
                                                std::shared_ptr<const CgroupHost> host) {
  for (const std::string& path : {options.containers, options.init}) {
    if (!IsUtf8(path)) return InvalidArgument("'{}': expected UTF-8", Excerpt(path));
  }
  std::error_code error;
  fs::create_directories(options.containers + "/runc", error);
  if (error) return Unavailable("making {}: {}", options.containers, error.message());
  // Bundles name the models and hold the workers' logs of failures.
  fs::permissions(options.containers, fs::perms::owner_all, error);
  return std::unique_ptr<Runtime>(
      std::make_unique<OciRuntime>(std::move(options), std::move(host)));
}

}  // namespace evenkeel
