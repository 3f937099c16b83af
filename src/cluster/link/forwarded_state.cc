#include "cluster/link/forwarded_state.h"

#include <utility>

namespace evenkeel {

ForwardedState::ForwardedState(NodeHost& host, const node::v1::ReadStateRequest& message) {
  auto request = ReadStateRequest(message);
  if (!request.ok()) {
    OnState(request.status());
    return;
  }
  host.ReadState(*std::move(request),
                 [this](Result<BoundState> state) { OnState(std::move(state)); });
}

void ForwardedState::OnState(Result<BoundState> state) {
  writer_.emplace(std::move(state));
  Write();
}

void ForwardedState::Write() {
  last_ = !writer_->Next(&event_);
  StartWrite(&event_);
}

// A caller that is gone has its state forgotten with this.
void ForwardedState::OnWriteDone(bool ok) {
  if (!ok) return Finish(grpc::Status::CANCELLED);
  if (last_) return Finish(grpc::Status::OK);
  Write();
}

}  // namespace evenkeel
