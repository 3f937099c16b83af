#include "llm/state_transfers.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

// Runs what is posted when it is told to, and its alarms by a clock that is set by hand.
class HandLoop final : public EventLoop {
 public:
  explicit HandLoop(const Clock& clock) : clock_(clock) {}
  void Post(std::function<void()> task) override { posted_.push_back(std::move(task)); }
  void Watch(int /*fd*/, std::function<void()> /*on_readable*/) override {}
  void Unwatch(int /*fd*/) override {}
  std::unique_ptr<Alarm> MakeAlarm(std::function<void()> on_time) override {
    alarm_ = std::move(on_time);
    return std::make_unique<HandAlarm>(*this);
  }
  bool InLoopThread() const override { return true; }

  void Run() {
    while (!posted_.empty()) {
      auto tasks = std::exchange(posted_, {});
      for (const auto& task : tasks) task();
    }
    if (at_ > clock_.Now()) return;
    at_ = kNever;
    alarm_();
    Run();
  }
  Time at() const { return at_; }

 private:
  class HandAlarm final : public Alarm {
   public:
    explicit HandAlarm(HandLoop& loop) : loop_(loop) {}
    void Set(Time at) override { loop_.at_ = at; }

   private:
    HandLoop& loop_;
  };
  const Clock& clock_;
  std::vector<std::function<void()>> posted_;
  std::function<void()> alarm_;
  Time at_ = kNever;
};

class StateTransfersTest : public testing::Test {
 protected:
  StateTransfersTest()
      : transfers_(loop_, clock_, [this](LlmFrame type, const std::string& payload) {
          if (room_ == 0) return Overloaded("no room now");
          if (room_ > 0) --room_;
          sent_.emplace_back(type, payload);
          return Status::Ok();
        }) {}

  static SequenceState State(size_t bytes) {
    SequenceState state;
    state.kind = "kind";
    state.tokens = {1, 2, 3};
    state.bytes.assign(bytes, 'b');
    return state;
  }
  StateTransfers::Done Into(std::optional<Result<SequenceState>>* told) {
    return [told](Result<SequenceState> result) {
      EXPECT_FALSE(told->has_value()) << "it was told twice";
      told->emplace(std::move(result));
    };
  }
  // The worker's answer with a whole state.
  Status Answer(uint64_t id, const SequenceState& state) {
    for (StateCutter cutter(id, state); !cutter.done(); cutter.Sent())
      EK_RETURN_IF_ERROR(transfers_.OnPiece(Encode(cutter.Piece())));
    return Status::Ok();
  }
  uint64_t LastId() {
    const auto& [type, payload] = sent_.back();
    return type == LlmFrame::kSaveState ? DecodeStateWanted(payload).value().id
                                        : DecodeStatePiece(payload).value().id;
  }

  ManualClock clock_;
  HandLoop loop_{clock_};
  int room_ = -1;  // frames that the channel takes; < 0: any number
  std::vector<std::pair<LlmFrame, std::string>> sent_;
  StateTransfers transfers_;
  std::optional<Result<SequenceState>> first_, second_;
};

TEST_F(StateTransfersTest, OneIsSavedAfterTheOther) {
  transfers_.OnWorker(true);
  transfers_.Save(5, Into(&first_));
  transfers_.Save(6, Into(&second_));
  loop_.Run();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(DecodeStateWanted(sent_[0].second).value().sequence, 5u);
  EXPECT_TRUE(Answer(LastId(), State(1'000'000)).ok());
  EXPECT_FALSE(first_.has_value()) << "not within the worker's event";
  loop_.Run();
  ASSERT_TRUE(first_.has_value() && first_->ok());
  EXPECT_EQ((**first_).bytes.size(), 1'000'000u);
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(DecodeStateWanted(sent_[1].second).value().sequence, 6u);
  EXPECT_TRUE(transfers_.OnEnd(Encode(StateEnd{LastId(), NotFound("it ended")})).ok());
  loop_.Run();
  EXPECT_EQ(second_->status().code(), Code::kNotFound);
}

TEST_F(StateTransfersTest, OneIsLoadedPieceByPieceAsThereIsRoom) {
  transfers_.OnWorker(true);
  room_ = 3;
  transfers_.Load(State(10 * kStatePieceBytes), Into(&first_));
  loop_.Run();
  EXPECT_EQ(sent_.size(), 3u);
  // The worker can't be done with what it has not got.
  EXPECT_FALSE(transfers_.OnEnd(Encode(StateEnd{LastId(), Status::Ok()})).ok());
  room_ = -1;
  StateAssembly assembly;
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(std::chrono::milliseconds(5));
    loop_.Run();
  }
  ASSERT_EQ(sent_.size(), 10u);
  bool whole = false;
  for (const auto& [type, payload] : sent_) {
    EXPECT_EQ(type, LlmFrame::kLoadState);
    whole = assembly.Add(DecodeStatePiece(payload).value()).value();
  }
  EXPECT_TRUE(whole);
  EXPECT_FALSE(first_.has_value());
  EXPECT_TRUE(transfers_.OnEnd(Encode(StateEnd{LastId(), Status::Ok()})).ok());
  loop_.Run();
  ASSERT_TRUE(first_.has_value());
  EXPECT_TRUE(first_->ok());
}

TEST_F(StateTransfersTest, AWorkerThatIsSilentIsGivenUpAndWhatComesLateIsPassedOver) {
  transfers_.OnWorker(true);
  transfers_.Save(5, Into(&first_));
  loop_.Run();
  const uint64_t late = LastId();
  clock_.Advance(StateTransfers::kLimit / 2);
  loop_.Run();
  EXPECT_FALSE(first_.has_value());
  clock_.Advance(StateTransfers::kLimit);
  loop_.Run();
  ASSERT_TRUE(first_.has_value());
  EXPECT_EQ(first_->status().code(), Code::kDeadlineExceeded);
  transfers_.Save(6, Into(&second_));
  loop_.Run();
  EXPECT_TRUE(Answer(late, State(300'000)).ok());
  EXPECT_TRUE(Answer(LastId(), State(77)).ok());
  loop_.Run();
  ASSERT_TRUE(second_.has_value() && second_->ok());
  EXPECT_EQ((**second_).bytes.size(), 77u);
  EXPECT_EQ(loop_.at(), kNever);
}

TEST_F(StateTransfersTest, WhenTheWorkerEndsAllAreToldAndNoneIsTakenOnWithoutOne) {
  transfers_.OnWorker(true);
  transfers_.Save(5, Into(&first_));
  transfers_.Load(State(100), Into(&second_));
  transfers_.OnWorker(false);
  loop_.Run();
  EXPECT_EQ(first_->status().code(), Code::kUnavailable);
  EXPECT_EQ(second_->status().code(), Code::kUnavailable);
  std::optional<Result<SequenceState>> third;
  transfers_.Save(7, Into(&third));
  EXPECT_FALSE(third.has_value()) << "inside";
  loop_.Run();
  EXPECT_EQ(third->status().code(), Code::kUnavailable);
}

TEST_F(StateTransfersTest, NoMoreWaitThanAreToldAndAWorkerThatBreaksTheRulesIsFoundOut) {
  transfers_.OnWorker(true);
  std::vector<std::optional<Result<SequenceState>>> told(StateTransfers::kMostWaiting + 1);
  for (auto& one : told) transfers_.Save(5, Into(&one));
  loop_.Run();
  EXPECT_EQ(told.back()->status().code(), Code::kOverloaded);
  EXPECT_FALSE(told.front().has_value());
  EXPECT_EQ(transfers_.OnPiece("x").code(), Code::kInternal);
  EXPECT_EQ(transfers_.OnEnd("x").code(), Code::kInternal);
  EXPECT_EQ(transfers_.OnEnd(Encode(StateEnd{LastId(), Status::Ok()})).code(), Code::kInternal)
      << "a state was asked for";
  StatePiece hole = StateCutter(LastId(), State(500'000)).Piece();
  hole.offset = 1000;
  hole.kind.clear();
  hole.tokens.clear();
  EXPECT_EQ(transfers_.OnPiece(Encode(hole)).code(), Code::kInternal);
}

}  // namespace
}  // namespace evenkeel
