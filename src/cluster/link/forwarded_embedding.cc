#include "cluster/link/forwarded_embedding.h"

#include <utility>

#include "cluster/link/embedding_message.h"

namespace evenkeel {

template <typename Request, typename Response>
ForwardedEmbedding<Request, Response>::ForwardedEmbedding(NodeHost& host, const Clock& clock,
                                                          const Request& request,
                                                          Response* response)
    : response_(response) {
  auto found = host.FindOwnLanguage(request.model());
  if (!found.ok()) {
    Done(found.status(), {}, 0);
    return;
  }
  model_ = std::move(*found);
  if (const Status read = ReadEmbedding(request, clock.Now(), this); !read.ok()) {
    Done(read, {}, 0);
    return;
  }
  // Both may be gone when it returns.
  const std::shared_ptr<LanguageModel> model = model_;
  model->Embed(this);
}

template <typename Request, typename Response>
void ForwardedEmbedding<Request, Response>::Done(const Status& status,
                                                 const std::vector<std::vector<float>>& rows,
                                                 int prompt_tokens) {
  WriteEmbeddingAnswer({status, rows, prompt_tokens}, response_);
  Finish(grpc::Status::OK);
}

template <typename Request, typename Response>
void ForwardedEmbedding<Request, Response>::OnCancel() {
  if (model_) model_->CancelEmbedding(this);
}

template class ForwardedEmbedding<node::v1::EmbedRequest, node::v1::EmbedResponse>;
template class ForwardedEmbedding<node::v1::RankRequest, node::v1::RankResponse>;

}  // namespace evenkeel
