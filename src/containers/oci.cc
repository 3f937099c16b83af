#include "containers/oci.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
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

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

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
  if (path.empty() || path[0] != '/' || path == "/") {
    return InvalidArgument("'{}' cannot be shown to a worker: expected an absolute path", path);
  }
  for (const char* taken : {"/proc", "/dev", "/sys", "/tmp"}) {
    if (path == taken) return InvalidArgument("a worker has a {} of its own", path);
  }
  if (::stat(path.c_str(), &info) != 0) {
    return Unavailable("a worker needs {}: {}", path, ErrnoText(errno));
  }
  if (folder && !S_ISDIR(info.st_mode)) return Unavailable("a worker needs {}: no folder", path);
  return Status::Ok();
}

// Two ends that close themselves.
struct Pipe {
  std::array<int, 2> ends{-1, -1};
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) ::close(fd);
    }
  }
  Status Open() {
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) return Status::Ok();
    return Unavailable("pipe: {}", ErrnoText(errno));
  }
  int Release(int end) { return std::exchange(ends[static_cast<size_t>(end)], -1); }
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
        cgroup_namespace_(fs::exists("/proc/self/ns/cgroup")),
        user_namespace_(fs::exists("/proc/self/ns/user")) {}

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
  const bool swap_limited_, cgroup_namespace_, user_namespace_;
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
  for (const char* name :
       {"LANG", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
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
  request.limit_swap = swap_limited_;
  request.cgroup_namespace = cgroup_namespace_;
  request.user_namespace = user_namespace_;
  request.uid = ::geteuid();
  request.gid = ::getegid();
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
  Pipe lifeline;
  EK_RETURN_IF_ERROR(lifeline.Open());
  const std::string states = options_.containers + "/runc";
  WorkerSpec runc;
  runc.executable = options_.runc;
  runc.inherit = {lifeline.ends[0]};
  runc.inherit.insert(runc.inherit.end(), spec.inherit.begin(), spec.inherit.end());
  runc.args = {"--root",   states,     "--log",          bundle + "/runc.log",
               "run",      "--detach", "--preserve-fds", std::to_string(runc.inherit.size()),
               "--bundle", bundle,     "--pid-file",     bundle + "/pid",
               id};
  SpawnOptions how;
  how.renumber = true;
  auto started = spawner_.Start(runc, log_fd, how);
  if (!started.ok()) return started.status();
  return std::make_shared<Container>(Container::Files{bundle, states + "/" + id},
                                     Cgroup(*host_, CgroupBase(options_.label) + "/" + id),
                                     request->limits.memory_bytes, started->pid, started->pidfd,
                                     lifeline.Release(1));
}

Result<std::unique_ptr<WorkerProcess>> OciRuntime::Start(const WorkerSpec& spec) {
  EK_RETURN_IF_ERROR(Check(spec));
  Pipe log;
  EK_RETURN_IF_ERROR(log.Open());
  const std::string id =
      fmt::format("ek-{}-{}-{}", options_.label, Plain(spec.log_name), count_.fetch_add(1));
  const std::string bundle = options_.containers + "/" + id;
  auto container = Launch(spec, id, bundle, log.ends[1]);
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
    const std::string program = folders.substr(begin, end - begin) + "/runc";
    if (program[0] == '/' && ::access(program.c_str(), X_OK) == 0) return program;
    begin = end + 1;
  }
  return {};
}

Result<std::unique_ptr<Runtime>> MakeOciRuntime(OciOptions options,
                                                std::shared_ptr<const CgroupHost> host) {
  std::error_code error;
  fs::create_directories(options.containers + "/runc", error);
  if (error) return Unavailable("making {}: {}", options.containers, error.message());
  // Bundles name the models and hold the workers' logs of failures.
  fs::permissions(options.containers, fs::perms::owner_all, error);
  return std::unique_ptr<Runtime>(
      std::make_unique<OciRuntime>(std::move(options), std::move(host)));
}

}  // namespace evenkeel
