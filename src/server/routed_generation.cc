#include "server/routed_generation.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

// Of an answer whose length nobody has limited.
constexpr int kAnswerTokens = 128;
// Characters of a token, about: which node is least busy does not hang on it.
constexpr size_t kTokenBytes = 4;

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
  if (own_) {
    own_->Embed(call);
    return;
  }
  call->Done(Unavailable("model '{}': vectors and scores are made by nodes that hold it; ask one of "
                         "those",
                         known_->info.name),
             {}, 0);
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

void RoutedGeneration::Try(const Status& last) {
  self_ = shared_from_this();
  ReplicaTable::Wanted wanted;
  wanted.model = model_->known_->info.name;
  wanted.signature = model_->known_->digest;
  wanted.rows =
      static_cast<int64_t>(request.max_tokens > 0 ? request.max_tokens : kAnswerTokens) *
      request.choices;
  wanted.prompt_tokens = static_cast<int64_t>(
      request.tokens.size() + (request.chat.size() + request.prompt.size()) / kTokenBytes);
  choice_ = cluster_.Choose(wanted, tried_);
  if (choice_.node < 0) {
    Answer(!last.ok() ? last
                      : Unavailable("model '{}': no node that serves it can be reached",
                                    wanted.model),
           {});
    return;
  }
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
  if (!started_) call_->OnStart(prompt_tokens);
  started_ = true;
}

void RoutedGeneration::OnDelta(const GenerationDelta& delta) {
  if (!told_.valid(delta.choice)) return;
  if (const auto fresh = told_.OnDelta(delta)) call_->OnDelta(*fresh);
}

void RoutedGeneration::OnFinish(int choice, FinishReason reason) {
  if (!told_.valid(choice)) return;
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
  if (told_.tokens() > told_before_) {
    // It came further there: those that failed before may be back.
    tried_.assign(tried_.size(), false);
    tried_[static_cast<size_t>(choice_.node)] = true;
  }
  if (std::ranges::count(tried_, false) == 0) return false;
  return told_.begun() || cluster_.TakeRetry();
}

void RoutedGeneration::End(const Status& status, bool again, const GenerationUsage& usage) {
  const std::shared_ptr<RoutedGeneration> self = std::move(self_);
  cluster_.Ended(choice_);
  {
    const std::lock_guard lock(mutex_);
    ++attempt_;
    here_ = false;
  }
  if (!status.ok() && again && told_.begun() && told_.all_ended()) {
    // Only its last word was lost.
    GenerationUsage known = usage;
    known.completion_tokens = static_cast<int>(told_.tokens());
    Answer(Status::Ok(), known);
    return;
  }
  if (!status.ok() && again && MayTryAgain()) {
    scheduler_state = nullptr;
    if (told_.begun()) request.begun = told_.Resume();
    told_before_ = told_.tokens();
    Try(status);
    return;
  }
  GenerationUsage whole = usage;
  whole.completion_tokens += static_cast<int>(told_.ended_tokens());
  Answer(status, whole);
}

void RoutedGeneration::Answer(const Status& status, const GenerationUsage& usage) {
  const std::shared_ptr<RoutedGeneration> self = shared_from_this();
  self_.reset();
  model_->open_.Remove(call_);
  call_->Done(status, usage);
}

}  // namespace evenkeel
