// The OpenAI API: everything under /v1.
//
// Contract: Handle() answers whatever begins with /v1, the unknown too (404), in OpenAI's form of errors, and returns true; else it leaves the
//   exchange alone and returns false. The unmodified openai package works against it.
// Thread-safety: thread-safe.
#pragma once

#include "frontends/embedding_call.h"
#include "frontends/http_path.h"
#include "frontends/service.h"
#include "net/http_message.h"

namespace evenkeel {

class OpenAiHttp {
 public:
  explicit OpenAiHttp(Service& service) : service_(service) {}
  bool Handle(const HttpPath& path, HttpExchange& exchange);

 private:
  void Models(HttpExchange& exchange);
  void Model(std::string_view name, HttpExchange& exchange);
  void Text(bool chat, HttpExchange& exchange);
  void Embeddings(HttpExchange& exchange);
  void Rerank(HttpExchange& exchange);
  void Embed(HttpExchange& exchange, EmbeddingRequest& request, HttpEmbeddingCall::Body body);

  Service& service_;
};

}  // namespace evenkeel
