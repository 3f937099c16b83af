// Runs and supervises one etcd process: a member of the cluster's store, with its data in the state folder.
//
// Contract: it is started again whenever it ends, at once the first times, then with growing pauses (containers/restart_policy.h). It dies with the daemon, however
//   that ends (containers/runtime.h); its log is ours, each line after "[etcd]". Being killed costs it nothing that it has confirmed: it writes ahead.
//   Whether it serves is not known here: a store over its endpoint tells (etcd_store.h).
// Not for: Debian's own unit etcd.service, which stays off (tools/setup.sh); an etcd that runs elsewhere.
// Thread-safety: single-owner (the loop).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "cluster/etcd/etcd_program.h"
#include "containers/restart_policy.h"
#include "containers/runtime.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"

namespace evenkeel {

class EtcdProcess {
 public:
  // Blocks for tens of milliseconds. Errors: as FindEtcd(), VersionOfEtcd(), CheckEtcdOptions(); kUnavailable: the folder cannot be made, the
  // program not started. `loop` and `clock` outlive it.
  static Result<std::unique_ptr<EtcdProcess>> Start(EtcdProcessOptions options, EventLoop& loop,
                                                    const Clock& clock);
  ~EtcdProcess();  // kills

  // Asks it to end (it hands over what it leads), kills it after `patience`. `done` comes once, when it has ended; it is not started again.
  void Stop(Duration patience, std::function<void()> done);

  std::string endpoint() const { return EtcdEndpoint(options_); }
  bool running() const { return process_ != nullptr; }
  pid_t pid() const { return process_ != nullptr ? process_->pid() : 0; }  // 0: it does not run
  int restarts() const { return restarts_; }
  // How it ended the last time: "signal 9 (Killed)"; or why it could not be started. "": it never did.
  const std::string& last_end() const { return last_end_; }

 private:
  EtcdProcess(EtcdProcessOptions options, EventLoop& loop, const Clock& clock);
  Status Begin();
  void LookWhetherEnded();
  void OnEnd(const std::string& how);

  const EtcdProcessOptions options_;
  EventLoop& loop_;
  const Clock& clock_;
  const std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<WorkerProcess> process_;
  RestartPolicy policy_;
  Time started_{};
  int restarts_ = 0;
  std::string last_end_;
  bool stopping_ = false;
  std::function<void()> stopped_;
  std::unique_ptr<Alarm> restart_alarm_, look_alarm_, kill_alarm_;
};

}  // namespace evenkeel
