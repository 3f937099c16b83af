// One request of /v1/embeddings on its way through a model. Owned by its exchange.
//
// Contract: exactly one answer. A model cannot be asked to drop an embedding: when the client has left, the answer is thrown away.
// Thread-safety: as EmbeddingCall.
#pragma once

#include <memory>
#include <string>

#include "core/generation.h"
#include "frontends/openai_request.h"
#include "net/http_message.h"

namespace evenkeel {

class HttpEmbeddingCall final : public EmbeddingCall, public HttpWork {
 public:
  HttpEmbeddingCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                    EmbeddingRequest request, Time deadline, std::string headers);

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
  const bool base64_;
};

}  // namespace evenkeel
