// A real etcd grows by a learner that becomes a voter, and shrinks again.
#include "cluster/etcd/etcd_members.h"

#include <gtest/gtest.h>

#include "cluster/etcd/etcd_arena.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

class EtcdMembersTest : public testing::Test {
 protected:
  EtcdMembersTest() : loop_(IoLoop::Create("test-loop").value()) {
    loop_->Start();
    first_ = Options("m1");
    OnLoop([this] {
      Start(first_, &one_);
      EtcdClientOptions options;
      *endpoints_ = {EtcdEndpoint(first_)};
      options.changing = endpoints_;
      options.credentials = grpc::InsecureChannelCredentials();
      auto made = MakeEtcdMembers(options, *loop_);
      EK_CHECK(made.ok());
      members_ = std::move(*made);
    });
  }
  ~EtcdMembersTest() override {
    OnLoop([this] {
      members_.reset();
      one_.reset();
      two_.reset();
    });
    loop_->Stop();
    loop_->Join();
  }

  EtcdProcessOptions Options(const std::string& name) const {
    EtcdProcessOptions options;
    options.name = name;
    options.data = folder_ / name;
    options.token = "grows";
    options.client_port = FreePort();
    options.peer_port = FreePort();
    options.heartbeat = 50ms;
    options.election = 500ms;
    return options;
  }
  void Start(const EtcdProcessOptions& options, std::unique_ptr<EtcdProcess>* process) {
    auto started = EtcdProcess::Start(options, *loop_, SteadyClock::Instance());
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    *process = std::move(*started);
  }
  void OnLoop(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  Result<std::vector<StoreMember>> List() {
    std::promise<Result<std::vector<StoreMember>>> answer;
    OnLoop([&] {
      members_->List([&](Result<std::vector<StoreMember>> list) { answer.set_value(list); });
    });
    return answer.get_future().get();
  }
  Status Change(const std::function<void(StoreMembers::Done)>& start) {
    std::promise<Status> answer;
    OnLoop([&] { start([&](const Status& status) { answer.set_value(status); }); });
    return answer.get_future().get();
  }
  bool Eventually(const std::function<bool()>& condition) {
    const Time end = SteadyClock::Instance().Now() + 20s;
    while (!condition()) {
      if (SteadyClock::Instance().Now() > end) return false;
      std::this_thread::sleep_for(50ms);
    }
    return true;
  }

  ScratchFolder folder_;
  std::unique_ptr<IoLoop> loop_;
  EtcdProcessOptions first_;
  const std::shared_ptr<std::vector<std::string>> endpoints_ =
      std::make_shared<std::vector<std::string>>();
  std::unique_ptr<EtcdProcess> one_, two_;
  std::unique_ptr<StoreMembers> members_;
};

TEST_F(EtcdMembersTest, ALearnerIsAddedCatchesUpGetsAVoteAndIsTakenOut) {
  ASSERT_TRUE(Eventually([this] { return List().ok(); }));
  auto list = List();
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ(list->front().name, "m1");
  EXPECT_EQ(list->front().endpoint, EtcdEndpoint(first_));
  EXPECT_EQ(list->front().peer_url, EtcdPeerUrl(first_));
  EXPECT_FALSE(list->front().learner);

  EtcdProcessOptions second = Options("m2");
  const std::string url = EtcdPeerUrl(second);
  const Status added = Change([&](auto done) { members_->AddLearner(url, std::move(done)); });
  ASSERT_TRUE(added.ok()) << added.ToString();
  const auto listed = [&] {
    list = List();
    return list.ok();
  };
  ASSERT_TRUE(Eventually(listed)) << list.status().ToString();
  ASSERT_EQ(list->size(), 2U);
  const auto learner = *std::ranges::find(*list, url, &StoreMember::peer_url);
  EXPECT_TRUE(learner.learner);
  EXPECT_EQ(learner.name, "");
  // It has not even started: no vote is to be had yet, and the other one goes on alone.
  EXPECT_FALSE(Change([&](auto done) { members_->Promote(learner.id, std::move(done)); }).ok());

  second.members = {{"m1", EtcdPeerUrl(first_)}, {"m2", url}};
  second.join_existing = true;
  OnLoop([&] { Start(second, &two_); });
  ASSERT_TRUE(Eventually([&] {
    return Change([&](auto done) { members_->Promote(learner.id, std::move(done)); }).ok();
  }));
  ASSERT_TRUE(Eventually(listed)) << list.status().ToString();
  const auto voter = *std::ranges::find(*list, url, &StoreMember::peer_url);
  EXPECT_FALSE(voter.learner);
  EXPECT_EQ(voter.name, "m2");

  // Clients go where they are told from now on.
  OnLoop([&] { *endpoints_ = {EtcdEndpoint(second), EtcdEndpoint(first_)}; });
  ASSERT_TRUE(Eventually(listed)) << list.status().ToString();
  ASSERT_TRUE(Eventually([&] {
    return Change([&](auto done) { members_->Remove(voter.id, std::move(done)); }).ok();
  }));
  ASSERT_TRUE(Eventually([&] {
    const auto now = List();
    return now.ok() && now->size() == 1;
  }));
}

}  // namespace
}  // namespace evenkeel
