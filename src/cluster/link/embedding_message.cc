#include "cluster/link/embedding_message.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "cluster/link/call_terms.h"
#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

Status CheckCount(const char* what, int count) {
  if (count >= 1 && count <= kMostForwardedTexts) return Status::Ok();
  return InvalidArgument("{}: expected 1 to {}, got {}", what, kMostForwardedTexts, count);
}

// Front ends add those of several answers up: more is no count of ours.
int ToldTokens(int32_t count) { return std::clamp(count, 0, 100'000'000); }

// Takes the rows of an answer that went well; nothing of one with a number that is none.
void CheckRows(EmbeddingAnswer* answer) {
  for (const auto& row : answer->rows) {
    for (const float value : row) {
      if (std::isfinite(value)) continue;
      answer->rows.clear();
      answer->status = Internal("another node answered with a number that is none");
      return;
    }
  }
}

}  // namespace

void WriteEmbedding(const EmbeddingCall& call, std::string_view model, Time now,
                    node::v1::EmbedRequest* message) {
  message->set_model(std::string(model));
  for (const std::string& text : call.texts) message->add_texts(text);
  for (const auto& tokens : call.tokens)
    message->add_tokens()->mutable_tokens()->Add(tokens.begin(), tokens.end());
  message->set_truncate(call.truncate);
  WriteTerms(call, now, message);
}

void WriteEmbedding(const EmbeddingCall& call, std::string_view model, Time now,
                    node::v1::RankRequest* message) {
  message->set_model(std::string(model));
  message->set_query(*call.query);
  for (const std::string& text : call.texts) message->add_documents(text);
  message->set_truncate(call.truncate);
  WriteTerms(call, now, message);
}

Status ReadEmbedding(const node::v1::EmbedRequest& message, Time now, EmbeddingCall* call) {
  if (message.texts_size() > 0 && message.tokens_size() > 0)
    return InvalidArgument("expected texts or tokens, got both");
  EK_RETURN_IF_ERROR(CheckCount("texts", message.texts_size() + message.tokens_size()));
  call->texts.assign(message.texts().begin(), message.texts().end());
  for (const auto& list : message.tokens())
    call->tokens.emplace_back(list.tokens().begin(), list.tokens().end());
  call->truncate = message.truncate();
  return ReadTerms(message, now, call);
}

Status ReadEmbedding(const node::v1::RankRequest& message, Time now, EmbeddingCall* call) {
  EK_RETURN_IF_ERROR(CheckCount("documents", message.documents_size()));
  call->query = message.query();
  call->texts.assign(message.documents().begin(), message.documents().end());
  call->truncate = message.truncate();
  return ReadTerms(message, now, call);
}

void WriteEmbeddingAnswer(const EmbeddingAnswer& answer, node::v1::EmbedResponse* message) {
  WriteOutcome(answer.status, message->mutable_outcome());
  for (const auto& row : answer.rows)
    message->add_vectors()->mutable_values()->Add(row.begin(), row.end());
  message->set_prompt_tokens(answer.prompt_tokens);
}

void WriteEmbeddingAnswer(const EmbeddingAnswer& answer, node::v1::RankResponse* message) {
  WriteOutcome(answer.status, message->mutable_outcome());
  // A row of another size than one is left out, so that the count says that something is wrong.
  for (const auto& row : answer.rows) {
    if (row.size() == 1) message->add_scores(row[0]);
  }
  message->set_prompt_tokens(answer.prompt_tokens);
}

EmbeddingAnswer ReadEmbeddingAnswer(const node::v1::EmbedResponse& message) {
  EmbeddingAnswer answer;
  answer.status = ReadOutcome(message.outcome());
  if (!answer.status.ok()) return answer;
  answer.prompt_tokens = ToldTokens(message.prompt_tokens());
  for (const auto& one : message.vectors())
    answer.rows.emplace_back(one.values().begin(), one.values().end());
  CheckRows(&answer);
  return answer;
}

EmbeddingAnswer ReadEmbeddingAnswer(const node::v1::RankResponse& message) {
  EmbeddingAnswer answer;
  answer.status = ReadOutcome(message.outcome());
  if (!answer.status.ok()) return answer;
  answer.prompt_tokens = ToldTokens(message.prompt_tokens());
  for (const float score : message.scores()) answer.rows.push_back({score});
  CheckRows(&answer);
  return answer;
}

}  // namespace evenkeel
