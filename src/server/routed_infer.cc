#include "server/routed_infer.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

int64_t RowsOf(const InferCall& call, const Signature& signature) {
  if (!signature.batched || call.inputs.empty() || call.inputs.front().shape.rank() == 0) return 1;
  return std::max<int64_t>(1, call.inputs.front().shape[0]);
}

// Front ends count on it: an answer of a batched model has as many rows as were asked.
bool HasRows(std::span<const TensorView> outputs, int64_t rows) {
  return std::ranges::all_of(outputs, [rows](const TensorView& view) {
    return view.shape.rank() > 0 && view.shape[0] == rows;
  });
}

}  // namespace

RoutedModel::RoutedModel(ClusterNode& cluster, std::string name,
                         std::shared_ptr<const ClusterNode::Known> known,
                         std::shared_ptr<ServedModel> own)
    : cluster_(cluster), name_(std::move(name)), known_(std::move(known)), own_(std::move(own)) {}

RoutedModel::~RoutedModel() = default;

void RoutedModel::Infer(InferCall* call) {
  // Another node's answer is read with the signature that the caller sees, which lives as long as its model does.
  auto signature =
      own_ ? std::shared_ptr<const Signature>(own_, &own_->signature()) : known_->signature;
  auto routed =
      std::make_shared<RoutedInfer>(cluster_, name_, known_, own_, std::move(signature), call);
  {
    const std::lock_guard lock(mutex_);
    routed_ = routed;
  }
  // `this` may be gone when it returns.
  routed->Start();
}

void RoutedModel::Cancel(InferCall* /*call*/) {
  std::shared_ptr<RoutedInfer> routed;
  {
    const std::lock_guard lock(mutex_);
    routed = routed_;
  }
  if (routed) routed->Cancel();
}

RoutedInfer::RoutedInfer(ClusterNode& cluster, std::string model,
                         std::shared_ptr<const ClusterNode::Known> known,
                         std::shared_ptr<ServedModel> own,
                         std::shared_ptr<const Signature> signature, InferCall* call)
    : cluster_(cluster),
      model_(std::move(model)),
      known_(std::move(known)),
      own_(std::move(own)),
      signature_(std::move(signature)),
      call_(call),
      tried_(cluster.size(), false) {
  inputs = call->inputs;
  arrived = call->arrived;
  deadline = call->deadline;
  priority = call->priority;
  movable = true;
}

void RoutedInfer::Cancel() {
  std::shared_ptr<ServedModel> here;
  std::shared_ptr<LinkClient::Running> there;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    here = here_;
    there = there_;
  }
  if (here) here->Cancel(this);
  if (there) there->Cancel();
}

void RoutedInfer::Try(const Status& last) {
  self_ = shared_from_this();
  const ReplicaTable::Wanted wanted{.model = model_,
                                    .version = known_->asked,
                                    .signature = known_->digest,
                                    .rows = RowsOf(*this, *signature_),
                                    .graph = known_->graph};
  choice_ = cluster_.Choose(wanted, tried_);
  if (choice_.node < 0 && given_back_by_ >= 0) {
    tried_[static_cast<size_t>(std::exchange(given_back_by_, -1))] = false;
    choice_ = cluster_.Choose(wanted, tried_);
  }
  if (choice_.node < 0) {
    const Status none =
        !last.ok() ? last
                   : Unavailable("model '{}': no node that serves it can be reached", model_);
    // Nothing is booked, so nothing is to be ended.
    const std::shared_ptr<RoutedInfer> self = std::move(self_);
    call_->Done(none, {}, {});
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

void RoutedInfer::RunHere() {
  const std::shared_ptr<RoutedInfer> self = self_;
  // The lease is good for one call; later attempts find another.
  std::shared_ptr<ServedModel> model = std::move(own_);
  if (!model) {
    auto found = cluster_.registry().FindForCall(model_, choice_.version);
    if (!found.ok()) {
      End(found.status(), true, {}, {});
      return;
    }
    model = std::move(*found);
    if (model->calls_others() != known_->graph) {
      End(NotFound("'{}' is another kind of model here now", model_), true, {}, {});
      return;
    }
  }
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    here_ = model;
    there_.reset();
    cancelled = cancelled_;
  }
  if (cancelled) {
    End(Cancelled("the client went away"), false, {}, {});
    return;
  }
  model->Infer(this);
  // A Cancel() that came before the model had the call has met nothing there; a second one does no harm.
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_ && here_ == model;
  }
  if (cancelled) model->Cancel(this);
}

void RoutedInfer::RunThere(int node) {
  const std::shared_ptr<RoutedInfer> self = self_;
  uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    here_.reset();
    there_.reset();
    attempt = attempt_;
  }
  auto running = cluster_.link(node).Infer(
      *this, {model_, choice_.version, known_->graph}, signature_, cluster_.clock().Now(),
      [self, node](const LinkClient::InferEnd& end, std::span<const TensorView> outputs) {
        if (end.given_back) return self->GivenBack();
        if (end.link_failed) self->cluster_.OnLinkFailure(node);
        const bool refused = end.status.code() == Code::kOverloaded ||
                             end.status.code() == Code::kUnavailable ||
                             end.status.code() == Code::kNotFound;
        if (end.status.ok() && self->signature_->batched &&
            !HasRows(outputs, RowsOf(*self, *self->signature_)))
          return self->End(Internal("node '{}' answered with another number of rows",
                                    self->cluster_.NameOf(node)),
                           true, {}, {});
        self->End(end.status, end.link_failed || (refused && !self->known_->graph), outputs,
                  end.timings);
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

void RoutedInfer::Done(const Status& status, std::span<const TensorView> outputs,
                       const Timings& timings) {
  End(status, status.code() == Code::kOverloaded || status.code() == Code::kUnavailable, outputs,
      timings);
}

bool RoutedInfer::MayTryAgain() const {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return false;
  }
  if (deadline != kNever && cluster_.clock().Now() >= deadline) return false;
  if (std::ranges::count(tried_, false) == 0 && given_back_by_ < 0) return false;
  return cluster_.TakeRetry();
}

std::shared_ptr<RoutedInfer> RoutedInfer::EndAttempt() {
  cluster_.Ended(choice_);
  std::shared_ptr<ServedModel> here;  // let go of without the mutex
  std::shared_ptr<LinkClient::Running> there;
  {
    const std::lock_guard lock(mutex_);
    ++attempt_;
    here = std::move(here_);
    there = std::move(there_);
  }
  return std::move(self_);
}

void RoutedInfer::GivenBack() {
  // Once is enough: a node that does it again would send the call round for ever.
  if (!movable) {
    End(Unavailable("model '{}': a node gave the call back again", model_), true, {}, {});
    return;
  }
  const std::shared_ptr<RoutedInfer> self = EndAttempt();
  movable = false;
  given_back_by_ = choice_.node;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_;
  }
  if (cancelled) {
    call_->Done(Cancelled("the client went away"), {}, {});
    return;
  }
  Try(Status());
}

void RoutedInfer::End(const Status& status, bool again, std::span<const TensorView> outputs,
                      const Timings& timings) {
  const std::shared_ptr<RoutedInfer> self = EndAttempt();
  if (!status.ok() && again && MayTryAgain()) {
    Try(status);
    return;
  }
  call_->Done(status, outputs, timings);
}

}  // namespace evenkeel
