// One request of /v1/rerank on its way through a model of embeddings: query and documents are embedded together, and compared. Owned by its
// exchange.
//
// Contract: exactly one answer. Scores are the cosine between query and document; a model that scores pairs by itself is not asked here.
// Thread-safety: as EmbeddingCall.
#pragma once

#include <memory>
#include <string>

#include "core/generation.h"
#include "frontends/openai_request.h"
#include "net/http_message.h"

namespace evenkeel {

class HttpRerankCall final : public EmbeddingCall, public HttpWork {
 public:
  HttpRerankCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                 RerankRequest request, Time deadline, std::string headers);

  // Once, after the exchange owns the call. It may be gone when this returns.
  void Start() { model_->Embed(this); }
  void Done(const Status& status, const std::vector<std::vector<float>>& rows,
            int prompt_tokens) override;
  void OnCancel() override {}

 private:
  HttpExchange& exchange_;
  const std::shared_ptr<LanguageModel> model_;
  const std::string model_name_;
  const std::string headers_;
  const int top_n_;
  const bool return_documents_;
};

}  // namespace evenkeel
