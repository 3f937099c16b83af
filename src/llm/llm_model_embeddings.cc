// The methods of LlmModel that hand calls for vectors and scores to EmbeddingCalls.
#include "core/format.h"
#include "llm/llm_model.h"

namespace evenkeel {

void LlmModel::Embed(EmbeddingCall* call) {
  const uint64_t id = embeddings_.Register(call);
  context_.loop.Post([self = shared_from_this(), id, call] {
    if (self->stopping_)
      return self->embeddings_.Refuse(
          call, Unavailable("model '{}' is being unloaded", self->options_.name));
    LlmLoaded loaded;
    {
      const std::lock_guard lock(self->mutex_);
      loaded = self->loaded_;
    }
    self->tuner_.OnTexts();
    self->embeddings_.Begin(id, call, loaded);
    self->Publish();
  });
}

void LlmModel::CancelEmbedding(EmbeddingCall* call) {
  const uint64_t id = embeddings_.IdOf(call);
  if (id == 0) return;
  context_.loop.Post([self = shared_from_this(), id] {
    self->embeddings_.Finish(id, Cancelled("the client went away"));
  });
}

}  // namespace evenkeel
