// What a new node asks of the one that made the cluster, and what it gets.
//
// Contract: Parse takes what Write gives; anything else is refused by field. Messages never hold the token. Errors: kInvalidArgument, kTooLarge.
// Thread-safety: values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostJoinBytes = size_t{256} << 10;

struct JoinRequest {
  std::string token;
  std::string request_pem;  // cluster/pki/signing_request.h
  std::string address;      // where the node will be reached
};

struct JoinAnswer {
  std::string chain_pem;           // the node's certificate, then the authority's
  std::vector<NodeAddress> nodes;  // of the cluster, the asked one among them, without the new one
  StoreHome store;                 // how the cluster has its store; names no files
};

std::string WriteJoinRequest(const JoinRequest& request);
Result<JoinRequest> ParseJoinRequest(std::string_view text);
std::string WriteJoinAnswer(const JoinAnswer& answer);
Result<JoinAnswer> ParseJoinAnswer(std::string_view text);

}  // namespace evenkeel
