#include "containers/container_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "containers/exit_text.h"
#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr Duration kMakingLimit = std::chrono::seconds(30);
constexpr int kLookMs = 1000;      // how often that is looked at
constexpr int kPatienceMs = 2000;  // for processes that were killed to leave their groups

int WaitFor(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}

}  // namespace

Container::Container(Files files, Walls walls, Making making)
    : files_(std::move(files)),
      group_(std::move(walls.group)),
      hard_cap_(walls.hard_cap),
      host_(walls.host),
      making_(std::move(making)),
      started_(SteadyClock::Instance().Now()),
      ended_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      limits_(std::move(walls.limits)) {
  EK_CHECK(ended_fd_ >= 0);
}

Container::~Container() {
  CloseHandedOn();
  for (const int fd : {making_.runc_pidfd, pidfd_, making_.lifeline, ended_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

pid_t Container::pid() const {
  const std::lock_guard lock(mutex_);
  return pid_;
}

void Container::Kill() {
  const std::lock_guard lock(mutex_);
  killed_ = true;
  // While runc works it is let finish, and the container is killed then: runc's own children would be lost track of.
  if (state_ == State::kRunning) ::kill(pid_, SIGKILL);
}

bool Container::Ended(std::string* how) const {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kEnded) return false;
  if (how != nullptr) *how = how_;
  return true;
}

WorkerUsage Container::Usage() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::kRunning ? group_.Usage() : usage_;
}

Status Container::Reshape(const WorkerShape& shape) {
  const std::lock_guard lock(mutex_);
  // Before it runs its groups are runc's to set.
  if (state_ != State::kRunning)
    return Unavailable("the container {}",
                       state_ == State::kMaking ? "is being made" : "has ended");
  EK_RETURN_IF_ERROR(CheckFits(shape, host_));
  const Limits limits = LimitsFor(limits_, shape, hard_cap_);
  EK_RETURN_IF_ERROR(group_.Adjust(limits));
  limits_ = limits;
  return Status::Ok();
}

void Container::AwaitEnd() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return state_ == State::kEnded; });
}

int Container::watched_fd() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::kMaking ? making_.runc_pidfd : pidfd_;
}

void Container::EndOverdueRunc(Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kMaking && now - started_ > kMakingLimit) ::kill(making_.runc, SIGKILL);
}

bool Container::Advance() {
  State state;
  {
    const std::lock_guard lock(mutex_);
    state = state_;
  }
  return state == State::kMaking ? OnMade() : OnEnded();
}

std::string Container::WhyNotMade(int status) const {
  std::ifstream file(files_.bundle + "/runc.log");
  std::string line, last;
  while (std::getline(file, line)) {
    if (line.find("level=error") != std::string::npos) last = line;
  }
  const size_t message = last.find("msg=");
  if (message != std::string::npos) last = last.substr(message + 4);
  return fmt::format("the container was not made: runc: {}{}{}", DescribeExit(status),
                     last.empty() ? "" : ": ", Excerpt(last, 1000));
}

bool Container::OnMade() {
  int status = 0;
  pid_t pid = 0;
  bool killed = false;
  {
    const std::lock_guard lock(mutex_);
    killed = killed_;
    status = WaitFor(making_.runc);
    std::ifstream file(files_.bundle + "/pid");
    if (!(file >> pid) || pid <= 1) pid = 0;
    if (status == 0 && pid > 0) {
      pid_ = pid;
      pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
      if (pidfd_ >= 0) {
        state_ = State::kRunning;
        if (killed_) ::kill(pid, SIGKILL);
      }
    }
  }
  if (status == 0 && pid > 0 && pidfd_ >= 0) {
    SendDescriptors();
    return true;
  }
  Finish(killed ? "signal 9 (Killed)" : WhyNotMade(status));
  return false;
}

void Container::SendDescriptors() {
  char go = 'g';
  iovec text{&go, 1};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  const size_t bytes = making_.handed_on.size() * sizeof(int);
  std::vector<char> room(CMSG_SPACE(bytes), 0);
  if (bytes > 0) {
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(header), making_.handed_on.data(), bytes);
  }
  // Fails when the container was killed meanwhile: then its end is what comes next.
  static_cast<void>(!::sendmsg(making_.lifeline, &message, MSG_NOSIGNAL));
  CloseHandedOn();
}

void Container::CloseHandedOn() {
  for (const int fd : making_.handed_on) ::close(fd);
  making_.handed_on.clear();
}

bool Container::OnEnded() {
  const int status = WaitFor(pid_);
  std::string how = DescribeExit(status);
  const WorkerUsage usage = group_.Usage();
  if (usage.oom_kills.value_or(0) > 0) {
    const std::lock_guard lock(mutex_);
    how += OutOfMemoryText(limits_.memory_bytes);
  }
  Finish(std::move(how));
  return false;
}

void Container::Finish(std::string how) {
  CloseHandedOn();
  WorkerUsage usage = group_.Usage();
  // What a killed runc left behind is this process's child, by pid and by process group.
  for (const pid_t pid : group_.Processes()) {
    ::kill(pid, SIGKILL);
    WaitFor(pid);
  }
  if (const Status removed = group_.Remove(kPatienceMs); !removed.ok()) {
    LogWarning("a worker's control group is left until the next start: {}", removed.message());
  }
  while (::waitpid(-making_.runc, nullptr, WNOHANG) > 0) {
  }
  for (const std::string& folder : {files_.state, files_.bundle}) {
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) LogWarning("a container's folder is left: {}: {}", folder, error.message());
  }
  {
    const std::lock_guard lock(mutex_);
    state_ = State::kEnded;
    how_ = std::move(how);
    usage_ = usage;
    usage_.memory_bytes = 0;
  }
  changed_.notify_all();
  ::eventfd_write(ended_fd_, 1);
}

ContainerWatch::ContainerWatch() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  EK_CHECK(wake_ >= 0);
  thread_ = std::thread([this] { Loop(); });
}

ContainerWatch::~ContainerWatch() {
  EndAll();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ::eventfd_write(wake_, 1);
  thread_.join();
  ::close(wake_);
}

void ContainerWatch::Add(std::shared_ptr<Container> container) {
  {
    const std::lock_guard lock(mutex_);
    containers_.push_back(std::move(container));
  }
  ::eventfd_write(wake_, 1);
}

void ContainerWatch::EndAll() {
  std::unique_lock lock(mutex_);
  for (const auto& container : containers_) container->Kill();
  empty_.wait(lock, [this] { return containers_.empty(); });
}

void ContainerWatch::Loop() {
  ::prctl(PR_SET_NAME, "ek-containers");
  for (;;) {
    std::vector<std::shared_ptr<Container>> watched;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      watched = containers_;
    }
    std::vector<pollfd> fds = {{wake_, POLLIN, 0}};
    for (const auto& container : watched) fds.push_back({container->watched_fd(), POLLIN, 0});
    if (::poll(fds.data(), fds.size(), watched.empty() ? -1 : kLookMs) < 0 && errno != EINTR) {
      return;
    }
    eventfd_t ignored = 0;
    static_cast<void>(::eventfd_read(wake_, &ignored));
    for (size_t i = 0; i < watched.size(); ++i) {
      if (fds[i + 1].revents == 0) {
        watched[i]->EndOverdueRunc(SteadyClock::Instance().Now());
        continue;
      }
      if (watched[i]->Advance()) continue;
      const std::lock_guard lock(mutex_);
      std::erase(containers_, watched[i]);
      if (containers_.empty()) empty_.notify_all();
    }
  }
}

}  // namespace evenkeel
