// The side of a node that other nodes speak to: figures, and calls that are run here.
//
// Contract: a forwarded call is run by this node's own models and never forwarded again, so that no two nodes send one another a call in a circle.
//   A caller that goes away cancels its call. With credentials only nodes are let in that are of the cluster now, by TLS 1.3 (caller_gate.h), and figures are
//   believed of the node that tells them alone.
// Errors: Start(): kConflict when the address cannot be listened on.
// Thread-safety: thread-safe, but for destruction.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/link/model_host.h"
#include "cluster/link/node_credentials.h"
#include "cluster/link/state_message.h"
#include "cluster/live/node_figures.h"
#include "cluster/stored_plan.h"
#include "core/clock.h"
#include "core/generation.h"
#include "core/served_model.h"
#include "core/status.h"

namespace evenkeel {

class IoLoop;

// What the server stands on. All methods are thread-safe and do not block.
class NodeHost {
 public:
  virtual ~NodeHost() = default;
  // Whether the node is on this one's list, and was not taken off. Who is not gets nothing of it, whatever its certificate says. Asked before each call.
  virtual bool IsOfCluster(std::string_view node) const = 0;
  // Of this node, now; for who told `theirs`.
  virtual NodeFigures FiguresFor(const NodeFigures& theirs) = 0;
  virtual void OnFigures(const NodeFigures& theirs) = 0;  // another node told them
  // "drain", "cordon" or "uncordon". Error kInvalidArgument.
  virtual Status SetOwnState(std::string_view state) = 0;
  // Has a plan stored if this node leads. `done` once, on any thread, also if the host stops. Errors: as Membership::Publish(); kUnsupported: no store.
  virtual void PublishPlan(std::string plan, std::function<void(Result<PlanStamp>)> done);
  // A new certificate for the node that asks, by the authority that this node holds: chain as PEM. `caller` is proven. Errors: kNotFound (it holds none),
  // kInvalidArgument, kPermissionDenied (under another name).
  virtual Result<std::string> Renew(const std::string& caller, const std::string& request_pem);
  // What is computed of an answer that runs here. `done` once, on any thread. Errors: kNotFound, kConflict (of another binding), kOverloaded,
  // kUnsupported, kUnavailable.
  virtual void ReadState(StateRequest request, std::function<void(Result<BoundState>)> done);
  // Has the answer's state fetched and kept, if that takes less than computing it. `done` once, on any thread, also inside. Errors: those, and the link's.
  virtual void TakeState(StateOrder order, std::function<void(Result<StateTaken>)> done);
  // This node's own, to hand it one call. Errors: kNotFound, kUnavailable.
  virtual Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view model,
                                                       std::string_view version) = 0;
  virtual Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view model) = 0;
};

struct LinkServerOptions {
  std::string address = "127.0.0.1";
  int port = 0;  // 0: any free one
  size_t max_message_bytes = size_t{64} << 20;
  // Null: nothing is encrypted, and whoever reaches the port is heard (caller_gate.h). Else outlives the server, as the loop does.
  const link::NodeCredentials* credentials = nullptr;
  std::vector<std::string> peers;  // without credentials: numeric addresses of the other nodes
  IoLoop* loop = nullptr;  // where connections' first bytes are looked at; needed with credentials
  ModelHost* models =
      nullptr;  // null: other nodes get nothing of this one's models; outlives the server
};

class LinkServer {
 public:
  // `host` and `clock` outlive the server.
  static Result<std::unique_ptr<LinkServer>> Start(NodeHost& host, const Clock& clock,
                                                   const LinkServerOptions& options);
  ~LinkServer();  // cancels what runs, and waits until every call was answered
  LinkServer(const LinkServer&) = delete;
  LinkServer& operator=(const LinkServer&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit LinkServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace evenkeel
