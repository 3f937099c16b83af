// What a language model has computed of an answer, given to another server, and taken from one (B8).
#include <sys/stat.h>

#include <algorithm>
#include <random>
#include <utility>

#include "core/format.h"
#include "llm/llm_call.h"

namespace evenkeel {
namespace {

// Nobody guesses the name of an answer that was not offered to him.
uint64_t RandomName() {
  static thread_local std::random_device device;
  const uint64_t name = (uint64_t{device()} << 32) | device();
  return name != 0 ? name : 1;
}

}  // namespace

bool LlmModel::FileUnchanged() const {
  struct stat info {};
  return ::stat(options_.path.c_str(), &info) == 0 && int64_t{info.st_mtime} == created_s_;
}

double LlmModel::prompt_token_s() const { return Look().tuning.choice.prompt_token_s; }

std::string LlmModel::state_kind() const {
  const std::lock_guard lock(mutex_);
  return loaded_.state_kind;
}

// Of several choices only one would be sent, and the others computed from their tokens all the same.
MoveOffer LlmModel::OfferOf(Call& call) const {
  MoveOffer offer;
  int64_t cell_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (loaded_.state_kind.empty()) return offer;
    cell_bytes = loaded_.cell_bytes;
  }
  if (call.choices.size() != 1 || call.open != 1) return offer;
  if (call.offered == 0) call.offered = RandomName();
  offer.answer = call.offered;
  offer.tokens = call.usage.prompt_tokens + call.told();
  offer.state_bytes = offer.tokens * cell_bytes;
  return offer;
}

void LlmModel::ReadState(uint64_t answer, StateTransfers::Done done) {
  context_.loop.Post([self = shared_from_this(), answer, done = std::move(done)]() mutable {
    const auto at = std::ranges::find_if(self->calls_, [&](const auto& one) {
      return answer != 0 && one.second->offered == answer;
    });
    if (at == self->calls_.end() || at->second->open != 1)
      return done(NotFound("model '{}': the answer whose state is asked for is not here",
                           self->options_.name));
    Call& call = *at->second;
    const MoveOffer offer = self->OfferOf(call);
    self->engine_.SaveState(call.choices.front().sequence, offer.state_bytes, std::move(done));
  });
}

Status LlmModel::CheckState(const SequenceState& state) const {
  const std::lock_guard lock(mutex_);
  if (loaded_.state_kind.empty() || state.kind != loaded_.state_kind)
    return Conflict("model '{}': expected a state of '{}', got one of '{}'", options_.name,
                    loaded_.state_kind, state.kind);
  if (state.bytes.empty() || state.bytes.size() > kMostStateBytes)
    return InvalidArgument("model '{}': a state of {} bytes; expected 1 to {}", options_.name,
                           state.bytes.size(), kMostStateBytes);
  if (state.tokens.empty() || state.tokens.size() >= static_cast<size_t>(loaded_.context))
    return InvalidArgument("model '{}': a state of {} tokens, the context is {}", options_.name,
                           state.tokens.size(), loaded_.context);
  const auto is_token = [&](int32_t token) { return token >= 0 && token < loaded_.vocabulary; };
  if (!std::ranges::all_of(state.tokens, is_token))
    return InvalidArgument("model '{}': a token of a state is not in the vocabulary of {}",
                           options_.name, loaded_.vocabulary);
  return Status::Ok();
}

void LlmModel::RestoreState(SequenceState state, std::function<void(Status)> done) {
  // Shared: a task must be copyable, and is not to copy all that.
  auto held = std::make_shared<SequenceState>(std::move(state));
  context_.loop.Post([self = shared_from_this(), held, done = std::move(done)] {
    Status may = self->CheckState(*held);
    if (self->stopping_) may = Unavailable("model '{}' is being unloaded", self->options_.name);
    if (!may.ok()) return done(may);
    // An answer is about to come: what nobody asked for goes.
    self->tuner_.OnTexts();
    self->engine_.LoadState(std::move(*held),
                            [done](const Result<SequenceState>& loaded) { done(loaded.status()); });
  });
}

}  // namespace evenkeel
