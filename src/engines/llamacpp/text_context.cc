#include "engines/llamacpp/text_context.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <vector>

#include "core/check.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kSlots = 64;
constexpr int kRecurrentSlots = 4;  // each has a whole state, whatever its text's length
constexpr int kMostBatch = 512;     // the rate falls beyond it
constexpr int kLeastBatch = 64;
constexpr int kUsualTokens = 2048;  // of texts side by side
// The engine gives logits with every token's vector, wanted or not: a step has as many tokens as these take.
constexpr int64_t kRowBytes = int64_t{64} << 20;

int64_t BytesOfRow(const LlamaModel& model) {
  return int64_t{4} * (model.vocabulary() + model.vector_size());
}

int TokensOfStep(const LlamaModel& model) {
  const auto rows = static_cast<int>(std::min<int64_t>(kRowBytes / BytesOfRow(model), kMostBatch));
  return std::max(rows / 32 * 32, kLeastBatch);
}

}  // namespace

struct TextContext::Batch {
  explicit Batch(int tokens) : batch(llama_batch_init(tokens, 0, 1)) {}
  ~Batch() { llama_batch_free(batch); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  void Add(int32_t token, int position, int slot) {
    const auto i = static_cast<size_t>(batch.n_tokens++);
    batch.token[i] = token;
    batch.pos[i] = position;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = slot;
    batch.logits[i] = 1;
  }
  llama_batch batch;
};

// Ends a step behind the node of what is given out, as llama.cpp calls it, also where nothing is pooled: it names that node last.
struct TextContext::EarlyEnd {
  bool tried = false, on = false;
  bool ended = false;  // a step has

  static bool Look(ggml_tensor* node, bool ask, void* self) {
    auto& end = *static_cast<EarlyEnd*>(self);
    if (ask) return end.on && std::strcmp(ggml_get_name(node), "result_embd_pooled") == 0;
    end.ended = true;
    return false;  // nothing behind it is computed
  }
};

TextContext::TextContext(LlamaModel& model)
    : model_(model), early_end_(std::make_unique<EarlyEnd>()) {
  EK_CHECK(model.pooling() != Pooling::kNone);
  const bool recurrent =
      llama_model_is_recurrent(model.model()) || llama_model_is_hybrid(model.model());
  slots_ = std::min(recurrent ? kRecurrentSlots : kSlots,
                    static_cast<int>(llama_max_parallel_sequences()));
  batch_ = TokensOfStep(model);
}

TextContext::~TextContext() { Clear(); }

void TextContext::Clear() {
  if (context_ != nullptr) llama_free(context_);
  context_ = nullptr;
  batch_of_step_.reset();
  cells_ = 0;
}

Status TextContext::Resize(int longest) {
  Clear();
  const auto make = [&](int cells, int batch) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(cells);
    params.n_batch = static_cast<uint32_t>(batch);
    params.n_ubatch = static_cast<uint32_t>(batch);
    params.n_seq_max = static_cast<uint32_t>(slots_);
    params.kv_unified = true;
    params.n_threads = model_.threads();
    params.n_threads_batch = model_.threads();
    params.no_perf = true;
    params.embeddings = true;
    params.pooling_type =
        model_.pooling() == Pooling::kRank ? LLAMA_POOLING_TYPE_RANK : LLAMA_POOLING_TYPE_NONE;
    params.cb_eval = &EarlyEnd::Look;
    params.cb_eval_user_data = early_end_.get();
    context_ = llama_init_from_model(model_.model(), params);
  };
  const int beside = longest > kUsualTokens ? longest : 0;
  const auto is_whole = [&] {
    return context_ != nullptr &&
           (llama_get_memory(context_) == nullptr || !llama_get_causal_attn(context_));
  };
  if (!whole_) make(kUsualTokens + beside, batch_);
  // One that takes its texts whole has steps as long as the longest, and no cache to fill with others.
  if (whole_ || is_whole()) {
    whole_ = true;
    Clear();
    cells_ = std::max(longest, kMostBatch);
    base_cells_ = kMostBatch;
    batch_ = kMostBatch;
    make(cells_, cells_);
  }
  if (context_ == nullptr) {
    cells_ = 0;
    return Unavailable("no context for texts of {} tokens could be made; the reason is in the log",
                       longest);
  }
  if (!whole_) {
    cells_ = kUsualTokens + beside;
    base_cells_ = kUsualTokens;
    batch_ = std::min(batch_, static_cast<int>(llama_n_batch(context_)));
  }
  llama_attach_threadpool(context_, model_.thread_pool(), model_.thread_pool());
  batch_of_step_ = std::make_unique<Batch>(whole_ ? cells_ : batch_);
  TryEarlyEnd();
  return Status::Ok();
}

bool TextContext::leaves_logits_out() const { return early_end_->on; }

// A step that left the vectors out as well would show those of the step before.
void TextContext::TryEarlyEnd() {
  if (early_end_->tried || whole_ || model_.pooling() == Pooling::kRank) return;
  early_end_->tried = true;
  const auto vector_of = [this](int32_t token, bool early) {
    early_end_->on = early;
    const Piece piece{0, 0, {&token, 1}};
    if (!Compute({&piece, 1}).ok()) return std::vector<float>();
    const std::span<const float> row = Row(0);
    Forget(0);
    return std::vector<float>(row.begin(), row.end());
  };
  const int32_t first = model_.vocabulary() / 3, second = model_.vocabulary() / 2;
  const std::vector<float> one = vector_of(first, false), other = vector_of(second, false);
  const bool same = !one.empty() && one != other && vector_of(first, true) == one &&
                    vector_of(second, true) == other;
  early_end_->on = same && early_end_->ended;
}

int64_t TextContext::bytes() const {
  if (context_ == nullptr) return 0;
  const bool has_cache = llama_get_memory(context_) != nullptr;
  const int64_t cache = has_cache ? cells_ * model_.cell_bytes() : 0;
  return cache + (whole_ ? cells_ : batch_) * BytesOfRow(model_);
}

int64_t TextContext::MostBytes(const LlamaModel& model) {
  const int64_t longest = model.context_tokens();
  if (model.texts_whole()) return 2 * std::max<int64_t>(longest, kMostBatch) * BytesOfRow(model);
  const int64_t cells = kUsualTokens + (longest > kUsualTokens ? longest : 0);
  return cells * model.cell_bytes() + 2 * TokensOfStep(model) * BytesOfRow(model);
}

Status TextContext::Compute(std::span<const Piece> pieces) {
  EK_CHECK(context_ != nullptr);
  llama_set_n_threads(context_, model_.threads(), model_.threads());  // lent anew for each step
  llama_batch& batch = batch_of_step_->batch;
  batch.n_tokens = 0;
  const auto most = static_cast<size_t>(whole_ ? cells_ : batch_);
  size_t tokens = 0;
  for (const Piece& piece : pieces) {
    tokens += piece.tokens.size();
    EK_CHECK(tokens <= most && piece.slot >= 0 && piece.slot < slots_);
    int position = piece.position;
    for (const int32_t token : piece.tokens) batch_of_step_->Add(token, position++, piece.slot);
  }
  Status status;
  try {
    const bool has_cache = llama_get_memory(context_) != nullptr;
    const int32_t code = has_cache ? llama_decode(context_, batch) : llama_encode(context_, batch);
    if (code == 0) return Status::Ok();
    status = Internal("the engine failed a step of {} tokens of texts with code {}", tokens, code);
  } catch (const std::exception& e) {
    status = Internal("the engine failed a step of texts: {}", e.what());
  }
  for (int slot = 0; slot < slots_; ++slot) Forget(slot);
  return status;
}

std::span<const float> TextContext::Row(int i) const {
  const float* row = llama_get_embeddings_ith(context_, i);
  if (row == nullptr) return {};
  return {row, static_cast<size_t>(model_.vector_size())};
}

Result<float> TextContext::Score(int slot) const {
  const float* row = llama_get_embeddings_seq(context_, slot);
  if (row == nullptr || !std::isfinite(*row)) return Internal("the engine gave no score");
  return model_.scores_are_shares() ? *row : 1 / (1 + std::exp(-*row));
}

void TextContext::Forget(int slot) {
  llama_memory_t memory = llama_get_memory(context_);
  if (memory != nullptr) llama_memory_seq_rm(memory, slot, -1, -1);
}

}  // namespace evenkeel
