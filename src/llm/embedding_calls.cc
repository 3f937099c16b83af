#include "llm/embedding_calls.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr size_t kMostInEngine = 128;             // two steps' worth of short texts
constexpr int64_t kMostTokensInEngine = 2048;     // and of long ones: what a new text waits for
constexpr size_t kPieceBytes = size_t{64} << 10;  // of texts that are tokenised at once
constexpr size_t kMostTexts = 2048;               // of a call
constexpr int64_t kLeastTokensToJudge = 4096;     // computed, before a rate is believed

}  // namespace

struct EmbeddingCalls::Call {
  uint64_t id = 0;
  EmbeddingCall* call = nullptr;
  int limit = 0;         // tokens of a text
  uint64_t prepare = 0;  // of the prompt service, while it is at it
  size_t tokenised = 0;  // texts, in order
  std::deque<Ready> ready;
  std::vector<std::vector<float>> rows;
  std::vector<int> sizes;  // tokens of each text
  size_t left = 0;         // texts without a row

  size_t texts() const { return rows.size(); }
};

EmbeddingCalls::EmbeddingCalls(Parts parts) : parts_(std::move(parts)) {
  deadline_ = parts_.context.loop.MakeAlarm([this] { OnDeadline(); });
}

EmbeddingCalls::~EmbeddingCalls() = default;

uint64_t EmbeddingCalls::Register(const EmbeddingCall* call) {
  const std::lock_guard lock(mutex_);
  ids_.emplace(call, next_id_);
  return next_id_++;
}

uint64_t EmbeddingCalls::IdOf(const EmbeddingCall* call) const {
  const std::lock_guard lock(mutex_);
  const auto at = ids_.find(call);
  return at == ids_.end() ? 0 : at->second;
}

Status EmbeddingCalls::Check(const EmbeddingCall& call, const LlmLoaded& model) const {
  const std::string& name = parts_.options.name;
  if (call.query && model.pooling != Pooling::kRank)
    return InvalidArgument("model '{}' does not rank documents", name);
  if (!call.query && !Embeds(model.pooling))
    return InvalidArgument("model '{}' gives no embeddings", name);
  if (call.texts.empty() == call.tokens.empty())
    return InvalidArgument("expected either texts or token ids, and at least one");
  const size_t texts = std::max(call.texts.size(), call.tokens.size());
  if (texts > kMostTexts)
    return InvalidArgument("expected at most {} texts, got {}", kMostTexts, texts);
  for (const auto& row : call.tokens) {
    for (const int32_t token : row) {
      if (token < 0 || token >= model.vocabulary)
        return InvalidArgument("token {} is not in the vocabulary of {}", token, model.vocabulary);
    }
  }
  return Status::Ok();
}

Status EmbeddingCalls::CheckLoad() const {
  const LlmOptions& options = parts_.options;
  const auto others = static_cast<int>(calls_.size()) - 1;
  if (others >= options.slots + options.max_waiting)
    return Overloaded("model '{}': {} calls for vectors or scores are open, as many as may be",
                      options.name, others);
  const SequenceEngine::View view = parts_.engine.Look();
  const auto computed = static_cast<int64_t>(view.text_tokens);
  if (computed < kLeastTokensToJudge || others == 0) return Status::Ok();
  const double wait_s =
      static_cast<double>(open_tokens_) * Seconds(view.text_busy) / static_cast<double>(computed);
  if (wait_s <= Seconds(options.longest_wait)) return Status::Ok();
  return Overloaded("model '{}': texts of {} tokens come first, which take about {:.0f} s",
                    options.name, open_tokens_, wait_s);
}

void EmbeddingCalls::Begin(uint64_t id, EmbeddingCall* call, const LlmLoaded& model) {
  auto made = std::make_unique<Call>();
  Call& c = *made;
  c.id = id;
  c.call = call;
  c.limit = model.context;
  calls_.emplace(id, std::move(made));
  if (Status status = Check(*call, model); !status.ok()) return Finish(id, status);
  if (Status status = CheckLoad(); !status.ok()) return Finish(id, status);
  c.rows.resize(std::max(call->texts.size(), call->tokens.size()));
  c.sizes.resize(c.texts());
  c.left = c.texts();
  SetDeadline();
  if (call->tokens.empty()) return TokeniseMore(c);
  TakeTokens(c);
}

void EmbeddingCalls::TakeTokens(Call& call) {
  for (; call.tokenised < call.texts(); ++call.tokenised) {
    std::vector<int32_t> tokens = call.call->tokens[call.tokenised];
    const auto size = std::ssize(tokens);
    const auto limit = static_cast<size_t>(call.limit);
    if (tokens.size() > limit) tokens.resize(call.call->truncate ? limit : 0);
    const Status status = TakeRow(call, call.tokenised, std::move(tokens), size);
    if (!status.ok()) return Finish(call.id, status);
  }
  Feed();
}

// One piece at a time: other requests' prompts come between them.
void EmbeddingCalls::TokeniseMore(Call& call) {
  if (call.prepare != 0 || call.tokenised == call.texts()) return;
  if (call.ready.size() >= kMostInEngine) return;  // goes on when they went
  TextsToTokenise piece;
  piece.query = call.call->query;
  piece.limit = call.limit;
  piece.truncate = call.call->truncate;
  size_t bytes = 0;
  for (size_t i = call.tokenised; i < call.texts(); ++i) {
    const std::string& text = call.call->texts[i];
    bytes += text.size() + (piece.query ? piece.query->size() : 0);
    if (!piece.texts.empty() && bytes > kPieceBytes) break;
    piece.texts.push_back(text);
  }
  const size_t first = call.tokenised;
  call.tokenised += piece.texts.size();
  call.prepare =
      parts_.prompts.Tokenise(piece, [this, id = call.id, first](Result<TokenisedTexts> texts) {
        OnTokenised(id, first, std::move(texts));
      });
}

void EmbeddingCalls::OnTokenised(uint64_t id, size_t first, Result<TokenisedTexts> texts) {
  const auto at = calls_.find(id);
  if (at == calls_.end()) return;
  Call& call = *at->second;
  call.prepare = 0;
  if (!texts.ok()) return Finish(id, texts.status());
  if (first + texts->rows.size() != call.tokenised)
    return Finish(id,
                  Internal("{} texts came back as {}", call.tokenised - first, texts->rows.size()));
  for (size_t i = 0; i < texts->rows.size(); ++i) {
    const Status status = TakeRow(call, first + i, std::move(texts->rows[i]), texts->sizes[i]);
    if (!status.ok()) return Finish(id, status);
  }
  TokeniseMore(call);
  Feed();
}

// `tokens` is empty where the text has `size` of them and may not be cut.
Status EmbeddingCalls::TakeRow(Call& call, size_t index, std::vector<int32_t> tokens,
                               int64_t size) {
  const std::string& name = parts_.options.name;
  if (size > call.limit && tokens.empty())
    return TooLarge("text {} has {} tokens, the context of model '{}' is {} tokens", index, size,
                    name, call.limit);
  if (tokens.empty()) return InvalidArgument("text {} has no tokens", index);
  if (tokens.size() > static_cast<size_t>(call.limit))
    return Internal("text {} came back with {} tokens", index, tokens.size());
  call.sizes[index] = static_cast<int>(tokens.size());
  open_tokens_ += std::ssize(tokens);
  if (call.ready.empty()) turns_.push_back(call.id);
  call.ready.push_back({index, std::move(tokens)});
  return Status::Ok();
}

void EmbeddingCalls::Feed() {
  while (in_engine_.size() < kMostInEngine && engine_tokens_ < kMostTokensInEngine &&
         !turns_.empty()) {
    const uint64_t id = turns_.front();
    turns_.pop_front();
    Call& call = *calls_.at(id);
    Ready ready = std::move(call.ready.front());
    call.ready.pop_front();
    if (!call.ready.empty()) turns_.push_back(id);
    TextStart start;
    start.id = parts_.new_id();
    start.tokens = std::move(ready.tokens);
    if (call.call->priority > 0) start.priority = call.call->priority;
    in_engine_[start.id] = {id, ready.index};
    engine_tokens_ += call.sizes[ready.index];
    parts_.engine.Add(std::move(start));
    TokeniseMore(call);
  }
}

void EmbeddingCalls::OnVector(TextEnd end) {
  const auto at = in_engine_.find(end.id);
  if (at == in_engine_.end()) return;
  const auto [id, index] = at->second;
  in_engine_.erase(at);
  Call& call = *calls_.at(id);
  open_tokens_ -= call.sizes[index];
  engine_tokens_ -= call.sizes[index];
  if (!end.status.ok()) {
    call.sizes[index] = 0;
    Finish(id, end.status);
    return Feed();
  }
  call.rows[index] = std::move(end.values);
  if (--call.left == 0) Finish(id, Status::Ok());
  Feed();
}

void EmbeddingCalls::Finish(uint64_t id, const Status& status) {
  const auto at = calls_.find(id);
  if (at == calls_.end()) return;
  const std::unique_ptr<Call> done = std::move(at->second);
  calls_.erase(at);
  if (done->prepare != 0) parts_.prompts.Forget(done->prepare);
  for (const Ready& ready : done->ready) open_tokens_ -= std::ssize(ready.tokens);
  std::erase(turns_, id);
  if (done->left > 0) {
    std::vector<uint64_t> running;
    for (const auto& [text, owner] : in_engine_) {
      if (owner.first == id) running.push_back(text);
    }
    for (const uint64_t text : running) {
      const int size = done->sizes[in_engine_[text].second];
      open_tokens_ -= size;
      engine_tokens_ -= size;
      in_engine_.erase(text);
      parts_.engine.Remove(text);
    }
  }
  SetDeadline();
  int tokens = 0;
  for (const int size : done->sizes) tokens += status.ok() ? size : 0;
  if (!status.ok()) done->rows.clear();
  End(done->call, status, done->rows, tokens);
  if (!status.ok()) Feed();  // others have its places
}

void EmbeddingCalls::Refuse(EmbeddingCall* call, const Status& status) { End(call, status, {}, 0); }

void EmbeddingCalls::End(EmbeddingCall* call, const Status& status,
                         const std::vector<std::vector<float>>& rows, int tokens) {
  {
    const std::lock_guard lock(mutex_);
    ids_.erase(call);
  }
  parts_.on_ended(status);
  call->Done(status, rows, tokens);
}

void EmbeddingCalls::FinishAll(const Status& status) {
  while (!calls_.empty()) Finish(calls_.begin()->first, status);
}

void EmbeddingCalls::SetDeadline() {
  Time next = kNever;
  for (const auto& [id, call] : calls_) next = std::min(next, call->call->deadline);
  deadline_->Set(next);
}

void EmbeddingCalls::OnDeadline() {
  const Time now = parts_.context.clock.Now();
  std::vector<uint64_t> late;
  for (const auto& [id, call] : calls_) {
    if (call->call->deadline <= now) late.push_back(id);
  }
  for (const uint64_t id : late)
    Finish(id, DeadlineExceeded("the deadline passed before all texts were computed"));
  SetDeadline();
}

}  // namespace evenkeel
