#include "cluster/join/join_desk.h"

#include <algorithm>

#include "cluster/join/join_messages.h"
#include "cluster/join/request_check.h"
#include "cluster/pki/join_token.h"
#include "cluster/pki/signing_request.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

Status CheckFree(const NodeAddress& node, const NodeAddress& other) {
  if (node.name == other.name)
    return Conflict(
        "the cluster has a node '{}' already: choose another name, or take that one off first, if "
        "it is gone or its joining was cut short (evenkeel node rm {})",
        node.name, node.name);
  if (SameAddress(node.address, other.address))
    return Conflict("the address {} is another node's", node.address);
  return Status::Ok();
}

}  // namespace

Result<std::string> JoinDesk::Join(std::string_view body, pki::WallTime now, std::string* for_log) {
  const auto asked = ParseJoinRequest(body);
  if (!asked.ok()) return asked.status();
  EK_RETURN_IF_ERROR(Redeem(asked->token, now, for_log));
  // From here on somebody who was invited asks.
  const auto request = pki::ReadSigningRequest(asked->request_pem);
  if (!request.ok()) return request.status();
  const NodeAddress node{request->identity.node, asked->address};
  EK_RETURN_IF_ERROR(CheckRequest(request->identity, node));
  std::vector<NodeAddress> nodes = nodes_();
  if (nodes.size() >= kMostNodes) return Conflict("the cluster has {} nodes already", nodes.size());
  EK_RETURN_IF_ERROR(Reserve(node, nodes, now));
  auto answer = Certify(node, *request, std::move(nodes), now);
  if (!answer.ok()) Release(node);
  return answer;
}

Status JoinDesk::Redeem(const std::string& token, pki::WallTime now, std::string* for_log) const {
  EK_RETURN_IF_ERROR(pki::ParseJoinToken(token).status());
  const Status redeemed = tokens_.Redeem(token, now);
  if (redeemed.ok() || redeemed.code() == Code::kUnauthenticated) return redeemed;
  // The rest is about files here, which are nobody else's business.
  if (for_log != nullptr) *for_log = redeemed.message();
  return {Code::kUnauthenticated, "the join token is not known, or was used"};
}

Result<std::string> JoinDesk::Certify(const NodeAddress& node, const pki::SigningRequest& request,
                                      std::vector<NodeAddress> nodes, pki::WallTime now) {
  JoinAnswer answer;
  auto chain = authority_.Sign(request, now);
  if (!chain.ok()) return chain.status();
  answer.chain_pem = std::move(*chain);
  answer.nodes = std::move(nodes);
  answer.store = store_();
  EK_RETURN_IF_ERROR(admit_(node));
  LogInfo("node '{}' at {} joined the cluster", node.name, node.address);
  return WriteJoinAnswer(answer);
}

// `nodes` may be of a moment ago, and what was admitted since is not among them.
Status JoinDesk::Reserve(const NodeAddress& node, const std::vector<NodeAddress>& nodes,
                         pki::WallTime now) {
  for (const NodeAddress& other : nodes) EK_RETURN_IF_ERROR(CheckFree(node, other));
  const std::lock_guard lock(mutex_);
  // Not for longer: a node that is taken off the cluster may come back.
  std::erase_if(admitted_, [now](const Admitted& one) {
    return now < one.when || now - one.when >= kAdmittedFor;
  });
  for (const Admitted& one : admitted_) EK_RETURN_IF_ERROR(CheckFree(node, one.node));
  admitted_.push_back({node, now});
  return Status::Ok();
}

void JoinDesk::Release(const NodeAddress& node) {
  const std::lock_guard lock(mutex_);
  std::erase_if(admitted_, [&node](const Admitted& one) { return one.node == node; });
}

// Anybody who reaches the port is refused here, as often as he likes: the log must not be filled by that.
void JoinDesk::Warn(const std::string& why, Time now) {
  uint64_t unsaid = 0;
  {
    const std::lock_guard lock(mutex_);
    if (now < warn_again_) {
      ++unsaid_;
      return;
    }
    warn_again_ = now + kWarnEvery;
    unsaid = std::exchange(unsaid_, 0);
  }
  LogWarning("a node was not let in: {}{}", why,
             unsaid == 0 ? "" : fmt::format(" (nor were {} before it)", unsaid));
}

void JoinDesk::Handle(HttpExchange& exchange) {
  const auto refuse = [&](const Status& status) {
    exchange.Respond(JsonError(InfoOf(status.code()).http, status.message()));
  };
  if (exchange.head().path != "/join") return refuse(NotFound("nothing but /join is here"));
  if (exchange.head().method != HttpMethod::kPost) {
    exchange.Respond(JsonError(405, "expected POST"));
    return;
  }
  const auto body = exchange.body();
  std::string why;
  const auto answer =
      Join({reinterpret_cast<const char*>(body.data()), body.size()},
           std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()), &why);
  if (!answer.ok()) {
    Warn(why.empty() ? answer.status().message() : why, exchange.received());
    return refuse(answer.status());
  }
  HttpResponse response;
  response.body = *answer;
  exchange.Respond(std::move(response));
}

}  // namespace evenkeel
