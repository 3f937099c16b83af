// The OpenAI API: everything under /v1.
//
// Contract: Handle() answers if it knows the path, errors in OpenAI's form, and returns true; else it leaves the exchange alone and returns
//   false. Which model a body names is checked when it was read, before anything is done (GuardedService). The unmodified openai package works against it.
// Thread-safety: for one request; single-owner.
#pragma once

#include "frontends/embedding_call.h"
#include "frontends/guarded_service.h"
#include "frontends/http_path.h"
#include "net/http_message.h"

namespace evenkeel {

class OpenAiHttp {
 public:
  explicit OpenAiHttp(GuardedService& service) : service_(service) {}
  bool Handle(const HttpPath& path, HttpExchange& exchange);

 private:
  void Models(HttpExchange& exchange);
  void Model(std::string_view name, HttpExchange& exchange);
  void Text(bool chat, HttpExchange& exchange);
  void Embeddings(HttpExchange& exchange);
  void Rerank(HttpExchange& exchange);
  void Embed(HttpExchange& exchange, EmbeddingRequest& request, HttpEmbeddingCall::Body body);

  GuardedService& service_;
};

}  // namespace evenkeel
