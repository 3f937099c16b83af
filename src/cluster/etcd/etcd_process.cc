#include "cluster/etcd/etcd_process.h"

#include <csignal>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookEvery = 500ms;  // on kernels without process descriptors

Status MakePrivateFolder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) fs::permissions(path, fs::perms::owner_all, error);
  return error ? Unavailable("etcd's folder {}: {}", path, error.message()) : Status::Ok();
}

}  // namespace

Result<std::unique_ptr<EtcdProcess>> EtcdProcess::Start(EtcdProcessOptions options, EventLoop& loop,
                                                        const Clock& clock) {
  EK_RETURN_IF_ERROR(CheckEtcdOptions(options));
  if (options.program.empty()) {
    auto found = FindEtcd();
    if (!found.ok()) return found.status();
    options.program = std::move(*found);
  }
  const auto version = VersionOfEtcd(options.program);
  if (!version.ok()) return version.status();
  EK_RETURN_IF_ERROR(MakePrivateFolder(options.data));
  std::unique_ptr<EtcdProcess> process(new EtcdProcess(std::move(options), loop, clock));
  EK_RETURN_IF_ERROR(process->Begin());
  LogInfo("etcd {}: process {}, clients at {}", *version, process->pid(), process->endpoint());
  return process;
}

EtcdProcess::EtcdProcess(EtcdProcessOptions options, EventLoop& loop, const Clock& clock)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      runtime_(MakeProcessRuntime()),
      restart_alarm_(loop.MakeAlarm([this] {
        ++restarts_;
        if (const Status begun = Begin(); !begun.ok()) OnEnd(begun.message());
      })),
      look_alarm_(loop.MakeAlarm([this] { LookWhetherEnded(); })),
      kill_alarm_(loop.MakeAlarm([this] {
        if (process_ != nullptr) process_->Kill();
      })) {}

EtcdProcess::~EtcdProcess() {
  if (process_ != nullptr && process_->pidfd() >= 0) loop_.Unwatch(process_->pidfd());
}

Status EtcdProcess::Begin() {
  WorkerSpec spec;
  spec.executable = options_.program;
  spec.args = EtcdArguments(options_);
  spec.log_name = "etcd";
  started_ = clock_.Now();
  auto started = runtime_->Start(spec);
  if (!started.ok()) return started.status();
  process_ = std::move(*started);
  if (process_->pidfd() >= 0) {
    loop_.Watch(process_->pidfd(), [this] { LookWhetherEnded(); });
  } else {
    look_alarm_->Set(started_ + kLookEvery);
  }
  return Status::Ok();
}

void EtcdProcess::LookWhetherEnded() {
  std::string how;
  if (process_ == nullptr) return;
  if (!process_->Ended(&how)) {
    if (process_->pidfd() < 0) look_alarm_->Set(clock_.Now() + kLookEvery);
    return;
  }
  if (process_->pidfd() >= 0) loop_.Unwatch(process_->pidfd());
  process_.reset();
  OnEnd(how);
}

void EtcdProcess::OnEnd(const std::string& how) {
  last_end_ = how;
  if (stopping_) {
    kill_alarm_->Set(kNever);
    if (stopped_) std::exchange(stopped_, nullptr)();
    return;
  }
  const Time now = clock_.Now();
  const Duration pause = policy_.OnEnd(now - started_, 0);
  LogWarning("etcd ended: {}; it is started again in {:.1f} s", how, Seconds(pause));
  restart_alarm_->Set(now + pause);
}

void EtcdProcess::Stop(Duration patience, std::function<void()> done) {
  stopping_ = true;
  restart_alarm_->Set(kNever);
  if (process_ == nullptr) {
    loop_.Post(std::move(done));
    return;
  }
  stopped_ = std::move(done);
  // Not reaped yet, so the number is still its own.
  ::kill(process_->pid(), SIGTERM);
  kill_alarm_->Set(clock_.Now() + patience);
}

}  // namespace evenkeel
