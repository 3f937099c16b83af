// A call for vectors or scores that came from another node, while it runs here. Internal to link_server.cc.
//
// Ownership, thread-safety: as in forwarded_calls.h.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <vector>

#include "cluster/link/link_server.h"
#include "core/generation.h"
#include "proto/node.pb.h"

namespace evenkeel {

// `Request`, `Response`: of Embed, or of Rank.
template <typename Request, typename Response>
class ForwardedEmbedding final : public grpc::ServerUnaryReactor, private EmbeddingCall {
 public:
  // Both messages live until OnDone().
  ForwardedEmbedding(NodeHost& host, const Clock& clock, const Request& request,
                     Response* response);

 private:
  void Done(const Status& status, const std::vector<std::vector<float>>& rows,
            int prompt_tokens) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  Response* const response_;
  std::shared_ptr<LanguageModel> model_;
};

using ForwardedEmbed = ForwardedEmbedding<node::v1::EmbedRequest, node::v1::EmbedResponse>;
using ForwardedRank = ForwardedEmbedding<node::v1::RankRequest, node::v1::RankResponse>;

}  // namespace evenkeel
