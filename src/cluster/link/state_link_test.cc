// States of answers between two nodes: the messages, and both ends over a real socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cluster/link/generation_message.h"
#include "cluster/link/link_client.h"
#include "cluster/link/link_server.h"
#include "cluster/link/state_message.h"
#include "core/format.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr char kBinding[] = "sha256:0123 llama.cpp 1";

BoundState Bound(size_t bytes) {
  BoundState bound;
  bound.binding = kBinding;
  bound.state.kind = "llama.cpp 1";
  bound.state.tokens = {1, 2, 300};
  for (size_t i = 0; i < bytes; ++i) bound.state.bytes += static_cast<char>(i * 7);
  return bound;
}

// All events of a state, the end included.
std::vector<node::v1::StateEvent> EventsOf(Result<BoundState> state) {
  StateWriter writer(std::move(state));
  std::vector<node::v1::StateEvent> events(1);
  while (writer.Next(&events.back())) events.emplace_back();
  return events;
}

// What comes of events, or why one of them was refused.
Result<SequenceState> Read(const std::vector<node::v1::StateEvent>& events) {
  StateReader reader(kBinding);
  for (const auto& event : events) EK_RETURN_IF_ERROR(reader.Add(event));
  return reader.Take();
}

TEST(StateMessageTest, ArriveWholeWhateverTheirSize) {
  for (const size_t size : {size_t{1}, kStateEventBytes - 1, kStateEventBytes, kStateEventBytes + 1,
                            2 * kStateEventBytes + 5}) {
    const auto events = EventsOf(Bound(size));
    EXPECT_EQ(events.size(), 2 + (size + kStateEventBytes - 1) / kStateEventBytes);
    const auto read = Read(events);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(read->bytes, Bound(size).state.bytes) << size;
    EXPECT_EQ(read->tokens, Bound(size).state.tokens);
    EXPECT_EQ(read->kind, "llama.cpp 1");
  }
}

TEST(StateMessageTest, ARefusalArrivesAsItWasSaid) {
  const auto events = EventsOf(Overloaded("{} states are being sent", 4));
  ASSERT_EQ(events.size(), 1u);
  const Status status = Read(events).status();
  EXPECT_EQ(status.code(), Code::kOverloaded);
  EXPECT_THAT(status.message(), HasSubstr("4 states"));
}

TEST(StateMessageTest, WhatBreaksTheRulesIsRefused) {
  const auto changed = [](const std::function<void(std::vector<node::v1::StateEvent>&)>& change) {
    auto events = EventsOf(Bound(2 * kStateEventBytes));  // header, two pieces, end
    change(events);
    return Read(events).status();
  };
  using Events = std::vector<node::v1::StateEvent>;
  EXPECT_TRUE(changed([](Events&) {}).ok());
  EXPECT_EQ(changed([](Events& e) { e[0].mutable_header()->set_binding("sha256:4567"); }).code(),
            Code::kConflict);
  const std::pair<std::function<void(Events&)>, const char*> cases[] = {
      {[](Events& e) { e[0].mutable_header()->set_bytes(0); }, "got 0"},
      {[](Events& e) { e[0].mutable_header()->set_bytes(kMostStateBytes + 1); }, "got 268435457"},
      {[](Events& e) { e[0].mutable_header()->clear_tokens(); }, "of 0 tokens"},
      {[](Events& e) { e[0].mutable_header()->set_kind(std::string(1000, 'k')); }, "1000 bytes"},
      {[](Events& e) { e.erase(e.begin()); }, "before the header"},
      {[](Events& e) { e.insert(e.begin(), e[0]); }, "a second header"},
      {[](Events& e) { e.insert(e.begin() + 1, e[1]); }, "behind 2097152 of 2097152"},
      {[](Events& e) { e[1].set_piece(""); }, "a piece of 0 bytes"},
      {[](Events& e) { e[1].set_piece(std::string(kStateEventBytes + 1, 'x')); }, "1048577 bytes"},
      {[](Events& e) { e.erase(e.begin() + 2); }, "1048576 bytes of 2097152 came"},
      {[](Events& e) { (*e[2].mutable_piece())[5] = '?'; }, "not those it sent"},
      {[](Events& e) { e[3].mutable_done()->clear_sha256(); }, "not those it sent"},
      {[](Events& e) { e.push_back(e[1]); }, "behind its end"},
  };
  for (const auto& [change, words] : cases) {
    const Status status = changed(change);
    EXPECT_EQ(status.code(), Code::kInternal) << words;
    EXPECT_THAT(status.message(), HasSubstr(words));
  }
  EXPECT_EQ(changed([](Events& e) { e.pop_back(); }).code(), Code::kUnavailable) << "it broke off";
}

TEST(StateMessageTest, RequestsAreChecked) {
  node::v1::ReadStateRequest message;
  WriteStateRequest({"chat", 7, kBinding}, &message);
  const auto request = ReadStateRequest(message);
  ASSERT_TRUE(request.ok()) << request.status().ToString();
  EXPECT_EQ(request->model, "chat");
  EXPECT_EQ(request->answer, 7u);
  EXPECT_EQ(request->binding, kBinding);
  const auto refused = [](const StateRequest& wrong) {
    node::v1::ReadStateRequest written;
    WriteStateRequest(wrong, &written);
    return ReadStateRequest(written).status().code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused({"../chat", 7, kBinding}));
  EXPECT_TRUE(refused({"chat", 0, kBinding}));
  EXPECT_TRUE(refused({"chat", 7, ""}));
  EXPECT_TRUE(refused({"chat", 7, std::string(kLongestBinding + 1, 'b')}));
  const auto order = [](StateOrder told) {
    node::v1::TakeStateRequest written;
    WriteStateOrder(told, &written);
    return ReadStateOrder(written);
  };
  const auto read = order({"chat", "desk", 7, 1000, 20});
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->from, "desk");
  EXPECT_EQ(read->bytes, 1000);
  EXPECT_EQ(read->tokens, 20);
  EXPECT_FALSE(order({"chat", "a b", 7, 1000, 20}).ok());
  EXPECT_FALSE(order({"", "desk", 7, 1000, 20}).ok());
  EXPECT_FALSE(order({"chat", "desk", 0, 1000, 20}).ok());
  EXPECT_FALSE(order({"chat", "desk", 7, -1, 20}).ok());
  EXPECT_FALSE(order({"chat", "desk", 7, 1000, -20}).ok());
  constexpr auto kMost = static_cast<int64_t>(kMostStateTokens);
  EXPECT_TRUE(order({"chat", "desk", 7, 1000, kMost}).ok());
  EXPECT_FALSE(order({"chat", "desk", 7, 1000, kMost + 1}).ok());
}

TEST(StateMessageTest, AnOfferIsToldAndOneOfAVersionBeforeHasNoState) {
  node::v1::GenerateEvent event;
  WriteMove({uint64_t{1} << 63, 5'000'000, 200}, &event);
  const MoveOffer offer = ReadMove(event);
  EXPECT_EQ(offer.answer, uint64_t{1} << 63);
  EXPECT_EQ(offer.state_bytes, 5'000'000);
  EXPECT_EQ(offer.tokens, 200);
  event.mutable_move()->set_tokens(-3);
  EXPECT_EQ(ReadMove(event).tokens, 0);
  node::v1::GenerateEvent before;
  before.mutable_move();
  EXPECT_EQ(ReadMove(before).answer, 0u);
}

// The node that is asked.
class StateHost final : public NodeHost {
 public:
  bool IsOfCluster(std::string_view /*node*/) const override { return true; }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override { return {}; }
  void OnFigures(const NodeFigures& /*theirs*/) override {}
  Status SetOwnState(std::string_view /*state*/) override { return Status::Ok(); }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view, std::string_view) override {
    return NotFound("no model");
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view) override {
    return NotFound("no model");
  }
  void ReadState(StateRequest request, std::function<void(Result<BoundState>)> done) override {
    if (request.answer == 1) return done(NotFound("the answer has ended"));
    if (request.answer == 2) {
      const std::lock_guard lock(mutex_);
      held_ = std::move(done);
      changed_.notify_all();
      return;
    }
    BoundState bound = Bound(size_t{9} << 20);
    bound.hold =
        std::shared_ptr<const void>(nullptr, [this](const void*) { released.set_value(); });
    done(std::move(bound));
  }
  void TakeState(StateOrder order, std::function<void(Result<StateTaken>)> done) override {
    if (order.from == "nobody") return done(NotFound("node 'nobody' is not known here"));
    done(StateTaken{order.tokens > 100, order.tokens > 100 ? "" : "computing takes less",
                    order.bytes});
  }
  std::function<void(Result<BoundState>)> AwaitHeld() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [this] { return held_ != nullptr; }));
    return std::exchange(held_, nullptr);
  }
  std::promise<void> released;  // the state's place; at most one is sent

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void(Result<BoundState>)> held_;
};

class StateLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = LinkServer::Start(host_, SteadyClock::Instance(), {});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    client_ = std::make_unique<LinkClient>(options);
  }
  std::future<Result<SequenceState>> Ask(uint64_t answer, Duration timeout = 20s,
                                         const std::string& binding = kBinding) {
    auto told = std::make_shared<std::promise<Result<SequenceState>>>();
    client_->ReadState({"chat", answer, binding}, timeout,
                       [told](Result<SequenceState> state) { told->set_value(std::move(state)); });
    return told->get_future();
  }
  Result<StateTaken> Order(const StateOrder& order) {
    std::promise<Result<StateTaken>> told;
    client_->TakeState(order, 20s, [&](Result<StateTaken> taken) { told.set_value(taken); });
    return told.get_future().get();
  }

  StateHost host_;
  std::unique_ptr<LinkServer> server_;
  std::unique_ptr<LinkClient> client_;
};

TEST_F(StateLinkTest, AStateComesWholeAndItsPlaceIsFreeAgain) {
  const auto state = Ask(9).get();
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  EXPECT_EQ(state->bytes, Bound(size_t{9} << 20).state.bytes);
  EXPECT_EQ(state->tokens, Bound(1).state.tokens);
  EXPECT_EQ(host_.released.get_future().wait_for(20s), std::future_status::ready);
}

TEST_F(StateLinkTest, WhyThereIsNoneComesBack) {
  const Status ended = Ask(1).get().status();
  EXPECT_EQ(ended.code(), Code::kNotFound);
  EXPECT_THAT(ended.message(), HasSubstr("has ended"));
  EXPECT_EQ(Ask(9, 20s, "sha256:9 of another file").get().status().code(), Code::kConflict);
  EXPECT_EQ(Ask(0).get().status().code(), Code::kInvalidArgument);
}

TEST_F(StateLinkTest, ANodeThatIsLostMeanwhileIsNotWaitedFor) {
  auto state = Ask(2);
  const auto done = host_.AwaitHeld();
  client_->GiveUpAll();
  EXPECT_FALSE(state.get().ok());
  done(Bound(size_t{3} << 20));  // nobody hears it, and it does no harm
  EXPECT_TRUE(Ask(9).get().ok());
}

TEST_F(StateLinkTest, ANodeThatDoesNotSendInTimeIsNotWaitedFor) {
  auto state = Ask(2, 200ms);
  const auto done = host_.AwaitHeld();
  EXPECT_EQ(state.get().status().code(), Code::kDeadlineExceeded);
  done(Unavailable("too late"));
}

TEST_F(StateLinkTest, ANodeIsToldToTakeOneAndSaysWhatItDid) {
  const auto taken = Order({"chat", "desk", 7, 1000, 200});
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(taken->taken);
  EXPECT_EQ(taken->bytes, 1000);
  const auto computed = Order({"chat", "desk", 7, 1000, 20});
  ASSERT_TRUE(computed.ok());
  EXPECT_FALSE(computed->taken);
  EXPECT_EQ(computed->why, "computing takes less");
  EXPECT_EQ(Order({"chat", "nobody", 7, 1000, 20}).status().code(), Code::kNotFound);
  EXPECT_EQ(Order({"chat", "-", 7, 1000, 20}).status().code(), Code::kInvalidArgument);
}

TEST(StateHostTest, OneWithoutStatesSaysSo) {
  class PlainHost final : public NodeHost {
   public:
    bool IsOfCluster(std::string_view /*node*/) const override { return true; }
    NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override { return {}; }
    void OnFigures(const NodeFigures& /*theirs*/) override {}
    Status SetOwnState(std::string_view /*state*/) override { return Status::Ok(); }
    Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view, std::string_view) override {
      return NotFound("no model");
    }
    Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view) override {
      return NotFound("no model");
    }
  };
  PlainHost host;
  Status read, take;
  host.ReadState({"chat", 7, kBinding}, [&](const Result<BoundState>& s) { read = s.status(); });
  host.TakeState({"chat", "desk", 7, 1, 1},
                 [&](const Result<StateTaken>& s) { take = s.status(); });
  EXPECT_EQ(read.code(), Code::kUnsupported);
  EXPECT_EQ(take.code(), Code::kUnsupported);
}

}  // namespace
}  // namespace evenkeel
