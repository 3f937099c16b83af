// What StoreMembership must do over any store, as tests over a StoreArena (kv_store_contract.h): the same scenarios in memory, where time is the test's, and
// over a real etcd, where it is not.
//
// Use: INSTANTIATE_TYPED_TEST_SUITE_P(Memory, MembershipContract, MemoryArena).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/kv_store_contract.h"
#include "cluster/plan_fence.h"
#include "cluster/store_membership.h"

namespace evenkeel {

inline NodeRecord TestRecord(const std::string& id) {
  NodeRecord record;
  record.id = id;
  record.name = "node-" + id;
  record.addresses = {"127.0.0.1:7000"};
  record.fingerprint = "4 cores, 8 GiB";
  record.version = "0.1.0";
  record.started_unix_s = 1'700'000'000;
  record.incarnation = RandomId();
  return record;
}

// One node of a test. All that it is shown is held to what must always be so.
class TestNode {
 public:
  TestNode(StoreArena& arena, std::string id, std::shared_ptr<const StoredPlan> last_plan = nullptr,
           std::string link = "")
      : arena_(arena),
        record_(TestRecord(id)),
        fence_(last_plan != nullptr ? last_plan->stamp : PlanStamp{}) {
    StoreMembershipOptions options;
    options.cluster = "test";
    options.ttl = arena.ttl();
    options.last_plan = std::move(last_plan);
    options.on_change = [this] { OnChange(); };
    arena_.OnLoop([&] {
      membership_ = std::make_unique<StoreMembership>(
          options, arena_.Connect(link.empty() ? id : link), arena_.loop(), arena_.clock());
    });
  }
  ~TestNode() { Crash(); }
  TestNode(const TestNode&) = delete;
  TestNode& operator=(const TestNode&) = delete;

  // Gone without a word.
  void Crash() {
    arena_.OnLoop([this] { membership_.reset(); });
  }
  bool there() const { return membership_ != nullptr; }

  Status Join() {
    Status status;
    arena_.OnLoop([&] { status = membership_->Join(record_); });
    return status;
  }
  void Leave() {
    arena_.OnLoop([this] { membership_->Leave([] {}); });
  }
  void Campaign(bool wanted) {
    arena_.OnLoop([&] { membership_->Campaign(wanted); });
  }
  std::shared_ptr<const ClusterView> View() const { return membership_->View(); }

  // A plan of the leader that this node knows of.
  Result<PlanStamp> Publish(const std::string& text) {
    const auto leader = View()->leader;
    return Publish(text, leader ? leader->term : Term{});
  }
  Result<PlanStamp> Publish(const std::string& text, const Term& term) {
    auto answer = std::make_shared<std::optional<Result<PlanStamp>>>();
    auto here = std::make_shared<std::atomic<bool>>(false);
    arena_.OnLoop([&] {
      StoredPlan plan;
      plan.stamp.term = term;
      plan.plan = text;
      membership_->Publish(std::move(plan), [answer, here](Result<PlanStamp> result) {
        *answer = std::move(result);
        here->store(true);
      });
      EXPECT_FALSE(answer->has_value()) << "answered within the call";
    });
    if (!arena_.Eventually([&] { return here->load(); }, std::chrono::seconds(20)))
      return Status(Code::kInternal, "never answered");
    return **answer;
  }

  Status SetRemoved(const std::string& node, bool removed) {
    auto answer = std::make_shared<Status>();
    auto here = std::make_shared<std::atomic<bool>>(false);
    arena_.OnLoop([&] {
      membership_->SetRemoved(node, removed, [answer, here](const Status& status) {
        *answer = status;
        here->store(true);
      });
    });
    if (!arena_.Eventually([&] { return here->load(); }, std::chrono::seconds(20)))
      return Status(Code::kInternal, "never answered");
    return *answer;
  }

  bool Knows(const std::vector<std::string>& ids) const {
    const auto view = View();
    std::vector<std::string> known;
    for (const NodeRecord& node : view->nodes) known.push_back(node.id);
    return view->connected && known == ids;
  }
  bool Leads() const { return View()->leading; }
  bool HasPlan(const std::string& text) const {
    const auto view = View();
    return view->plan != nullptr && view->plan->plan == text;
  }

  NodeRecord& record() { return record_; }
  const std::string& id() const { return record_.id; }

 private:
  void OnChange() {
    const auto view = membership_->View();
    EXPECT_GT(view->serial, serial_);
    serial_ = view->serial;
    EXPECT_FALSE(view->leading && !view->connected);
    EXPECT_TRUE(std::ranges::is_sorted(view->nodes, {}, &NodeRecord::id));
    if (view->plan == nullptr) return;
    const auto newer = fence_.Offer(view->plan->stamp);
    EXPECT_TRUE(newer.ok()) << id() << ": " << newer.status().message();
  }

  StoreArena& arena_;
  NodeRecord record_;
  PlanFence fence_;  // on the loop
  uint64_t serial_ = 0;
  std::unique_ptr<StoreMembership> membership_;
};

template <typename Arena>
class MembershipContract : public testing::Test {
 protected:
  static constexpr Duration kLong = std::chrono::seconds(30);

  bool Eventually(const std::function<bool()>& condition, Duration within = kLong) {
    return arena_.Eventually(condition, within);
  }
  // Two nodes that know each other.
  void TwoNodes() {
    a_ = std::make_unique<TestNode>(arena_, "a");
    b_ = std::make_unique<TestNode>(arena_, "b");
    ASSERT_TRUE(a_->Join().ok());
    ASSERT_TRUE(b_->Join().ok());
    ASSERT_TRUE(Eventually([this] {
      return a_->Knows({"a", "b"}) && b_->Knows({"a", "b"});
    })) << a_->View()->trouble
        << b_->View()->trouble;
    EXPECT_TRUE(a_->View()->joined);
  }
  // Both campaign, `a` leads, both know it.
  void TwoNodesAndALeader() {
    TwoNodes();
    a_->Campaign(true);
    ASSERT_TRUE(Eventually([this] { return a_->Leads() && b_->View()->leader.has_value(); }));
    b_->Campaign(true);
  }

  Arena arena_;
  std::unique_ptr<TestNode> a_, b_;
};

TYPED_TEST_SUITE_P(MembershipContract);

TYPED_TEST_P(MembershipContract, WhoJoinsIsSeenAndWhoLeavesIsGoneAtOnce) {
  this->TwoNodes();
  const auto view = this->a_->View();
  EXPECT_EQ(view->nodes[0], this->a_->record());
  EXPECT_EQ(view->nodes[1], this->b_->record());
  EXPECT_EQ(view->history, 0);
  EXPECT_FALSE(view->leader.has_value());
  EXPECT_EQ(view->plan, nullptr);
  EXPECT_EQ(view->trouble, "");
  this->b_->Leave();
  // A lease that is refreshed at each third has two thirds left: it can't have lapsed by then.
  EXPECT_TRUE(
      this->Eventually([this] { return this->a_->Knows({"a"}); }, this->arena_.ttl() * 3 / 5));
  EXPECT_FALSE(this->b_->View()->joined);
  EXPECT_TRUE(this->b_->View()->connected);
  // And comes back.
  ASSERT_TRUE(this->b_->Join().ok());
  EXPECT_TRUE(this->Eventually([this] { return this->a_->Knows({"a", "b"}); }));
}

TYPED_TEST_P(MembershipContract, ARecordIsReplaced) {
  this->TwoNodes();
  this->b_->record().fingerprint = "8 cores, 8 GiB";
  ASSERT_TRUE(this->b_->Join().ok());
  EXPECT_TRUE(this->Eventually([this] {
    const auto view = this->a_->View();
    return view->nodes.size() == 2 && view->nodes[1].fingerprint == "8 cores, 8 GiB";
  }));
  this->b_->record().id = "c";
  EXPECT_EQ(this->b_->Join().code(), Code::kInvalidArgument);
}

TYPED_TEST_P(MembershipContract, WhoIsRemovedIsSeenByNobodyUntilItMayComeAgain) {
  this->TwoNodes();
  ASSERT_TRUE(this->a_->SetRemoved("b", true).ok());
  EXPECT_TRUE(this->Eventually([this] {
    return this->a_->Knows({"a"}) && this->b_->Knows({"a"}) &&
           this->b_->View()->removed == std::vector<std::string>{"b"};
  }));
  EXPECT_EQ(this->a_->SetRemoved("a", true).code(), Code::kInvalidArgument);
  EXPECT_EQ(this->a_->SetRemoved("A B", true).code(), Code::kInvalidArgument);
  ASSERT_TRUE(this->b_->SetRemoved("b", false).ok());
  EXPECT_TRUE(this->Eventually([this] { return this->a_->Knows({"a", "b"}); }));
  EXPECT_TRUE(this->a_->View()->removed.empty());
}

TYPED_TEST_P(MembershipContract, ALeaseLapsesInItsTimeAndNotBefore) {
  this->TwoNodes();
  this->arena_.Pass(2 * this->arena_.ttl());  // refreshed meanwhile
  EXPECT_TRUE(this->a_->Knows({"a", "b"}));
  this->b_->Crash();
  const Time crashed = this->arena_.clock().Now();
  this->arena_.Pass(this->arena_.ttl() / 3);
  const bool there = this->a_->Knows({"a", "b"});
  // A machine that took longer may have let it lapse rightly.
  if (this->arena_.clock().Now() - crashed < this->arena_.ttl() / 2) {
    EXPECT_TRUE(there);
  }
  EXPECT_TRUE(this->Eventually([this] { return this->a_->Knows({"a"}); }));
  EXPECT_TRUE(this->a_->View()->joined);
}

TYPED_TEST_P(MembershipContract, ALapsedLeaseIsReplaced) {
  this->TwoNodes();
  this->arena_.EndLeases("nodes/b");
  ASSERT_TRUE(this->Eventually([this] { return this->a_->Knows({"a"}); }));
  EXPECT_TRUE(this->Eventually([this] { return this->a_->Knows({"a", "b"}); }));
}

TYPED_TEST_P(MembershipContract, OneLeadsAndAnotherFollowsUnderAGreaterTerm) {
  this->TwoNodesAndALeader();
  this->arena_.Pass(this->arena_.ttl());
  EXPECT_TRUE(this->a_->Leads());
  EXPECT_FALSE(this->b_->Leads());
  const auto first = this->a_->View()->leader;
  EXPECT_EQ(this->b_->View()->leader, first);
  EXPECT_EQ(first->node, "a");
  this->a_->Campaign(false);
  ASSERT_TRUE(this->Eventually([this] {
    return this->b_->Leads() && !this->a_->Leads() && this->a_->View()->leader->node == "b";
  }));
  EXPECT_GT(this->b_->View()->leader->term, first->term);
  EXPECT_TRUE(this->a_->View()->joined);
}

TYPED_TEST_P(MembershipContract, PlansReachEveryNodeInTheirOrder) {
  this->TwoNodesAndALeader();
  PlanStamp last;
  for (const std::string text : {"{\"plan\":1}", "{\"plan\":2}", "\xc3\xa4 \" \\ \n"}) {
    const auto stamp = this->a_->Publish(text);
    ASSERT_TRUE(stamp.ok()) << stamp.status().ToString();
    EXPECT_GT(*stamp, last);
    last = *stamp;
    ASSERT_TRUE(
        this->Eventually([&] { return this->a_->HasPlan(text) && this->b_->HasPlan(text); }));
    const auto plan = this->b_->View()->plan;
    EXPECT_EQ(plan->stamp, *stamp);
    EXPECT_EQ(plan->stamp.term, this->a_->View()->leader->term);
    EXPECT_EQ(plan->made_by, "a");
    EXPECT_EQ(plan->cluster, "test");
  }
  // A node that comes later has the last one.
  TestNode late(this->arena_, "late");
  EXPECT_TRUE(this->Eventually([&] { return late.HasPlan("\xc3\xa4 \" \\ \n"); }));
  EXPECT_FALSE(late.View()->joined);
}

TYPED_TEST_P(MembershipContract, OnlyTheLeaderStoresPlansAndOnlyUnderItsTerm) {
  this->TwoNodesAndALeader();
  EXPECT_EQ(this->b_->Publish("no").status().code(), Code::kConflict);
  Term term = this->a_->View()->leader->term;
  ++term.revision;
  EXPECT_EQ(this->a_->Publish("no", term).status().code(), Code::kConflict);
  EXPECT_EQ(this->a_->Publish(std::string(kMostStoredPlanBytes, 'x')).status().code(),
            Code::kTooLarge);
  EXPECT_EQ(this->a_->Publish("\xff").status().code(), Code::kInvalidArgument);
  ASSERT_TRUE(this->a_->Publish(std::string(kMostStoredPlanBytes - 1000, 'x')).ok());
  EXPECT_TRUE(this->Eventually([this] { return this->b_->View()->plan != nullptr; }));
  EXPECT_EQ(this->b_->View()->plan->plan.size(), kMostStoredPlanBytes - 1000);
}

TYPED_TEST_P(MembershipContract, AnOldLeadersPlanIsRefusedByTheStoreAndByTheFence) {
  this->TwoNodesAndALeader();
  ASSERT_TRUE(this->a_->Publish("first").ok());
  ASSERT_TRUE(this->Eventually([this] { return this->b_->HasPlan("first"); }));
  const Term old = this->a_->View()->leader->term;
  // What happens reaches the old leader late: it still believes when it publishes.
  this->arena_.Slow("a", std::chrono::milliseconds(800));
  const Time ended = this->arena_.clock().Now();
  this->arena_.EndLeases("nodes/a");
  const bool believes = this->a_->Leads();
  // A machine that took longer has let it hear; in memory no time passes.
  if (this->arena_.clock().Now() - ended < std::chrono::milliseconds(800)) {
    ASSERT_TRUE(believes);
  }
  const auto refused = this->a_->Publish("from the past", old);
  EXPECT_EQ(refused.status().code(), Code::kConflict) << refused.status().ToString();
  ASSERT_TRUE(this->Eventually([this] { return this->b_->Leads(); }));
  const auto stamp = this->b_->Publish("second");
  ASSERT_TRUE(stamp.ok()) << stamp.status().ToString();
  EXPECT_GT(stamp->term, old);
  ASSERT_TRUE(this->Eventually([this] { return this->b_->HasPlan("second"); }));
  this->arena_.Slow("a", {});
  EXPECT_TRUE(
      this->Eventually([this] { return this->a_->HasPlan("second") && !this->a_->Leads(); }));
  // Had it been stored, a node would not take it, whatever its revision.
  PlanFence fence(*stamp);
  EXPECT_EQ(fence.Offer({old, stamp->revision + 1000}).status().code(), Code::kConflict);
}

TYPED_TEST_P(MembershipContract, WithoutAStoreTheLastViewHoldsAndNothingCanBeChanged) {
  this->TwoNodesAndALeader();
  ASSERT_TRUE(this->a_->Publish("kept").ok());
  ASSERT_TRUE(this->Eventually([this] { return this->b_->HasPlan("kept"); }));
  this->arena_.Cut("a");
  ASSERT_TRUE(this->Eventually([this] { return !this->a_->View()->connected; }));
  const auto view = this->a_->View();
  EXPECT_EQ(view->nodes.size(), 2U);  // nobody is concluded to be gone
  EXPECT_TRUE(this->a_->HasPlan("kept"));
  EXPECT_FALSE(view->leading);
  EXPECT_NE(view->trouble.find("cannot be reached"), std::string::npos) << view->trouble;
  EXPECT_EQ(this->a_->Publish("no").status().code(), Code::kUnavailable);
  ASSERT_TRUE(this->Eventually([this] { return this->b_->Knows({"b"}) && this->b_->Leads(); }));
  ASSERT_TRUE(this->b_->Publish("newer").ok());
  EXPECT_EQ(this->a_->View()->nodes.size(), 2U);
  EXPECT_TRUE(this->a_->HasPlan("kept"));
  this->arena_.Heal("a");
  EXPECT_TRUE(this->Eventually([this] {
    return this->a_->Knows({"a", "b"}) && this->a_->HasPlan("newer") && this->a_->View()->joined;
  })) << this->a_->View()->trouble;
  EXPECT_EQ(this->a_->View()->leader->node, "b");
  EXPECT_EQ(this->a_->View()->trouble, "");
}

// Without a lease nothing is refreshed: only the watch can tell.
TYPED_TEST_P(MembershipContract, WhoOnlyLooksOnNoticesALostStoreToo) {
  this->TwoNodes();
  TestNode looker(this->arena_, "looker");
  ASSERT_TRUE(this->Eventually([&] { return looker.Knows({"a", "b"}); }));
  this->arena_.Cut("looker");
  ASSERT_TRUE(this->Eventually([&] { return !looker.View()->connected; }));
  this->b_->Leave();
  this->arena_.Heal("looker");
  EXPECT_TRUE(this->Eventually([&] { return looker.Knows({"a"}); }));
}

TYPED_TEST_P(MembershipContract, ALeaderThatIsCutOffStopsBeforeAnotherLeads) {
  this->TwoNodesAndALeader();
  this->arena_.Cut("a");
  bool both = false;
  ASSERT_TRUE(this->Eventually([&] {
    const bool b = this->b_->Leads();  // first: `a` had to stop before
    both = both || (b && this->a_->Leads());
    return b;
  }));
  EXPECT_FALSE(both);
  EXPECT_FALSE(this->a_->Leads());
}

TYPED_TEST_P(MembershipContract, WhatWasCompactedMeanwhileIsReadAnew) {
  this->TwoNodesAndALeader();
  this->arena_.Cut("b");
  TestNode c(this->arena_, "c");
  ASSERT_TRUE(c.Join().ok());
  ASSERT_TRUE(this->a_->Publish("one").ok());
  ASSERT_TRUE(this->a_->Publish("two").ok());
  ASSERT_TRUE(this->Eventually([&] { return this->a_->HasPlan("two") && c.HasPlan("two"); }));
  this->arena_.Compact();
  this->arena_.Heal("b");
  EXPECT_TRUE(this->Eventually([this] {
    return this->b_->Knows({"a", "b", "c"}) && this->b_->HasPlan("two") && this->b_->View()->joined;
  }));
}

TYPED_TEST_P(MembershipContract, AfterARestoredBackupPlansWaitForANewTerm) {
  this->TwoNodesAndALeader();
  ASSERT_TRUE(this->a_->Publish("saved").ok());
  this->arena_.Save();
  ASSERT_TRUE(this->Eventually([this] { return this->a_->Leads() || this->b_->Leads(); }));
  const auto leader = [this]() -> TestNode& { return this->a_->Leads() ? *this->a_ : *this->b_; };
  Result<PlanStamp> last = PlanStamp{};
  for (const std::string text : {"lost 1", "lost 2", "lost 3"}) {
    ASSERT_TRUE(this->Eventually([&] {
      last = leader().Publish(text);
      return last.ok();
    })) << last.status().ToString();
  }
  ASSERT_TRUE(this->Eventually(
      [this] { return this->a_->HasPlan("lost 3") && this->b_->HasPlan("lost 3"); }));
  this->arena_.Restore();
  // Noticed and said; who noticed counts the history up, and then somebody leads anew.
  ASSERT_TRUE(this->Eventually([this] {
    return this->a_->View()->history == 1 && this->b_->View()->history == 1 &&
           (this->a_->Leads() || this->b_->Leads());
  })) << this->a_->View()->trouble
      << this->b_->View()->trouble;
  EXPECT_TRUE(this->a_->HasPlan("lost 3"));  // not what the backup says
  EXPECT_TRUE(this->b_->HasPlan("lost 3"));
  EXPECT_NE(this->a_->View()->trouble.find("put back to an older state"), std::string::npos)
      << this->a_->View()->trouble;
  EXPECT_EQ(leader().View()->leader->term.history, 1);
  EXPECT_EQ(leader().Publish("no", last->term).status().code(), Code::kConflict);
  const auto stamp = leader().Publish("new");
  ASSERT_TRUE(stamp.ok()) << stamp.status().ToString();
  EXPECT_GT(*stamp, *last);
  EXPECT_TRUE(
      this->Eventually([this] { return this->a_->HasPlan("new") && this->b_->HasPlan("new"); }));
  EXPECT_EQ(this->a_->View()->trouble, "");
  EXPECT_TRUE(this->Eventually([this] {
    return this->a_->Knows({"a", "b"}) && this->b_->Knows({"a", "b"});
  }));
}

TYPED_TEST_P(MembershipContract, AnEmptiedStoreIsNoticedByThePlanOnDisk) {
  auto plan = std::make_shared<StoredPlan>();
  plan->cluster = "test";
  plan->stamp = {{2, 1'000'000}, 2'000'000};
  plan->made_by = "z";
  plan->plan = "from disk";
  TestNode a(this->arena_, "a", plan);
  EXPECT_TRUE(a.HasPlan("from disk"));  // before any store was reached
  ASSERT_TRUE(a.Join().ok());
  a.Campaign(true);
  ASSERT_TRUE(this->Eventually([&] { return a.Leads(); })) << a.View()->trouble;
  EXPECT_EQ(a.View()->history, 3);
  EXPECT_TRUE(a.HasPlan("from disk"));
  const auto stamp = a.Publish("new");
  ASSERT_TRUE(stamp.ok()) << stamp.status().ToString();
  EXPECT_GT(*stamp, plan->stamp);
  EXPECT_TRUE(this->Eventually([&] { return a.HasPlan("new"); }));
}

TYPED_TEST_P(MembershipContract, OfTwoProcessesWithOneIdTheEarlierStaysOut) {
  this->TwoNodesAndALeader();
  TestNode second(this->arena_, "a", nullptr, "a2");
  ASSERT_TRUE(second.Join().ok());
  ASSERT_TRUE(this->Eventually([&] { return second.View()->joined && !this->a_->View()->joined; }));
  EXPECT_NE(this->a_->View()->trouble.find("taken over"), std::string::npos)
      << this->a_->View()->trouble;
  EXPECT_TRUE(this->Eventually([this] { return this->b_->Leads(); }));
  this->arena_.Pass(2 * this->arena_.ttl());
  EXPECT_TRUE(second.View()->joined);
  EXPECT_FALSE(this->a_->View()->joined);
  EXPECT_EQ(this->a_->Join().code(), Code::kConflict);
  EXPECT_TRUE(this->b_->Knows({"a", "b"}));
  EXPECT_EQ(this->b_->View()->nodes[0].incarnation, second.record().incarnation);
}

TYPED_TEST_P(MembershipContract, AStoreThatStallsChangesNothingForLong) {
  this->TwoNodesAndALeader();
  ASSERT_TRUE(this->a_->Publish("kept").ok());
  ASSERT_TRUE(this->Eventually([this] { return this->b_->HasPlan("kept"); }));
  this->arena_.Stall(std::chrono::seconds(5));
  this->arena_.Pass(std::chrono::seconds(6));
  ASSERT_TRUE(this->Eventually([this] {
    return this->a_->Knows({"a", "b"}) && this->b_->Knows({"a", "b"}) && this->a_->View()->joined &&
           this->b_->View()->joined && this->a_->Leads() != this->b_->Leads();
  })) << this->a_->View()->trouble;
  EXPECT_TRUE(this->a_->HasPlan("kept"));
  EXPECT_EQ(this->a_->View()->history, 0);
}

TYPED_TEST_P(MembershipContract, AStoreThatIsKilledAndStartedIsTheSameAgain) {
  this->TwoNodesAndALeader();
  ASSERT_TRUE(this->a_->Publish("kept").ok());
  ASSERT_TRUE(this->Eventually([this] { return this->b_->HasPlan("kept"); }));
  this->arena_.KillAndStart();
  ASSERT_TRUE(this->Eventually([this] {
    return this->a_->Knows({"a", "b"}) && this->b_->Knows({"a", "b"}) &&
           this->a_->Leads() != this->b_->Leads();
  })) << this->a_->View()->trouble;
  EXPECT_TRUE(this->a_->HasPlan("kept"));
  EXPECT_EQ(this->a_->View()->history, 0);
  // They may not have noticed yet that it was away.
  ASSERT_TRUE(this->Eventually([this] {
    TestNode& leader = this->a_->Leads() ? *this->a_ : *this->b_;
    return leader.Publish("next").ok();
  })) << this->a_->View()->trouble;
  EXPECT_TRUE(
      this->Eventually([this] { return this->a_->HasPlan("next") && this->b_->HasPlan("next"); }));
}

REGISTER_TYPED_TEST_SUITE_P(
    MembershipContract, WhoJoinsIsSeenAndWhoLeavesIsGoneAtOnce, ARecordIsReplaced,
    WhoIsRemovedIsSeenByNobodyUntilItMayComeAgain, ALeaseLapsesInItsTimeAndNotBefore,
    ALapsedLeaseIsReplaced, OneLeadsAndAnotherFollowsUnderAGreaterTerm,
    PlansReachEveryNodeInTheirOrder, OnlyTheLeaderStoresPlansAndOnlyUnderItsTerm,
    AnOldLeadersPlanIsRefusedByTheStoreAndByTheFence,
    WithoutAStoreTheLastViewHoldsAndNothingCanBeChanged, WhoOnlyLooksOnNoticesALostStoreToo,
    ALeaderThatIsCutOffStopsBeforeAnotherLeads, WhatWasCompactedMeanwhileIsReadAnew,
    AfterARestoredBackupPlansWaitForANewTerm, AnEmptiedStoreIsNoticedByThePlanOnDisk,
    OfTwoProcessesWithOneIdTheEarlierStaysOut, AStoreThatStallsChangesNothingForLong,
    AStoreThatIsKilledAndStartedIsTheSameAgain);

}  // namespace evenkeel
