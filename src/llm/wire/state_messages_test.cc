#include "llm/wire/state_messages.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

SequenceState State(size_t bytes) {
  SequenceState state;
  state.kind = "llama.cpp 1, llama, f16";
  state.tokens = {1, 70, 71};
  for (size_t i = 0; i < bytes; ++i) state.bytes += static_cast<char>(i * 31);
  return state;
}

StatePiece First() {
  StatePiece piece;
  piece.id = 7;
  piece.total = 5;
  piece.kind = "kind";
  piece.tokens = {1, 2};
  piece.bytes = "abc";
  return piece;
}

StatePiece Last() {
  StatePiece piece;
  piece.id = 7;
  piece.total = 5;
  piece.offset = 3;
  piece.bytes = "de";
  return piece;
}

TEST(StateMessagesTest, ArriveAsTheyWereSent) {
  const auto wanted = DecodeStateWanted(Encode(StateWanted{3, 9}));
  ASSERT_TRUE(wanted.ok());
  EXPECT_EQ(wanted->id, 3u);
  EXPECT_EQ(wanted->sequence, 9u);
  const auto piece = DecodeStatePiece(Encode(First()));
  ASSERT_TRUE(piece.ok()) << piece.status().ToString();
  EXPECT_EQ(piece->total, 5u);
  EXPECT_EQ(piece->kind, "kind");
  EXPECT_EQ(piece->tokens, First().tokens);
  EXPECT_EQ(piece->bytes, "abc");
  const auto end = DecodeStateEnd(Encode(StateEnd{3, Status(Code::kOverloaded, "no\x01room")}));
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->status.code(), Code::kOverloaded);
  EXPECT_EQ(end->status.message(), "no?room");
  EXPECT_TRUE(DecodeStateEnd(Encode(StateEnd{3, Status::Ok()}))->status.ok());
}

TEST(StateMessagesTest, EveryTruncationAndExtensionIsRefused) {
  const auto all = [](const std::string& whole, auto decode) {
    for (size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(decode(std::string_view(whole).substr(0, size)).status().code(), Code::kInternal)
          << size;
    EXPECT_FALSE(decode(whole + "x").ok());
  };
  all(Encode(StateWanted{3, 9}), DecodeStateWanted);
  all(Encode(First()), DecodeStatePiece);
  all(Encode(Last()), DecodeStatePiece);
  all(Encode(StateEnd{3, Status(Code::kInternal, "why")}), DecodeStateEnd);
}

TEST(StateMessagesTest, NumbersThatNothingShouldReachAreRefused) {
  const auto refused = [](StatePiece piece, const std::function<void(StatePiece&)>& change) {
    change(piece);
    return !DecodeStatePiece(Encode(piece)).ok();
  };
  EXPECT_FALSE(refused(First(), [](StatePiece&) {}));
  EXPECT_FALSE(refused(Last(), [](StatePiece&) {}));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.id = 0; }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.total = 0; }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.total = 2; })) << "more than there is";
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.total = kMostStateBytes + 1; }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.bytes.clear(); }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) {
    p.total = kMostStateBytes;
    p.bytes.assign(kStatePieceBytes + 1, 'x');
  }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.tokens.clear(); })) << "of no tokens";
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.kind.clear(); }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.kind = "a\nb"; }));
  EXPECT_TRUE(refused(First(), [](StatePiece& p) { p.kind.assign(kLongestStateKind + 1, 'k'); }));
  EXPECT_TRUE(refused(Last(), [](StatePiece& p) { p.offset = 4; })) << "beyond the end";
  EXPECT_TRUE(refused(Last(), [](StatePiece& p) { p.offset = ~uint64_t{0}; }));
  EXPECT_TRUE(refused(Last(), [](StatePiece& p) { p.tokens = {1}; })) << "a second head";
  EXPECT_FALSE(DecodeStateWanted(Encode(StateWanted{0, 9})).ok());
  EXPECT_FALSE(DecodeStateWanted(Encode(StateWanted{3, 0})).ok());
}

TEST(StateMessagesTest, AStateIsPutTogetherFromItsPieces) {
  for (const size_t size : {size_t{1}, kStatePieceBytes - 1, kStatePieceBytes, kStatePieceBytes + 1,
                            3 * kStatePieceBytes}) {
    const SequenceState state = State(size);
    StateCutter cutter(4, state);
    StateAssembly assembly;
    size_t pieces = 0;
    bool whole = false;
    while (!cutter.done()) {
      EXPECT_FALSE(whole);
      const auto piece = DecodeStatePiece(Encode(cutter.Piece()));
      ASSERT_TRUE(piece.ok()) << piece.status().ToString();
      const auto added = assembly.Add(*piece);
      ASSERT_TRUE(added.ok()) << added.status().ToString();
      whole = *added;
      cutter.Sent();
      ++pieces;
    }
    ASSERT_TRUE(whole) << size;
    EXPECT_EQ(pieces, (size + kStatePieceBytes - 1) / kStatePieceBytes);
    const SequenceState taken = assembly.Take();
    EXPECT_EQ(taken.kind, state.kind);
    EXPECT_EQ(taken.tokens, state.tokens);
    EXPECT_EQ(taken.bytes, state.bytes) << size;
  }
}

TEST(StateMessagesTest, PiecesThatDoNotFollowAreRefusedAndAFirstOneBeginsAnew) {
  StateAssembly assembly;
  EXPECT_FALSE(assembly.Add(Last()).ok()) << "nothing came before";
  EXPECT_FALSE(assembly.Add(First()).value());
  StatePiece other = Last();
  other.id = 8;
  EXPECT_FALSE(assembly.Add(other).ok());
  EXPECT_FALSE(assembly.Add(Last()).ok()) << "what was there was dropped";
  EXPECT_FALSE(assembly.Add(First()).value());
  StatePiece hole = Last();
  hole.offset = 4;
  hole.bytes = "e";
  EXPECT_FALSE(assembly.Add(hole).ok());
  // Given up in the middle: the next begins anew.
  EXPECT_FALSE(assembly.Add(First()).value());
  EXPECT_FALSE(assembly.Add(First()).value());
  EXPECT_TRUE(assembly.Add(Last()).value());
  EXPECT_EQ(assembly.Take().bytes, "abcde");
  EXPECT_FALSE(assembly.Add(Last()).ok()) << "it was taken";
}

}  // namespace
}  // namespace evenkeel
