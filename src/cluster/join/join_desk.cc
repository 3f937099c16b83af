#include "cluster/join/join_desk.h"

#include <algorithm>

#include "cluster/join/join_messages.h"
#include "cluster/pki/signing_request.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {

Result<std::string> JoinDesk::Join(std::string_view body, pki::WallTime now) {
  const auto asked = ParseJoinRequest(body);
  if (!asked.ok()) return asked.status();
  EK_RETURN_IF_ERROR(tokens_.Redeem(asked->token, now));
  // From here on somebody who was invited asks.
  const auto request = pki::ReadSigningRequest(asked->request_pem);
  if (!request.ok()) return request.status();
  const auto address = ParseHostPort(asked->address);
  if (!address.ok()) return address.status().Annotate("address");
  const NodeAddress node{request->identity.node, asked->address};
  std::vector<NodeAddress> nodes = nodes_();
  if (nodes.size() >= kMostNodes) return Conflict("the cluster has {} nodes already", nodes.size());
  if (std::ranges::find(nodes, node.name, &NodeAddress::name) != nodes.end())
    return Conflict("the cluster has a node '{}' already: choose another name", node.name);
  if (std::ranges::find(nodes, node.address, &NodeAddress::address) != nodes.end())
    return Conflict("the address {} is another node's", node.address);
  JoinAnswer answer;
  auto chain = authority_.Sign(*request, now);
  if (!chain.ok()) return chain.status();
  answer.chain_pem = std::move(*chain);
  answer.nodes = std::move(nodes);
  EK_RETURN_IF_ERROR(admit_(node));
  LogInfo("node '{}' at {} joined the cluster", node.name, node.address);
  return WriteJoinAnswer(answer);
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
  const auto answer =
      Join({reinterpret_cast<const char*>(body.data()), body.size()},
           std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
  if (!answer.ok()) {
    LogWarning("a node was not let in: {}", answer.status().message());
    return refuse(answer.status());
  }
  HttpResponse response;
  response.body = *answer;
  exchange.Respond(std::move(response));
}

}  // namespace evenkeel
