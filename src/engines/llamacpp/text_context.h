// The llama.cpp context in which texts become vectors or scores: beside the one that generates, over the same weights.
//
// It is as large as the texts that it has to hold: Resize() makes it anew. A model without a cache, or whose tokens all see each other, takes
//   a text in one piece (`whole`); others take pieces, so that no text is longer than a step can be. Vectors of tokens come out as the model
//   gives them and are pooled by whoever asks (llm/policy/pooling.h); scores come out of the engine's graph.
// Where tokens' vectors are what the engine makes logits of, a step ends with them: the logits of a large vocabulary are a fifth to a half of a
//   small model's work, and nobody wants them. Whether that gives the same vectors is tried once, on two tokens; where it does not, the engine
//   computes all.
// Contract: after Compute() Row() and Score() are valid until the next. What a slot holds stays until Forget().
// Thread-safety: single-owner. The model outlives it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/status.h"
#include "engines/llamacpp/llama_model.h"

struct llama_context;

namespace evenkeel {

class TextContext {
 public:
  // REQUIRES: the model's pooling is not kNone.
  explicit TextContext(LlamaModel& model);
  ~TextContext();

  // Room for texts of `longest` tokens, and usual ones beside. What it held is forgotten. Error kUnavailable: not enough memory; there is no
  // room then.
  Status Resize(int longest);
  llama_context* context() const { return context_; }  // null: there is none
  bool whole() const { return whole_; }
  int cells() const { return cells_; }  // tokens that it can hold; 0: there is no context
  int batch() const { return batch_; }  // tokens of a step that pieces may fill
  int slots() const { return slots_; }  // texts at once
  bool enlarged() const { return cells_ > base_cells_; }
  bool leaves_logits_out() const;
  // Cache, and what the engine gives for each token of a step; without its scratch space.
  int64_t bytes() const;
  // The same of one for a text as long as the model's context, with scratch space for what the engine gives.
  static int64_t MostBytes(const LlamaModel& model);

  struct Piece {
    int slot = 0;
    int position = 0;  // of its first token in its text
    std::span<const int32_t> tokens;
  };
  // Error kInternal: the engine failed, and no slot holds anything any more.
  Status Compute(std::span<const Piece> pieces);
  // Of the i-th token of that step, in the order of the pieces.
  std::span<const float> Row(int i) const;
  // With kRank, of a text whose last token was in that step: 0 to 1.
  Result<float> Score(int slot) const;
  void Forget(int slot);

 private:
  struct Batch;
  struct EarlyEnd;
  void Clear();
  void TryEarlyEnd();

  LlamaModel& model_;
  llama_context* context_ = nullptr;
  std::unique_ptr<Batch> batch_of_step_;
  const std::unique_ptr<EarlyEnd> early_end_;
  int cells_ = 0, base_cells_ = 0, batch_ = 0;
  int slots_ = 0;
  bool whole_ = false;
};

}  // namespace evenkeel
