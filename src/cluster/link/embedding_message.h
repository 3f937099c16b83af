// Calls for vectors and for scores, and their answers, as they travel between nodes.
//
// Reading checks what would harm this process: counts, numbers that are none; whether the model can do it is for the model to say.
// Errors: kInvalidArgument. Thread-safety: pure.
#pragma once

#include <string_view>
#include <vector>

#include "core/generation.h"
#include "core/status.h"

namespace evenkeel::node::v1 {
class EmbedRequest;
class EmbedResponse;
class RankRequest;
class RankResponse;
}  // namespace evenkeel::node::v1

namespace evenkeel {

// Texts, or documents, of one call.
inline constexpr int kMostForwardedTexts = 1 << 20;

// What an EmbeddingCall's Done() tells.
struct EmbeddingAnswer {
  Status status;
  std::vector<std::vector<float>> rows;
  int prompt_tokens = 0;
};

// REQUIRES: no query.
void WriteEmbedding(const EmbeddingCall& call, std::string_view model, Time now,
                    node::v1::EmbedRequest* message);
// REQUIRES: a query.
void WriteEmbedding(const EmbeddingCall& call, std::string_view model, Time now,
                    node::v1::RankRequest* message);
// Inputs, deadline and priority of `call`.
Status ReadEmbedding(const node::v1::EmbedRequest& message, Time now, EmbeddingCall* call);
Status ReadEmbedding(const node::v1::RankRequest& message, Time now, EmbeddingCall* call);

void WriteEmbeddingAnswer(const EmbeddingAnswer& answer, node::v1::EmbedResponse* message);
void WriteEmbeddingAnswer(const EmbeddingAnswer& answer, node::v1::RankResponse* message);
// A broken message is an answer with its error (kInternal).
EmbeddingAnswer ReadEmbeddingAnswer(const node::v1::EmbedResponse& message);
EmbeddingAnswer ReadEmbeddingAnswer(const node::v1::RankResponse& message);

}  // namespace evenkeel
