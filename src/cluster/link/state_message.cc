#include "cluster/link/state_message.h"

#include <algorithm>
#include <utility>

#include "cluster/link/infer_message.h"
#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.pb.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

constexpr size_t kLongestWhy = 1000;

}  // namespace

void WriteStateRequest(const StateRequest& request, node::v1::ReadStateRequest* message) {
  message->set_model(request.model);
  message->set_answer(request.answer);
  message->set_binding(request.binding);
}

Result<StateRequest> ReadStateRequest(const node::v1::ReadStateRequest& message) {
  if (!IsModelName(message.model()))
    return InvalidArgument("{} is not a model's name", Excerpt(message.model()));
  if (message.answer() == 0) return InvalidArgument("a state is asked for without its answer");
  if (message.binding().empty() || message.binding().size() > kLongestBinding)
    return InvalidArgument("a state's binding of {} bytes; expected 1 to {}",
                           message.binding().size(), kLongestBinding);
  return StateRequest{message.model(), message.answer(), message.binding()};
}

void WriteStateOrder(const StateOrder& order, node::v1::TakeStateRequest* message) {
  message->set_model(order.model);
  message->set_from(order.from);
  message->set_answer(order.answer);
  message->set_bytes(order.bytes);
  message->set_tokens(order.tokens);
}

Result<StateOrder> ReadStateOrder(const node::v1::TakeStateRequest& message) {
  if (!IsModelName(message.model()))
    return InvalidArgument("{} is not a model's name", Excerpt(message.model()));
  EK_RETURN_IF_ERROR(pki::CheckNodeName(message.from()));
  if (message.answer() == 0) return InvalidArgument("a state is to be taken without its answer");
  // Of more bytes than can be sent it is weighed as it was told, and refused when it comes.
  if (message.bytes() < 0 || message.tokens() < 0 ||
      message.tokens() > static_cast<int64_t>(kMostStateTokens))
    return InvalidArgument("a state of {} bytes and {} tokens", message.bytes(), message.tokens());
  return StateOrder{message.model(), message.from(), message.answer(), message.bytes(),
                    message.tokens()};
}

void WriteStateTaken(const Result<StateTaken>& taken, node::v1::TakeStateResponse* message) {
  WriteOutcome(taken.status(), message->mutable_outcome());
  if (!taken.ok()) return;
  message->set_taken(taken->taken);
  message->set_why(taken->why);
  message->set_bytes(taken->bytes);
}

Result<StateTaken> ReadStateTaken(const node::v1::TakeStateResponse& message) {
  EK_RETURN_IF_ERROR(ReadOutcome(message.outcome()));
  return StateTaken{message.taken(), message.why().size() <= kLongestWhy ? message.why() : "",
                    std::max<int64_t>(0, message.bytes())};
}

bool StateWriter::Next(node::v1::StateEvent* event) {
  event->Clear();
  if (!state_.ok()) {
    WriteOutcome(state_.status(), event->mutable_done()->mutable_outcome());
    return false;
  }
  const SequenceState& state = state_->state;
  if (!std::exchange(begun_, true)) {
    auto* const header = event->mutable_header();
    header->set_binding(state_->binding);
    header->set_kind(state.kind);
    header->set_bytes(state.bytes.size());
    header->mutable_tokens()->Add(state.tokens.begin(), state.tokens.end());
    return true;
  }
  if (sent_ < state.bytes.size()) {
    const size_t size = std::min(kStateEventBytes, state.bytes.size() - sent_);
    event->set_piece(state.bytes.data() + sent_, size);
    digest_.Add(event->piece());
    sent_ += size;
    return true;
  }
  event->mutable_done()->set_sha256(digest_.Hex());
  return false;
}

Status StateReader::AddHeader(const node::v1::StateEvent& event) {
  const node::v1::StateHeader& header = event.header();
  if (bytes_ > 0) return Internal("the other node's state: a second header");
  if (header.binding() != binding_)
    return Conflict("the other node's state is of {}, expected {}",
                    Excerpt(header.binding(), kLongestBinding), binding_);
  if (header.bytes() < 1 || header.bytes() > kMostStateBytes)
    return Internal("the other node's state: expected 1 to {} bytes, got {}", kMostStateBytes,
                    header.bytes());
  const auto tokens = static_cast<size_t>(header.tokens_size());
  if (tokens < 1 || tokens > kMostStateTokens || header.kind().size() > kLongestStateKind)
    return Internal("the other node's state: of {} tokens, and a kind of {} bytes", tokens,
                    header.kind().size());
  bytes_ = header.bytes();
  state_.kind = header.kind();
  state_.tokens.assign(header.tokens().begin(), header.tokens().end());
  return Status::Ok();
}

Status StateReader::AddPiece(const std::string& piece) {
  if (bytes_ == 0) return Internal("the other node's state: a piece before the header");
  if (piece.empty() || piece.size() > kStateEventBytes ||
      piece.size() > bytes_ - state_.bytes.size())
    return Internal("the other node's state: a piece of {} bytes behind {} of {}", piece.size(),
                    state_.bytes.size(), bytes_);
  digest_.Add(piece);
  // Once more than a piece has come.
  if (!state_.bytes.empty()) state_.bytes.reserve(bytes_);
  state_.bytes += piece;
  return Status::Ok();
}

Status StateReader::Add(const node::v1::StateEvent& event) {
  if (done_) return Internal("the other node's state: more behind its end");
  switch (event.event_case()) {
    case node::v1::StateEvent::kHeader: return AddHeader(event);
    case node::v1::StateEvent::kPiece: return AddPiece(event.piece());
    case node::v1::StateEvent::kDone: break;
    case node::v1::StateEvent::EVENT_NOT_SET: return Status::Ok();  // of a version to come
  }
  done_ = true;
  outcome_ = ReadOutcome(event.done().outcome());
  if (!outcome_.ok()) return Status::Ok();
  if (bytes_ == 0 || state_.bytes.size() != bytes_) {
    outcome_ = Internal("the other node's state: {} bytes of {} came", state_.bytes.size(), bytes_);
  } else if (event.done().sha256() != digest_.Hex()) {
    outcome_ = Internal("the other node's state: {} bytes came that are not those it sent", bytes_);
  }
  return Status::Ok();
}

Result<SequenceState> StateReader::Take() {
  if (!done_) return Unavailable("the other node's state broke off");
  if (!outcome_.ok()) return outcome_;
  done_ = false;
  return std::move(state_);
}

}  // namespace evenkeel
