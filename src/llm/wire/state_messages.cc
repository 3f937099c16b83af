#include "llm/wire/state_messages.h"

#include <algorithm>
#include <utility>

#include "core/format.h"
#include "llm/wire/byte_codec.h"

namespace evenkeel {
namespace {

template <typename T>
Result<T> Checked(const ByteReader& in, T message, std::string_view what) {
  if (!in.at_end()) return Internal("a message '{}' that breaks its rules", what);
  return message;
}

bool IsKind(std::string_view text) {
  return !text.empty() && text.size() <= kLongestStateKind &&
         std::ranges::all_of(text, [](char c) { return c >= 0x20 && c <= 0x7e; });
}

}  // namespace

std::string Encode(const StateWanted& wanted) {
  ByteWriter out;
  out.Number(wanted.id);
  out.Number(wanted.sequence);
  return out.Take();
}

Result<StateWanted> DecodeStateWanted(std::string_view bytes) {
  ByteReader in(bytes);
  StateWanted wanted;
  wanted.id = in.Number<uint64_t>();
  wanted.sequence = in.Number<uint64_t>();
  if (wanted.id == 0 || wanted.sequence == 0) in.Fail();
  return Checked(in, wanted, "state wanted");
}

std::string Encode(const StatePiece& piece) {
  ByteWriter out;
  for (const uint64_t number : {piece.id, piece.total, piece.offset}) out.Number(number);
  out.Text(piece.kind);
  out.Tokens(piece.tokens);
  out.Text(piece.bytes);
  return out.Take();
}

Result<StatePiece> DecodeStatePiece(std::string_view bytes) {
  ByteReader in(bytes);
  StatePiece piece;
  for (uint64_t* number : {&piece.id, &piece.total, &piece.offset}) *number = in.Number<uint64_t>();
  piece.kind = in.Text();
  piece.tokens = in.Tokens();
  piece.bytes = in.Text();
  const bool first = piece.offset == 0;
  const bool head =
      first ? IsKind(piece.kind) && !piece.tokens.empty() && piece.tokens.size() <= kMostStateTokens
            : piece.kind.empty() && piece.tokens.empty();
  const bool sizes = piece.total >= 1 && piece.total <= kMostStateBytes && !piece.bytes.empty() &&
                     piece.bytes.size() <= kStatePieceBytes && piece.offset < piece.total &&
                     piece.bytes.size() <= piece.total - piece.offset;
  if (piece.id == 0 || !head || !sizes) in.Fail();
  return Checked(in, std::move(piece), "piece of a state");
}

std::string Encode(const StateEnd& end) {
  ByteWriter out;
  out.Number(end.id);
  out.Number(static_cast<uint8_t>(end.status.code()));
  out.Text(end.status.message());
  return out.Take();
}

Result<StateEnd> DecodeStateEnd(std::string_view bytes) {
  ByteReader in(bytes);
  StateEnd end;
  end.id = in.Number<uint64_t>();
  const auto code = in.Number<uint8_t>();
  std::string message = PrintableText(in.Text());
  if (end.id == 0 || code >= kCodeCount) in.Fail();
  if (in.ok() && code != 0) end.status = Status(static_cast<Code>(code), std::move(message));
  return Checked(in, std::move(end), "end of a state");
}

StatePiece StateCutter::Piece() const {
  StatePiece piece;
  piece.id = id_;
  piece.total = state_.bytes.size();
  piece.offset = sent_;
  if (sent_ == 0) {
    piece.kind = state_.kind;
    piece.tokens = state_.tokens;
  }
  piece.bytes = state_.bytes.substr(sent_, kStatePieceBytes);
  return piece;
}

void StateCutter::Sent() { sent_ += std::min(kStatePieceBytes, state_.bytes.size() - sent_); }

Result<bool> StateAssembly::Add(const StatePiece& piece) {
  if (piece.offset == 0) {
    id_ = piece.id;
    total_ = piece.total;
    state_ = {piece.kind, piece.tokens, {}};
  } else if (piece.id != id_ || piece.total != total_ || piece.offset != state_.bytes.size()) {
    id_ = 0;
    state_ = {};
    return Internal("a piece of a state at {} of {} bytes, which does not follow what came before",
                    piece.offset, piece.total);
  }
  // Once more than the first has come.
  if (piece.offset > 0) state_.bytes.reserve(total_);
  state_.bytes += piece.bytes;
  return state_.bytes.size() == total_;
}

SequenceState StateAssembly::Take() {
  id_ = 0;
  return std::exchange(state_, {});
}

}  // namespace evenkeel
