// A GGUF model in llama.cpp: weights, vocabulary, one context with a cache that all sequences share, and the threads of its steps.
//
// A model that was made for vectors or scores, or whose tokens all see each other, has no such context: it generates nothing, and
//   text_context.h is all that it computes in.
// Contract: Load() once; what it returns stays valid as long as the object. Threads that wait for each other within a step sleep after some
//   microseconds (tools/patch_llamacpp.py), and between steps at once: a core that is taken by others costs its share, not all.
// Thread-safety: single-owner, but for vocabulary look-ups.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/pooling.h"
#include "core/status.h"
#include "llm/wire/load_messages.h"

struct llama_context;
struct llama_model;
struct llama_vocab;
struct ggml_threadpool;

namespace evenkeel {

class LlamaModel {
 public:
  // Errors: kInvalidArgument (no model that this engine reads), kUnavailable (not enough memory).
  static Result<std::unique_ptr<LlamaModel>> Load(const LlmLoad& load);
  ~LlamaModel();

  llama_model* model() const { return model_; }
  llama_context* context() const { return context_; }  // null where nothing is generated
  bool generates() const { return context_ != nullptr; }
  Pooling pooling() const { return pooling_; }
  int vector_size() const;  // numbers that the engine gives for a token
  bool scores_are_shares() const { return scores_are_shares_; }  // of 1, by a softmax
  bool texts_whole() const { return texts_whole_; }              // its tokens all see each other
  ggml_threadpool* thread_pool() const { return threads_; }
  int64_t cell_bytes() const;  // of a token in a cache
  const llama_vocab* vocab() const { return vocab_; }
  int vocabulary() const { return vocabulary_; }
  int context_tokens() const { return context_tokens_; }
  int cells() const { return cells_; }
  int slots() const { return slots_; }
  int batch() const { return batch_; }  // tokens of a step at most
  int threads() const { return thread_count_; }
  // Of the next steps; at least 1, at most those that Load() was given. Whether all but one come and go within a step (coming_threads.h).
  void SetThreads(int threads, bool come_and_go = false);
  // Another context of so many slots and cells, empty. What cannot be had leaves one as before. REQUIRES: nothing runs in the present one.
  // Error kUnavailable: there is none any more.
  Status Reshape(int slots, int64_t cells);
  // Parts of a sequence's cache can be copied and cut off, so beginnings may be used again.
  bool shares_beginnings() const { return shares_beginnings_; }
  // What a sequence's state fits: engine and build, cache, context. Empty: it can't be sent.
  std::string StateKind() const;
  bool is_end(int32_t token) const { return ends_[static_cast<size_t>(token)]; }
  // The bytes of a token; a control token has none unless `special`.
  std::string Piece(int32_t token, bool special) const;

  LlmLoaded Describe() const;

 private:
  LlamaModel() = default;
  Status ChoosePooling(const LlmLoad& load);
  Status MakeThreads(int threads);
  Status MakeContext(const LlmLoad& load);

  llama_model* model_ = nullptr;
  llama_context* context_ = nullptr;
  ggml_threadpool* threads_ = nullptr;
  const llama_vocab* vocab_ = nullptr;
  int vocabulary_ = 0, context_tokens_ = 0, cells_ = 0, slots_ = 0, batch_ = 0;
  bool shares_beginnings_ = false, scores_are_shares_ = false, texts_whole_ = false;
  bool long_factors_ = false;  // how positions are turned depends on how large the cache is
  Pooling pooling_ = Pooling::kNone;
  int thread_count_ = 1;  // of the next step
  int most_threads_ = 1;
  LlmLoad load_;
  std::vector<bool> ends_;  // by token: ends an answer
};

}  // namespace evenkeel
