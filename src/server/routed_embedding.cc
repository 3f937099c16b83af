#include "server/routed_embedding.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

// Characters of a token, about: which node is least busy does not hang on it.
constexpr size_t kTokenBytes = 4;

bool Refused(const Status& status) {
  return status.code() == Code::kOverloaded || status.code() == Code::kUnavailable ||
         status.code() == Code::kNotFound;
}

}  // namespace

RoutedEmbedding::RoutedEmbedding(ClusterNode& cluster,
                                 std::shared_ptr<const ClusterNode::Known> known,
                                 std::shared_ptr<LanguageModel> own, EmbeddingCall* call,
                                 std::function<void()> answered)
    : cluster_(cluster),
      known_(std::move(known)),
      own_(std::move(own)),
      call_(call),
      answered_(std::move(answered)),
      tried_(cluster.size(), false) {
  // Copies: the call's owner counts its own when the answer comes.
  texts = call->texts;
  tokens = call->tokens;
  query = call->query;
  truncate = call->truncate;
  arrived = call->arrived;
  deadline = call->deadline;
  priority = call->priority;
}

void RoutedEmbedding::Cancel() {
  bool here = false;
  std::shared_ptr<LinkClient::Running> there;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    here = here_;
    there = there_;
  }
  if (here) own_->CancelEmbedding(this);
  if (there) there->Cancel();
}

ReplicaTable::Wanted RoutedEmbedding::Wanted() const {
  ReplicaTable::Wanted wanted;
  wanted.model = known_->info.name;
  wanted.signature = known_->digest;
  wanted.rows = 0;  // nothing is answered token by token
  size_t bytes = query ? query->size() * texts.size() : 0, count = 0;
  for (const std::string& text : texts) bytes += text.size();
  for (const auto& list : tokens) count += list.size();
  wanted.prompt_tokens = static_cast<int64_t>(bytes / kTokenBytes + count);
  return wanted;
}

void RoutedEmbedding::Try(const Status& last) {
  self_ = shared_from_this();
  choice_ = cluster_.Choose(Wanted(), tried_);
  if (choice_.node < 0) {
    const std::shared_ptr<RoutedEmbedding> self = std::move(self_);
    Answer(!last.ok() ? last
                      : Unavailable("model '{}': no node that serves it can be reached",
                                    known_->info.name),
           {}, 0);
    return;
  }
  // Nodes may have come meanwhile.
  if (tried_.size() < cluster_.size()) tried_.resize(cluster_.size(), false);
  tried_[static_cast<size_t>(choice_.node)] = true;
  if (choice_.node == 0) {
    RunHere();
  } else {
    RunThere(choice_.node);
  }
}

void RoutedEmbedding::RunHere() {
  const std::shared_ptr<RoutedEmbedding> self = self_;
  if (!own_) {
    End(Unavailable("model '{}' has just come to this node", known_->info.name), true, {}, 0);
    return;
  }
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    there_.reset();
    here_ = true;
    cancelled = cancelled_;
  }
  if (cancelled) {
    End(Cancelled("the client went away"), false, {}, 0);
    return;
  }
  own_->Embed(this);
  // A Cancel() that came before the model had the call has met nothing there; a second one does no harm.
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_ && here_;
  }
  if (cancelled) own_->CancelEmbedding(this);
}

void RoutedEmbedding::RunThere(int node) {
  const std::shared_ptr<RoutedEmbedding> self = self_;
  uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    here_ = false;
    there_.reset();
    attempt = attempt_;
  }
  auto running = cluster_.link(node).Embed(
      *this, known_->info.name, cluster_.clock().Now(),
      [self, node](const EmbeddingAnswer& answer, bool link_failed) {
        if (link_failed) self->cluster_.OnLinkFailure(node);
        const size_t inputs = std::max(self->texts.size(), self->tokens.size());
        if (answer.status.ok() && answer.rows.size() != inputs)
          return self->End(Internal("node '{}' answered with {} rows for {} texts",
                                    self->cluster_.NameOf(node), answer.rows.size(), inputs),
                           true, {}, 0);
        self->End(answer.status, link_failed || Refused(answer.status), answer.rows,
                  answer.prompt_tokens);
      });
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    // It may have ended, and another attempt begun, before this: then that one's stays.
    if (attempt_ == attempt) there_ = running;
    cancelled = cancelled_;
  }
  if (cancelled) running->Cancel();
}

void RoutedEmbedding::Done(const Status& status, const std::vector<std::vector<float>>& rows,
                           int prompt_tokens) {
  End(status, status.code() == Code::kOverloaded || status.code() == Code::kUnavailable, rows,
      prompt_tokens);
}

bool RoutedEmbedding::MayTryAgain() const {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return false;
  }
  if (deadline != kNever && cluster_.clock().Now() >= deadline) return false;
  if (std::ranges::count(tried_, false) == 0) return false;
  return cluster_.TakeRetry();
}

void RoutedEmbedding::End(const Status& status, bool again,
                          const std::vector<std::vector<float>>& rows, int prompt_tokens) {
  cluster_.Ended(choice_);
  {
    const std::lock_guard lock(mutex_);
    ++attempt_;
    here_ = false;
    there_.reset();
  }
  const std::shared_ptr<RoutedEmbedding> self = std::move(self_);
  if (!status.ok() && again && MayTryAgain()) {
    Try(status);
    return;
  }
  Answer(status, rows, prompt_tokens);
}

void RoutedEmbedding::Answer(const Status& status, const std::vector<std::vector<float>>& rows,
                             int prompt_tokens) {
  answered_();
  call_->Done(status, rows, prompt_tokens);
}

}  // namespace evenkeel
