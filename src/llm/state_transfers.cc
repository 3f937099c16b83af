#include "llm/state_transfers.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

// What goes to the worker at once, and when more does.
constexpr int kPiecesAtOnce = 8;
constexpr Duration kPause = std::chrono::milliseconds(2);

}  // namespace

StateTransfers::StateTransfers(EventLoop& loop, const Clock& clock, Send send)
    : loop_(loop), clock_(clock), send_(std::move(send)) {
  alarm_ = loop_.MakeAlarm([this] { OnAlarm(); });
}

void StateTransfers::Save(uint64_t sequence, Done done) {
  Transfer transfer;
  transfer.sequence = sequence;
  transfer.done = std::move(done);
  Add(std::move(transfer));
}

void StateTransfers::Load(SequenceState state, Done done) {
  Transfer transfer;
  transfer.load.emplace(next_id_, std::move(state));
  transfer.done = std::move(done);
  Add(std::move(transfer));
}

void StateTransfers::Add(Transfer transfer) {
  if (!up_) return Tell(std::move(transfer.done), Unavailable("there is no worker now"));
  if (transfers_.size() >= kMostWaiting)
    return Tell(std::move(transfer.done), Overloaded("{} states wait already", kMostWaiting));
  transfer.id = next_id_++;
  transfers_.push_back(std::move(transfer));
  if (transfers_.size() == 1) Go();
}

// Sends what can be sent of the first, and has the alarm go off when there is more to do, or when it took too long.
void StateTransfers::Go() {
  if (transfers_.empty()) return alarm_->Set(kNever);
  Transfer& first = transfers_.front();
  const Time now = clock_.Now();
  if (first.until == kNever) first.until = now + kLimit;
  if (first.asked) return alarm_->Set(first.until);
  Status status = Status::Ok();
  if (first.load) {
    status = SendPieces(first);
  } else {
    status = send_(LlmFrame::kSaveState, Encode(StateWanted{first.id, first.sequence}));
    first.asked = status.ok();
  }
  if (!status.ok() && status.code() != Code::kOverloaded) return Finish(status);
  alarm_->Set(first.asked ? first.until : now + kPause);
}

Status StateTransfers::SendPieces(Transfer& transfer) {
  for (int i = 0; i < kPiecesAtOnce && !transfer.load->done(); ++i) {
    EK_RETURN_IF_ERROR(send_(LlmFrame::kLoadState, Encode(transfer.load->Piece())));
    transfer.load->Sent();
    transfer.until = clock_.Now() + kLimit;
  }
  transfer.asked = transfer.load->done();
  return Status::Ok();
}

void StateTransfers::OnAlarm() {
  if (transfers_.empty()) return;
  if (clock_.Now() >= transfers_.front().until)
    return Finish(
        DeadlineExceeded("the worker said nothing of a state for {:.0f} s", Seconds(kLimit)));
  Go();
}

StateTransfers::Transfer* StateTransfers::Of(uint64_t id) {
  return !transfers_.empty() && transfers_.front().id == id ? &transfers_.front() : nullptr;
}

Status StateTransfers::OnPiece(std::string_view payload) {
  const auto piece = DecodeStatePiece(payload);
  if (!piece.ok()) return piece.status();
  Transfer* const transfer = Of(piece->id);
  if (transfer == nullptr) return Status::Ok();  // it was given up
  if (transfer->load) return Internal("a piece of a state that was given to it");
  const auto whole = arriving_.Add(*piece);
  if (!whole.ok()) return whole.status();
  transfer->until = clock_.Now() + kLimit;
  if (*whole) Finish(arriving_.Take());
  return Status::Ok();
}

Status StateTransfers::OnEnd(std::string_view payload) {
  const auto end = DecodeStateEnd(payload);
  if (!end.ok()) return end.status();
  const Transfer* const transfer = Of(end->id);
  if (transfer == nullptr) return Status::Ok();
  if (end->status.ok() && (!transfer->load || !transfer->asked))
    return Internal("a state is said to be done of which it has not all");
  Finish(end->status.ok() ? Result<SequenceState>(SequenceState()) : end->status);
  return Status::Ok();
}

void StateTransfers::OnWorker(bool up) {
  up_ = up;
  if (up_) return;
  arriving_ = {};
  alarm_->Set(kNever);
  for (Transfer& transfer : std::exchange(transfers_, {}))
    Tell(std::move(transfer.done), Unavailable("the worker ended"));
}

void StateTransfers::Finish(Result<SequenceState> result) {
  Done done = std::move(transfers_.front().done);
  transfers_.pop_front();
  arriving_ = {};  // half of one that was given up
  Tell(std::move(done), std::move(result));
  Go();
}

// Not from within an event of the worker's, nor a call of the owner's.
void StateTransfers::Tell(Done done, Result<SequenceState> result) {
  loop_.Post([done = std::move(done), result = std::make_shared<Result<SequenceState>>(
                                          std::move(result))] { done(std::move(*result)); });
}

}  // namespace evenkeel
