// A KvStore that is an etcd cluster, 3.4 to 3.6.
//
// Contract: as KvStore. A version that we do not speak is refused by Read() with kUnsupported, for each endpoint anew. A call fails by `call_timeout`, and the next
//   one goes to the next endpoint if that one was away. A lease's time is rounded up to whole seconds.
// Thread-safety: as KvStore; made and destroyed on the loop's thread, which waits in the destructor until cancelled calls have ended (milliseconds).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cluster/kv_store.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"

namespace grpc {
class ChannelCredentials;
}

namespace evenkeel {

struct EtcdStoreOptions {
  std::vector<std::string> endpoints;  // "host:port", 1 to 16; the first is tried first
  std::shared_ptr<const std::vector<std::string>> changing;  // as in EtcdClientOptions
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  Duration call_timeout = std::chrono::seconds(2);
};

// Connects when it is first used. Errors: kInvalidArgument (no credentials, an endpoint that is none). `loop` outlives it.
Result<std::unique_ptr<KvStore>> MakeEtcdStore(EtcdStoreOptions options, EventLoop& loop);

}  // namespace evenkeel
