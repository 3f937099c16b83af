// The members of an etcd cluster (cluster/store_members.h).
//
// Thread-safety: as StoreMembers; made and destroyed on the loop's thread.
#pragma once

#include <memory>

#include "cluster/etcd/etcd_client.h"
#include "cluster/store_members.h"
#include "core/event_loop.h"
#include "core/status.h"

namespace evenkeel {

// Errors: as CheckEtcdEndpoints(); kInvalidArgument without credentials. `loop` outlives it.
Result<std::unique_ptr<StoreMembers>> MakeEtcdMembers(EtcdClientOptions options, EventLoop& loop);

}  // namespace evenkeel
