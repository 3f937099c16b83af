// An etcd of three members: one may die, two may not.
#include <gtest/gtest.h>

#include <array>

#include "cluster/etcd/etcd_arena.h"
#include "cluster/membership_contract.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

class EtcdClusterTest : public testing::Test {
 protected:
  static constexpr size_t kMembers = 3;

  EtcdClusterTest() : loop_(IoLoop::Create("test-loop").value()) {
    loop_->Start();
    std::vector<EtcdMember> members;
    for (size_t i = 0; i < kMembers; ++i) {
      EtcdProcessOptions& options = options_[i];
      options.name = "m" + std::to_string(i);
      options.data = folder_ / options.name;
      options.token = "three";
      options.client_port = FreePort();
      options.peer_port = FreePort();
      members.push_back({options.name, EtcdPeerUrl(options)});
    }
    for (size_t i = 0; i < kMembers; ++i) {
      options_[i].members = members;
      Start(i);
    }
  }
  ~EtcdClusterTest() override {
    OnLoop([this] {
      membership_.reset();
      for (auto& process : processes_) process.reset();
    });
    loop_->Stop();
    loop_->Join();
  }

  void OnLoop(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  void Start(size_t member) {
    OnLoop([&] {
      auto started = EtcdProcess::Start(options_[member], *loop_, SteadyClock::Instance());
      ASSERT_TRUE(started.ok()) << started.status().ToString();
      processes_[member] = std::move(*started);
    });
  }
  void Kill(size_t member) {
    OnLoop([&] { processes_[member].reset(); });
  }
  bool Eventually(const std::function<bool()>& condition) {
    const Time end = SteadyClock::Instance().Now() + 40s;
    while (!condition()) {
      if (SteadyClock::Instance().Now() > end) return false;
      std::this_thread::sleep_for(10ms);
    }
    return true;
  }
  Result<PlanStamp> Publish(const std::string& text) {
    std::promise<Result<PlanStamp>> answer;
    OnLoop([&] {
      StoredPlan plan;
      plan.plan = text;
      if (const auto leader = membership_->View()->leader) plan.stamp.term = leader->term;
      membership_->Publish(std::move(plan),
                           [&](Result<PlanStamp> result) { answer.set_value(result); });
    });
    return answer.get_future().get();
  }
  std::shared_ptr<const ClusterView> View() const { return membership_->View(); }

  ScratchFolder folder_;
  std::unique_ptr<IoLoop> loop_;
  std::array<EtcdProcessOptions, kMembers> options_;
  std::array<std::unique_ptr<EtcdProcess>, kMembers> processes_;
  std::unique_ptr<StoreMembership> membership_;
};

TEST_F(EtcdClusterTest, OneMemberMayDieAndWithoutTwoEverythingStaysAsItIs) {
  OnLoop([this] {
    EtcdStoreOptions options;
    for (const EtcdProcessOptions& member : options_)
      options.endpoints.push_back(EtcdEndpoint(member));
    options.credentials = grpc::InsecureChannelCredentials();
    auto store = MakeEtcdStore(options, *loop_);
    ASSERT_TRUE(store.ok());
    StoreMembershipOptions how;
    how.cluster = "three";
    membership_ =
        std::make_unique<StoreMembership>(how, std::move(*store), *loop_, SteadyClock::Instance());
    ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
    membership_->Campaign(true);
  });
  ASSERT_TRUE(Eventually([this] { return View()->leading; })) << View()->trouble;
  ASSERT_TRUE(Eventually([this] { return Publish("one").ok(); })) << View()->trouble;
  ASSERT_TRUE(Eventually([this] { return View()->plan != nullptr; }));
  const Term term = View()->leader->term;

  Kill(0);  // the one that was spoken to
  ASSERT_TRUE(Eventually([this] { return Publish("two").ok(); })) << View()->trouble;
  ASSERT_TRUE(Eventually([this] { return View()->plan->plan == "two"; }));
  EXPECT_EQ(View()->leader->term, term);  // the lease went on

  Kill(1);
  ASSERT_TRUE(Eventually([this] { return !View()->connected; }));
  EXPECT_EQ(Publish("no").status().code(), Code::kUnavailable);
  EXPECT_EQ(View()->plan->plan, "two");
  EXPECT_EQ(View()->nodes.size(), 1U);

  Start(0);
  Start(1);
  ASSERT_TRUE(Eventually([this] { return View()->leading; })) << View()->trouble;
  EXPECT_EQ(View()->history, 0);
  ASSERT_TRUE(Eventually([this] { return Publish("three").ok(); })) << View()->trouble;
  EXPECT_TRUE(Eventually([this] { return View()->plan->plan == "three"; }));
}

}  // namespace
}  // namespace evenkeel
