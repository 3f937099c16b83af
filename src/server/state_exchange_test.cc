// The exchange of states between two nodes: both ends, with the messages that go between them, models that are made up, and everything that can be in the way.
#include "server/state_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/format.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::HasSubstr;

constexpr uint64_t kAnswer = 7;  // that runs at the giving end

class FakeModel final : public StateModel {
 public:
  explicit FakeModel(std::string name) : name_(std::move(name)) {
    state.kind = kind;
    state.tokens = {1, 2, 300};
    state.bytes = std::string(2 * kStateEventBytes + 5, 's');
  }
  const std::string& model_name() const override { return name_; }
  bool FileUnchanged() const override { return unchanged; }
  std::string state_kind() const override { return kind; }
  double prompt_token_s() const override { return token_s; }
  void ReadState(uint64_t answer, std::function<void(Result<SequenceState>)> done) override {
    ++reads;
    if (answer != kAnswer) return done(NotFound("the answer has ended"));
    done(state);
  }
  void RestoreState(SequenceState given, std::function<void(Status)> done) override {
    restored.push_back(std::move(given));
    done(room ? Status::Ok() : Overloaded("no cell of the cache is free"));
  }

  std::string kind = "llama.cpp 1";
  SequenceState state;
  bool unchanged = true, room = true;
  double token_s = 0.01;
  int reads = 0;
  std::vector<SequenceState> restored;

 private:
  const std::string name_;
};

ModelListing Listing(const std::string& sha256) {
  ModelListing listing;
  listing.name = "chat";
  listing.files.push_back({"model.gguf", 10, sha256});
  listing.files.push_back({"config.yaml", 3, std::string(64, '9')});  // says nothing of states
  return listing;
}

// One node.
struct Side {
  void Start(std::function<std::optional<StateExchange::Link>(std::string_view)> link) {
    StateExchange::Node node;
    node.models = [this] { return serving; };
    node.link = std::move(link);
    node.list = [this](const std::string&, std::function<void(Result<ModelListing>)> done) {
      ++lists;
      done(listing);
    };
    node.elsewhere = [this](std::string_view) { return elsewhere; };
    exchange = std::make_shared<StateExchange>(events, std::move(node), clock);
  }

  EventLog events;
  ManualClock clock;
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>("chat");
  std::vector<std::shared_ptr<StateModel>> serving = {model};
  Result<ModelListing> listing = Listing(std::string(64, 'a'));
  bool elsewhere = true;
  int lists = 0;
  std::shared_ptr<StateExchange> exchange;
};

// What became of a Take().
struct Answer {
  int count = 0;
  std::optional<Result<StateTaken>> result;
  Code code() const { return result ? result->status().code() : Code::kInternal; }
};

class StateExchangeTest : public testing::Test {
 protected:
  using Events = std::vector<node::v1::StateEvent>;
  using Done = std::function<void(Result<SequenceState>)>;

  StateExchangeTest() {
    giver_.Start([](std::string_view) { return std::nullopt; });
    taker_.Start([this](std::string_view node) -> std::optional<StateExchange::Link> {
      if (node != "desk" || gone_) return std::nullopt;
      return StateExchange::Link{0.001, 1e8,
                                 [this](const StateRequest& request, Duration timeout, Done done) {
                                   timeouts_.push_back(timeout);
                                   if (hold_) return held_.push_back(std::move(done));
                                   Send(request, done);
                                 }};
    });
  }
  // A state's way over the link: cut into events at the one end, put together and looked over at the other.
  void Send(const StateRequest& request, const Done& done) {
    giver_.exchange->Read(request, [&](Result<BoundState> bound) {
      StateWriter writer(std::move(bound));
      Events events(1);
      while (writer.Next(&events.back())) events.emplace_back();
      if (change_) change_(events);
      StateReader reader(request.binding);
      for (const auto& event : events) {
        if (const Status status = reader.Add(event); !status.ok()) return done(status);
      }
      done(reader.Take());
    });
  }
  void Prepare() {
    giver_.exchange->Prepare();
    taker_.exchange->Prepare();
  }
  std::shared_ptr<Answer> Take(StateOrder order = {"chat", "desk", kAnswer, 2'000'000, 200}) {
    auto answer = std::make_shared<Answer>();
    taker_.exchange->Take(order, [answer](Result<StateTaken> taken) {
      ++answer->count;
      answer->result = std::move(taken);
    });
    return answer;
  }

  bool hold_ = false, gone_ = false;
  std::vector<Done> held_;
  std::vector<Duration> timeouts_;
  std::function<void(Events&)> change_;
  Side giver_, taker_;  // last: they use what is above
};

TEST_F(StateExchangeTest, AStateThatIsWorthItComesWhole) {
  Prepare();
  const auto answer = Take();
  ASSERT_EQ(answer->count, 1);
  ASSERT_TRUE(answer->result->ok()) << answer->result->status().ToString();
  EXPECT_TRUE((*answer->result)->taken);
  ASSERT_EQ(taker_.model->restored.size(), 1U);
  EXPECT_EQ(taker_.model->restored[0].bytes, giver_.model->state.bytes);
  EXPECT_EQ(taker_.model->restored[0].tokens, giver_.model->state.tokens);
  const auto counts = taker_.exchange->counts();
  EXPECT_EQ(counts.taken, 1U);
  EXPECT_EQ(counts.failed, 0U);
  // What came counts, whatever the order said of its size.
  EXPECT_EQ(counts.bytes, giver_.model->state.bytes.size());
  EXPECT_EQ(counts.models, 1);
  EXPECT_EQ(giver_.exchange->counts().given, 1U);
  ASSERT_EQ(taker_.events.Last().size(), 1U);
  EXPECT_THAT(taker_.events.Last()[0].what, HasSubstr("came from 'desk': 3 tokens"));
}

TEST_F(StateExchangeTest, WhereComputingTakesLessNothingIsAskedFor) {
  Prepare();
  taker_.model->token_s = 1e-6;
  const auto answer = Take();
  ASSERT_EQ(answer->count, 1);
  ASSERT_TRUE(answer->result->ok());
  EXPECT_FALSE((*answer->result)->taken);
  EXPECT_THAT((*answer->result)->why, HasSubstr("computing 200 tokens"));
  EXPECT_EQ(taker_.exchange->counts().computed, 1U);
  EXPECT_EQ(giver_.model->reads, 0);
}

TEST_F(StateExchangeTest, WhatIsNotKnownIsRefusedAtOnce) {
  EXPECT_EQ(Take()->code(), Code::kUnsupported) << "the files are not known yet";
  Prepare();
  EXPECT_EQ(Take({"other", "desk", kAnswer, 2'000'000, 200})->code(), Code::kNotFound);
  EXPECT_EQ(Take({"chat", "shelf", kAnswer, 2'000'000, 200})->code(), Code::kNotFound);
  EXPECT_EQ(taker_.exchange->counts().failed, 3U);
  EXPECT_TRUE(timeouts_.empty());
}

TEST_F(StateExchangeTest, AnAnswerThatHasEndedHasNoState) {
  Prepare();
  EXPECT_EQ(Take({"chat", "desk", kAnswer + 1, 2'000'000, 200})->code(), Code::kNotFound);
  EXPECT_EQ(giver_.exchange->counts().given, 0U);
}

TEST_F(StateExchangeTest, APeerThatDiesMidwayCostsOneAnswerAndNoPlace) {
  Prepare();
  for (size_t left = 0; left < 5; ++left) {  // of a header, three pieces and an end
    change_ = [left](Events& events) { events.resize(left); };
    const auto answer = Take();
    EXPECT_EQ(answer->count, 1);
    EXPECT_EQ(answer->code(), Code::kUnavailable) << left;
  }
  EXPECT_TRUE(taker_.model->restored.empty());
  change_ = nullptr;
  EXPECT_TRUE(Take()->result->ok());
  EXPECT_EQ(taker_.exchange->counts().failed, 5U);
  EXPECT_EQ(taker_.exchange->counts().taken, 1U);
}

TEST_F(StateExchangeTest, APeerThatSaysNothingIsWaitedForByWhatWasExpected) {
  Prepare();
  hold_ = true;
  const auto small = Take();
  const auto large =
      Take({"chat", "desk", kAnswer, 200'000'000, 20'000});  // two seconds of the link
  ASSERT_EQ(timeouts_.size(), 2U);
  EXPECT_EQ(timeouts_[0], 5s);
  EXPECT_NEAR(Seconds(timeouts_[1]), StateExchange::kPatience * 2.001, 1e-6);
  EXPECT_EQ(small->count + large->count, 0);
  for (const Done& done : held_) done(DeadlineExceeded("the other node did not answer in time"));
  EXPECT_EQ(small->code(), Code::kDeadlineExceeded);
  EXPECT_EQ(large->code(), Code::kDeadlineExceeded);
  EXPECT_EQ(small->count + large->count, 2);
}

TEST_F(StateExchangeTest, AnotherVersionOrContentIsRefusedAtTheGivingEnd) {
  giver_.model->kind = "llama.cpp 2";
  Prepare();
  const auto version = Take();
  EXPECT_EQ(version->code(), Code::kConflict);
  EXPECT_THAT(version->result->status().message(), HasSubstr("llama.cpp 2"));
  EXPECT_EQ(giver_.model->reads, 0);
  // And at the taking end, whatever the other one says it has checked.
  giver_.model->kind = "llama.cpp 1";
  giver_.listing = Listing(std::string(64, 'b'));
  giver_.exchange->Stop();
  giver_.Start([](std::string_view) { return std::nullopt; });
  giver_.exchange->Prepare();
  EXPECT_EQ(Take()->code(), Code::kConflict);
  giver_.listing = Listing(std::string(64, 'a'));
  giver_.Start([](std::string_view) { return std::nullopt; });
  giver_.exchange->Prepare();
  change_ = [](Events& events) { events[0].mutable_header()->set_binding("sha256:b llama.cpp 1"); };
  EXPECT_EQ(Take()->code(), Code::kConflict);
  EXPECT_TRUE(taker_.model->restored.empty());
}

TEST_F(StateExchangeTest, ASizeThatLiesIsFoundOut) {
  Prepare();
  const uint64_t bytes = giver_.model->state.bytes.size();
  for (const uint64_t lie : {bytes - 1, bytes + 1, uint64_t{1}, uint64_t{0}, uint64_t{1} << 40}) {
    change_ = [lie](Events& events) { events[0].mutable_header()->set_bytes(lie); };
    const auto answer = Take();
    EXPECT_EQ(answer->count, 1);
    EXPECT_EQ(answer->code(), Code::kInternal) << lie;
  }
  EXPECT_TRUE(taker_.model->restored.empty());
  EXPECT_EQ(taker_.exchange->counts().bytes, 0U);
}

TEST_F(StateExchangeTest, AReceiverWithoutRoomSaysSoAndTakesTheNext) {
  Prepare();
  taker_.model->room = false;
  for (int i = 0; i < StateExchange::kMostTakes + 1; ++i) {
    const auto answer = Take();
    EXPECT_EQ(answer->count, 1);
    EXPECT_EQ(answer->code(), Code::kOverloaded);
  }
  EXPECT_EQ(taker_.exchange->counts().bytes, 0U);
  EXPECT_TRUE(taker_.events.Last().empty());
  taker_.model->room = true;
  EXPECT_TRUE(Take()->result->ok());
}

TEST_F(StateExchangeTest, SoManyAreFetchedAndWaitAndEachIsAnsweredOnce) {
  Prepare();
  hold_ = true;
  std::vector<std::shared_ptr<Answer>> answers;
  const size_t most = StateExchange::kMostTakes + StateExchange::kMostWaiting;
  for (size_t i = 0; i < most; ++i) answers.push_back(Take());
  EXPECT_EQ(held_.size(), static_cast<size_t>(StateExchange::kMostTakes));
  const auto refused = Take();
  EXPECT_EQ(refused->count, 1);
  EXPECT_EQ(refused->code(), Code::kOverloaded);
  // One ends, and the first that waited begins.
  std::exchange(held_[0], nullptr)(Unavailable("no link"));
  EXPECT_EQ(answers[0]->count, 1);
  EXPECT_EQ(held_.size(), static_cast<size_t>(StateExchange::kMostTakes) + 1);
  taker_.exchange->Stop();
  for (size_t i = StateExchange::kMostTakes + 1; i < most; ++i) {
    EXPECT_EQ(answers[i]->count, 1) << i;
    EXPECT_EQ(answers[i]->code(), Code::kUnavailable) << i;
  }
  EXPECT_EQ(answers[1]->count, 0) << "it is under way";
  for (const Done& done : held_) {
    if (done) done(Unavailable("the link was closed"));
  }
  for (const auto& answer : answers) EXPECT_EQ(answer->count, 1);
  EXPECT_EQ(Take()->code(), Code::kUnavailable) << "nothing is begun any more";
  EXPECT_EQ(held_.size(), static_cast<size_t>(StateExchange::kMostTakes) + 1);
}

TEST_F(StateExchangeTest, ANodeThatIsGoneMeanwhileEndsAllThatWaitedForIt) {
  Prepare();
  hold_ = true;
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(Take());
  gone_ = true;
  for (const Done& done : std::vector<Done>(held_)) done(Unavailable("no link"));
  std::vector<int> counts;
  for (const auto& answer : answers) counts.push_back(answer->count);
  EXPECT_THAT(counts, Each(1));
  EXPECT_EQ(answers[5]->code(), Code::kNotFound);
  gone_ = hold_ = false;
  EXPECT_TRUE(Take()->result->ok()) << "no place is lost";
}

TEST_F(StateExchangeTest, APlaceAmongThoseThatAreGivenGoesWithTheStateItself) {
  Prepare();
  const std::string binding = "sha256:" + std::string(64, 'a') + " llama.cpp 1";
  std::vector<Result<BoundState>> given;
  const auto read = [&] {
    giver_.exchange->Read({"chat", kAnswer, binding},
                          [&](Result<BoundState> bound) { given.push_back(std::move(bound)); });
    return given.back().status().code();
  };
  for (int i = 0; i < StateExchange::kMostReads; ++i) EXPECT_EQ(read(), Code::kOk);
  EXPECT_EQ(read(), Code::kOverloaded);
  given.erase(given.begin());
  EXPECT_EQ(read(), Code::kOk);
  given.clear();
  giver_.exchange->Stop();
  EXPECT_EQ(read(), Code::kUnavailable);
}

TEST_F(StateExchangeTest, AModelThatIsBeingUnloadedGivesItsAnswersYet) {
  Prepare();
  giver_.serving.clear();
  EXPECT_TRUE(Take()->result->ok());
  giver_.model.reset();
  EXPECT_EQ(Take()->code(), Code::kNotFound);
}

TEST_F(StateExchangeTest, FilesAreDigestedOnceAndOnlyWhereOthersServeTheModel) {
  taker_.elsewhere = false;
  Prepare();
  EXPECT_EQ(taker_.lists, 0);
  taker_.elsewhere = true;
  taker_.listing = Overloaded("64 models wait to be listed");
  Prepare();
  EXPECT_EQ(taker_.exchange->counts().models, 0);
  taker_.listing = Listing(std::string(64, 'a'));
  Prepare();
  Prepare();
  EXPECT_EQ(taker_.lists, 2) << "what was too much is asked again, what is known is not";
  EXPECT_EQ(taker_.exchange->counts().models, 1);
  EXPECT_EQ(giver_.lists, 1);
}

TEST_F(StateExchangeTest, AListingThatFailedIsAskedForAgainLessAndLessOften) {
  taker_.listing = Unavailable("the folder is away");
  std::vector<Duration> at;
  const Time begin = taker_.clock.Now();
  for (int lists = 0; taker_.clock.Now() < begin + 24h; taker_.clock.Advance(5s)) {
    taker_.exchange->Prepare();
    if (taker_.lists == lists) continue;
    EXPECT_EQ(taker_.lists, lists + 1);
    lists = taker_.lists;
    at.push_back(taker_.clock.Now() - begin);
  }
  Duration wait = StateExchange::kFirstAgain;
  ASSERT_GE(at.size(), 24U);
  EXPECT_EQ(at[0], Duration(0));
  for (size_t i = 1; i < at.size(); ++i) {
    EXPECT_EQ(at[i] - at[i - 1], wait) << i;
    wait = std::min(2 * wait, StateExchange::kLastAgain);
  }
  EXPECT_EQ(taker_.exchange->counts().models, 0);
  // The folder is back: known once it is asked again, and then for good.
  taker_.listing = Listing(std::string(64, 'a'));
  const int before = taker_.lists;
  for (int i = 0; i < 3; ++i) {
    taker_.clock.Advance(StateExchange::kLastAgain);
    Prepare();
  }
  EXPECT_EQ(taker_.lists, before + 1);
  EXPECT_EQ(taker_.exchange->counts().models, 1);
  EXPECT_TRUE(Take()->result->ok());
}

TEST_F(StateExchangeTest, AModelThatIsLoadedAnewIsAskedForAtOnce) {
  taker_.listing = Unavailable("the folder is away");
  taker_.exchange->Prepare();
  taker_.listing = Listing(std::string(64, 'a'));
  taker_.model = std::make_shared<FakeModel>("chat");
  taker_.serving = {taker_.model};
  Prepare();
  EXPECT_EQ(taker_.lists, 2);
  EXPECT_TRUE(Take()->result->ok());
}

TEST_F(StateExchangeTest, AFileThatChangedSinceItWasLoadedHasNoStates) {
  taker_.model->unchanged = false;
  Prepare();
  EXPECT_EQ(taker_.exchange->counts().models, 0);
  EXPECT_EQ(Take()->code(), Code::kUnsupported);
}

}  // namespace
}  // namespace evenkeel
