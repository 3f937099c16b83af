// What membership needs of the world: clients of the store, and the process of a member of it. A value of functions, so that tests put a store in memory there.
//
// Thread-safety: as what it makes; called on the loop's thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/etcd/etcd_program.h"
#include "cluster/home/store_home.h"
#include "cluster/kv_store.h"
#include "cluster/link/node_credentials.h"
#include "cluster/store_members.h"
#include "core/event_loop.h"

namespace evenkeel {

// A member of the store that runs here, and is started again when it ends.
class MemberProcess {
 public:
  virtual ~MemberProcess() = default;  // kills
  // As EtcdProcess::Stop().
  virtual void Stop(Duration patience, std::function<void()> done) = 0;
  virtual pid_t pid() const = 0;  // 0: it does not run now
  virtual int restarts() const = 0;
  virtual std::string last_end() const = 0;
};

struct StoreAccess {
  // May change; on the loop's thread.
  using Endpoints = std::shared_ptr<const std::vector<std::string>>;

  std::function<Result<std::unique_ptr<KvStore>>(const StoreHome&, Endpoints)> connect;
  std::function<Result<std::unique_ptr<StoreMembers>>(Endpoints)> members;
  // Its files are this node's certificate. Blocks for tens of milliseconds.
  std::function<Result<std::unique_ptr<MemberProcess>>(EtcdProcessOptions)> start;
};

// With etcd. `folder`: the cluster folder, where node.pem is; the authority's certificate is written beside it for etcd. All outlive what is made.
StoreAccess EtcdAccess(const std::string& folder, const link::NodeCredentials& credentials,
                       EventLoop& loop, const Clock& clock);

}  // namespace evenkeel
