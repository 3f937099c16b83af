#include "server/routed_generation.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

// Tokens of an answer whose length nobody has limited: as many as answers have on the average.
constexpr int kNoLimit = 1 << 20;
// Characters of a token, about: which node is least busy does not hang on it.
constexpr size_t kTokenBytes = 4;
// Of another node's fetching a state. It gives up by itself before, unless it is lost.
constexpr Duration kStateTimeout = std::chrono::minutes(2);

}  // namespace

void RoutedLanguage::Generate(GenerationCall* call) {
  auto routed = std::make_shared<RoutedGeneration>(shared_from_this(), call);
  open_.Add(call, routed);
  routed->Start();
}

void RoutedLanguage::Cancel(GenerationCall* call) {
  if (const auto routed = open_.Find(call)) routed->Cancel();
}

void RoutedLanguage::Embed(EmbeddingCall* call) {
  auto routed = std::make_shared<RoutedEmbedding>(
      cluster_, known_, own_, call,
      [self = shared_from_this(), call] { self->open_embeddings_.Remove(call); });
  open_embeddings_.Add(call, routed);
  routed->Start();
}

void RoutedLanguage::CancelEmbedding(EmbeddingCall* call) {
  if (const auto routed = open_embeddings_.Find(call)) routed->Cancel();
}

RoutedGeneration::RoutedGeneration(std::shared_ptr<RoutedLanguage> model, GenerationCall* call)
    : model_(std::move(model)),
      cluster_(model_->cluster_),
      call_(call),
      tried_(cluster_.size(), false),
      told_(std::max(1, call->request.choices)) {
  request = call->request;
  request.tell_tokens = true;
  arrived = call->arrived;
  deadline = call->deadline;
  priority = call->priority;
  movable = true;
}

void RoutedGeneration::Cancel() {
  bool here = false;
  std::shared_ptr<LinkClient::Running> there;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    here = here_;
    there = there_;
  }
  if (here) model_->own_->Cancel(this);
  if (there) there->Cancel();
}

ReplicaTable::Wanted RoutedGeneration::Wanted() const {
  ReplicaTable::Wanted wanted;
  wanted.model = model_->known_->info.name;
  wanted.signature = model_->known_->digest;
  wanted.rows = static_cast<int64_t>(request.max_tokens > 0 ? request.max_tokens : kNoLimit) *
                request.choices;
  wanted.choices = request.choices;
  wanted.prompt_tokens = static_cast<int64_t>(
      request.tokens.size() + (request.chat.size() + request.prompt.size()) / kTokenBytes);
  return wanted;
}

void RoutedGeneration::Try(const Status& last) {
  self_ = shared_from_this();
  const ReplicaTable::Wanted wanted = Wanted();
  choice_ = cluster_.Choose(wanted, tried_);
  if (choice_.node < 0 && std::exchange(moved_, false)) {
    // The one that was ready for it is lost: any other will do.
    tried_.assign(tried_.size(), false);
    choice_ = cluster_.Choose(wanted, tried_);
  }
  if (choice_.node < 0 && given_back_by_ >= 0) {
    tried_[static_cast<size_t>(std::exchange(given_back_by_, -1))] = false;
    choice_ = cluster_.Choose(wanted, tried_);
  }
  if (choice_.node < 0) {
    Answer(!last.ok()
               ? last
               : Unavailable("model '{}': no node that serves it can be reached", wanted.model),
           {});
    return;
  }
  // Nodes may have come meanwhile.
  if (tried_.size() < cluster_.size()) tried_.resize(cluster_.size(), false);
  tried_[static_cast<size_t>(choice_.node)] = true;
  const int node = choice_.node;
  bool cancelled = false;
  uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    there_.reset();
    here_ = node == 0 && model_->own_;
    attempt = attempt_;
    cancelled = cancelled_;
  }
  if (cancelled) {
    End(Cancelled("the client went away"), false, {});
    return;
  }
  if (node == 0) {
    if (model_->own_) {
      model_->own_->Generate(this);
      // A Cancel() that came before the model had the call has met nothing there; a second one does no harm.
      {
        const std::lock_guard lock(mutex_);
        cancelled = cancelled_ && attempt_ == attempt;
      }
      if (cancelled) model_->own_->Cancel(this);
    } else {
      End(Unavailable("model '{}' has just come to this node", wanted.model), true, {});
    }
    return;
  }
  auto running = cluster_.link(node).Generate(*this, wanted.model, cluster_.clock().Now(), self_);
  {
    const std::lock_guard lock(mutex_);
    if (attempt_ == attempt) there_ = running;
    cancelled = cancelled_;
  }
  if (cancelled) running->Cancel();
}

void RoutedGeneration::OnStart(int prompt_tokens) {
  prompt_tokens_ = std::max(0, prompt_tokens);
  if (!started_) call_->OnStart(prompt_tokens_);
  started_ = true;
}

void RoutedGeneration::OnDelta(const GenerationDelta& delta) {
  // Another version's mistakes are not the client's: nothing follows a choice's end.
  if (!told_.valid(delta.choice) || told_.ended(delta.choice)) return;
  if (const auto fresh = told_.OnDelta(delta)) call_->OnDelta(*fresh);
}

void RoutedGeneration::OnFinish(int choice, FinishReason reason) {
  if (!told_.valid(choice) || told_.ended(choice)) return;
  told_.OnFinish(choice);
  call_->OnFinish(choice, reason);
}

void RoutedGeneration::Done(const Status& status, const GenerationUsage& usage) {
  End(status, status.code() == Code::kOverloaded || status.code() == Code::kUnavailable, usage);
}

void RoutedGeneration::OnEnd(const Status& status, bool link_failed, const GenerationUsage& usage) {
  if (link_failed) cluster_.OnLinkFailure(choice_.node);
  const bool refused = status.code() == Code::kOverloaded || status.code() == Code::kUnavailable ||
                       status.code() == Code::kNotFound;
  End(status, link_failed || refused, usage);
}

bool RoutedGeneration::MayTryAgain() {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return false;
  }
  if (deadline != kNever && cluster_.clock().Now() >= deadline) return false;
  if (const bool moved = std::exchange(moved_, false); moved || told_.tokens() > told_before_) {
    // It came further there, or was moved there from where it ran well: others were not tried, or may be back.
    tried_.assign(tried_.size(), false);
    tried_[static_cast<size_t>(choice_.node)] = true;
  }
  if (std::ranges::count(tried_, false) == 0 && given_back_by_ < 0) return false;
  return told_.begun() || cluster_.TakeRetry();
}

std::shared_ptr<RoutedGeneration> RoutedGeneration::EndAttempt() {
  cluster_.Ended(choice_);
  {
    const std::lock_guard lock(mutex_);
    ++attempt_;
    here_ = false;
    there_.reset();
  }
  return std::move(self_);
}

void RoutedGeneration::TryAgain(const Status& last) {
  // In any case: what was told without tokens, by another version, is not told again either.
  std::vector<BegunChoice> begun = told_.Resume();
  if (told_.begun()) request.begun = std::move(begun);
  told_before_ = told_.tokens();
  Try(last);
}

void RoutedGeneration::End(const Status& status, bool again, const GenerationUsage& usage) {
  const std::shared_ptr<RoutedGeneration> self = EndAttempt();
  int moving_to = -1;
  {
    const std::lock_guard lock(mutex_);
    moving_to = std::exchange(moving_to_, -1);
    if (cancelled_) moving_to = -1;
  }
  if (!status.ok() && (again || moving_to >= 0) && told_.begun() && told_.all_ended()) {
    // Only its last word was lost.
    GenerationUsage known = usage;
    known.completion_tokens = static_cast<int>(told_.tokens());
    known.prompt_tokens = std::max(known.prompt_tokens, prompt_tokens_);
    Answer(Status::Ok(), known);
    return;
  }
  if (!status.ok() && moving_to >= 0) {
    // There, and if that node is lost meanwhile or refuses it, wherever else it can go on.
    tried_.assign(cluster_.size(), true);  // it may have come after this attempt began
    tried_[static_cast<size_t>(moving_to)] = false;
    moved_ = true;
    TryAgain(Status());
    return;
  }
  if (!status.ok() && again && MayTryAgain()) {
    TryAgain(status);
    return;
  }
  GenerationUsage whole = usage;
  whole.completion_tokens += static_cast<int>(told_.ended_tokens());
  Answer(status, whole);
}

void RoutedGeneration::GivenBack() {
  // Once is enough: a node that does it again would send the call round for ever.
  if (!movable) {
    End(Unavailable("model '{}': a node gave the call back again", model_->known_->info.name), true,
        {});
    return;
  }
  const std::shared_ptr<RoutedGeneration> self = EndAttempt();
  movable = false;  // once is enough
  given_back_by_ = choice_.node;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_;
  }
  if (cancelled) {
    Answer(Cancelled("the client went away"), {});
    return;
  }
  TryAgain(Status());
}

// Another node is made ready for the answer: it fetches what is computed of it, or is given the same prompt and the tokens so far, and what it computes for them is
// still there when the answer itself comes.
class RoutedGeneration::WarmUp final : public GenerationCall, public LinkClient::GenerationSink {
 public:
  WarmUp(std::shared_ptr<RoutedGeneration> of, const ReplicaTable::Choice& choice)
      : of_(std::move(of)), choice_(choice) {}
  void OnStart(int /*prompt_tokens*/) override {}
  void OnDelta(const GenerationDelta& /*delta*/) override {}
  void OnFinish(int /*choice*/, FinishReason /*reason*/) override {}
  void Done(const Status& status, const GenerationUsage& /*usage*/) override {
    const std::shared_ptr<WarmUp> self = std::move(self_);
    of_->Warmed(choice_, attempt, status.ok());
  }
  void OnMoveAsked(const MoveOffer& /*offer*/) override {}
  void OnEnd(const Status& status, bool /*link_failed*/, const GenerationUsage& usage) override {
    Done(status, usage);
  }
  void OnGivenBack() override { Done(Status(Code::kUnavailable, "given back"), {}); }

  // By its state, which `from` has.
  void Fetch(std::shared_ptr<WarmUp> self, const std::string& from, const MoveOffer& offer) {
    StateOrder order;
    order.model = of_->model_->known_->info.name;
    order.from = from;
    order.answer = offer.answer;
    order.bytes = offer.state_bytes;
    order.tokens = offer.tokens;
    const auto fetched = [self](const Result<StateTaken>& taken) {
      if (taken.ok() && taken->taken) return self->of_->Warmed(self->choice_, self->attempt, true);
      self->Compute(self);
    };
    if (choice_.node == 0) {
      of_->cluster_.states().Take(order, fetched);
    } else {
      of_->cluster_.link(choice_.node).TakeState(order, kStateTimeout, fetched);
    }
  }
  // By its tokens, as far as they were when it was asked.
  void Compute(std::shared_ptr<WarmUp> self) {
    // Fetching may have taken a while.
    if (!of_->Runs(attempt)) return of_->Warmed(choice_, attempt, false);
    arrived = of_->cluster_.clock().Now();
    self_ = self;
    if (choice_.node == 0) {
      of_->model_->own_->Generate(this);
    } else {
      of_->cluster_.link(choice_.node)
          .Generate(*this, of_->model_->known_->info.name, arrived, std::move(self));
    }
  }

  uint64_t attempt = 0;

 private:
  const std::shared_ptr<RoutedGeneration> of_;
  const ReplicaTable::Choice choice_;
  std::shared_ptr<WarmUp> self_;  // until it ended
};

void RoutedGeneration::MoveAsked(const MoveOffer& offer) {
  const auto begun = told_.Snapshot();
  int64_t longest = 0;
  for (const BegunChoice& one : begun)
    longest = std::max(longest, static_cast<int64_t>(one.tokens.size()));
  // Nearly through: it is not worth it.
  constexpr int64_t kWorthIt = 16;
  if (longest == 0 || told_.all_ended() ||
      (request.max_tokens > 0 && request.max_tokens - longest < kWorthIt))
    return;
  std::vector<bool> not_here(tried_.size(), false);
  not_here[static_cast<size_t>(choice_.node)] = true;
  const std::string from = cluster_.NameOf(choice_.node);
  uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_ || warming_ || moving_to_ >= 0) return;
    warming_ = true;
    attempt = attempt_;
  }
  const ReplicaTable::Wanted wanted = Wanted();
  const ReplicaTable::Choice to = cluster_.Choose(wanted, not_here);
  if (to.node < 0 || (to.node == 0 && !model_->own_)) {
    if (to.node >= 0) cluster_.Ended(to);
    const std::lock_guard lock(mutex_);
    warming_ = false;
    return;
  }
  cluster_.MoveBegins();
  auto warm = std::make_shared<WarmUp>(shared_from_this(), to);
  warm->attempt = attempt;
  warm->request = request;
  warm->request.begun = begun;
  warm->request.max_tokens = static_cast<int>(longest) + 1;
  warm->request.tell_tokens = false;
  warm->deadline = deadline;
  warm->priority = priority;
  if (offer.answer != 0 && request.choices == 1) return warm->Fetch(warm, from, offer);
  warm->Compute(warm);
}

bool RoutedGeneration::Runs(uint64_t attempt) const {
  const std::lock_guard lock(mutex_);
  return !cancelled_ && attempt_ == attempt;
}

void RoutedGeneration::Warmed(const ReplicaTable::Choice& choice, uint64_t attempt, bool well) {
  cluster_.Ended(choice);
  cluster_.MoveEnded();
  bool here = false;
  std::shared_ptr<LinkClient::Running> there;
  {
    const std::lock_guard lock(mutex_);
    warming_ = false;
    if (!well || cancelled_ || attempt_ != attempt) return;
    moving_to_ = choice.node;
    here = here_;
    there = there_;
  }
  // Its end goes on there.
  if (here) model_->own_->Cancel(this);
  if (there) there->Cancel();
}

void RoutedGeneration::Answer(const Status& status, const GenerationUsage& usage) {
  const std::shared_ptr<RoutedGeneration> self = shared_from_this();
  self_.reset();
  model_->open_.Remove(call_);
  call_->Done(status, usage);
}

}  // namespace evenkeel
