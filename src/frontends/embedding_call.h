// One request of /v1/embeddings or /v1/rerank on its way through a model: texts in, a row for each back. Owned by its exchange.
//
// Contract: exactly one answer. A client that leaves cancels the call.
// Thread-safety: as EmbeddingCall.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/generation.h"
#include "frontends/openai_request.h"
#include "net/http_message.h"

namespace evenkeel {

class HttpEmbeddingCall final : public EmbeddingCall, public HttpWork {
 public:
  // The answer's body, from as many rows as there were texts.
  using Body = std::function<std::string(const std::vector<std::vector<float>>& rows, int tokens)>;

  // Takes the inputs of `request`. `headers`: of the answer, beside its own.
  HttpEmbeddingCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                    EmbeddingRequest& request, Time deadline, std::string headers, Body body);

  // Once, after the exchange owns the call. It may be gone when this returns.
  void Start() { model_->Embed(this); }
  void Done(const Status& status, const std::vector<std::vector<float>>& rows,
            int prompt_tokens) override;
  void OnCancel() override { model_->CancelEmbedding(this); }

 private:
  HttpExchange& exchange_;
  const std::shared_ptr<LanguageModel> model_;
  const std::string headers_;
  const Body body_;
};

}  // namespace evenkeel
