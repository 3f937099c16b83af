#include "cluster/join/join_messages.h"

#include <nlohmann/json.hpp>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/json_fields.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 3;

}  // namespace

std::string WriteJoinRequest(const JoinRequest& request) {
  return Json{
      {"token", request.token}, {"request", request.request_pem}, {"address", request.address}}
      .dump();
}

Result<JoinRequest> ParseJoinRequest(std::string_view text) {
  if (text.size() > kMostJoinBytes) return TooLarge("a request to join of {} bytes", text.size());
  const auto document = ParseStrictObject(text, kDeepest, "the request to join");
  if (!document.ok()) return document.status();
  JsonFields fields(*document, "", {"token", "request", "address"});
  JoinRequest request;
  request.token = fields.Text("token", "", true);
  request.request_pem = fields.Text("request", "", true);
  request.address = fields.Text("address", "", true);
  EK_RETURN_IF_ERROR(fields.status());
  return request;
}

std::string WriteJoinAnswer(const JoinAnswer& answer) {
  Json nodes = Json::array();
  for (const NodeAddress& node : answer.nodes)
    nodes.push_back({{"node", node.name}, {"address", node.address}});
  StoreHome store = answer.store;
  store.member = false;
  store.ca_file = store.cert_file = store.key_file = "";
  return Json{{"certificate", answer.chain_pem},
              {"nodes", std::move(nodes)},
              {"store", WriteStoreHome(store)}}
      .dump();
}

Result<JoinAnswer> ParseJoinAnswer(std::string_view text) {
  if (text.size() > kMostJoinBytes) return TooLarge("an answer of {} bytes", text.size());
  const auto document = ParseStrictObject(text, kDeepest, "the cluster's answer");
  if (!document.ok()) return document.status();
  JsonFields fields(*document, "", {"certificate", "nodes", "store"});
  JoinAnswer answer;
  answer.chain_pem = fields.Text("certificate", "", true);
  const Json* const nodes = fields.List("nodes", true);
  const Json* const store = fields.Find("store");
  EK_RETURN_IF_ERROR(fields.status());
  if (nodes->size() > kMostNodes) return TooLarge("a cluster of {} nodes", nodes->size());
  for (size_t i = 0; i < nodes->size(); ++i) {
    JsonFields one((*nodes)[i], fmt::format("nodes[{}]", i), {"node", "address"});
    NodeAddress node{one.Text("node", "", true), one.Text("address", "", true)};
    EK_RETURN_IF_ERROR(one.status());
    EK_RETURN_IF_ERROR(pki::CheckNodeName(node.name));
    if (const auto address = ParseHostPort(node.address); !address.ok())
      return address.status().Annotate(fmt::format("nodes[{}].address", i));
    answer.nodes.push_back(std::move(node));
  }
  if (store != nullptr) {
    auto parsed = ParseStoreHome(*store, "store");
    if (!parsed.ok()) return parsed.status();
    answer.store = std::move(*parsed);
  }
  return answer;
}

}  // namespace evenkeel
