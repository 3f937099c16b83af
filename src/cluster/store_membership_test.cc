// What only a store in memory can show: exact times, and every order of faults.
#include "cluster/store_membership.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "cluster/membership_contract.h"
#include "cluster/memory_arena.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// A store that only counts what it is asked, and answers what the test says.
class CountingStore final : public KvStore {
 public:
  CountingStore(EventLoop& loop, const Clock& clock) : loop_(loop), clock_(clock) {}

  void Read(const std::string&, Done<KvSnapshot> done) override {
    reads.push_back(clock_.Now());
    Later([this, done = std::move(done)] {
      if (!up) return done(Status(Code::kUnavailable, "down"));
      done(snapshot);
    });
  }
  void Commit(KvTransaction transaction, Done<KvCommitted> done) override {
    commits.push_back(transaction);
    ++snapshot.revision;
    KvChanges changes{snapshot.revision, {}};
    for (const auto& put : transaction.puts)
      changes.keys.push_back({put.key, put.value, snapshot.revision, snapshot.revision, put.lease});
    Later([this, done = std::move(done), changes] {
      done(KvCommitted{true, changes.revision});
      events.changes(changes);
    });
  }
  void Grant(Duration asked, Done<KvLease> done) override {
    Later([done = std::move(done), asked] { done(KvLease{77, asked}); });
  }
  void Refresh(int64_t, Done<Duration> done) override {
    refreshes.push_back(clock_.Now());
    if (silent) return;
    Later([this, done = std::move(done)] { done(ttl); });
  }
  void Revoke(int64_t, Done<bool> done) override {
    Later([done = std::move(done)] { done(true); });
  }
  std::unique_ptr<KvWatch> Watch(const std::string&, int64_t from, KvWatchEvents e) override {
    watched_from.push_back(from);
    events = std::move(e);
    return std::make_unique<KvWatch>();
  }

  bool up = true;
  bool silent = false;  // refreshes are not answered
  Duration ttl = 9s;
  KvSnapshot snapshot{5, {}};
  KvWatchEvents events;
  std::vector<Time> reads, refreshes;
  std::vector<int64_t> watched_from;
  std::vector<KvTransaction> commits;

 private:
  void Later(std::function<void()> task) { loop_.Post(std::move(task)); }
  EventLoop& loop_;
  const Clock& clock_;
};

class StoreMembershipTest : public testing::Test {
 protected:
  void Make() {
    auto store = std::make_unique<CountingStore>(loop_, clock_);
    store_ = store.get();
    store_->up = up_;
    StoreMembershipOptions options;
    options.cluster = "test";
    options.ttl = 9s;
    options.on_change = [this] { ++changes_; };
    membership_ = std::make_unique<StoreMembership>(options, std::move(store), loop_, clock_);
    loop_.RunPosted();
  }
  void Pass(Duration time) {
    const Time end = clock_.Now() + time;
    for (Time next = loop_.NextAlarm(); next <= end; next = loop_.NextAlarm()) {
      clock_.Advance(std::max(next - clock_.Now(), Duration{}));
      loop_.RunPosted();
    }
    clock_.Advance(end - clock_.Now());
    loop_.RunPosted();
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  bool up_ = true;
  CountingStore* store_ = nullptr;
  int changes_ = 0;
  std::unique_ptr<StoreMembership> membership_;
};

TEST_F(StoreMembershipTest, WatchesFromTheRevisionAfterTheOneRead) {
  Make();
  EXPECT_EQ(store_->watched_from, std::vector<int64_t>{6});
  EXPECT_TRUE(membership_->View()->connected);
  EXPECT_EQ(membership_->View()->revision, 5);
}

TEST_F(StoreMembershipTest, AStoreThatIsAwayIsTriedAfterPausesThatDouble) {
  up_ = false;
  Make();
  const Time begin = clock_.Now();
  Pass(30s);
  std::vector<int64_t> at_ms;
  for (const Time read : store_->reads)
    at_ms.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(read - begin).count());
  ASSERT_GE(at_ms.size(), 9U);
  const std::vector<int64_t> expected = {0, 100, 300, 700, 1500, 3100, 6300, 11300, 16300};
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), at_ms.begin()))
      << testing::PrintToString(at_ms);
  EXPECT_FALSE(membership_->View()->connected);
  EXPECT_NE(membership_->View()->trouble.find("down"), std::string::npos);
  store_->up = true;
  Pass(6s);
  EXPECT_TRUE(membership_->View()->connected);
}

TEST_F(StoreMembershipTest, ALeaseIsRefreshedAtEachThirdOfItsTimeWithoutJitter) {
  Make();
  const Time begin = clock_.Now();
  ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
  loop_.RunPosted();
  Pass(30s);
  ASSERT_EQ(store_->refreshes.size(), 10U);
  for (size_t i = 0; i < 10; ++i)
    EXPECT_EQ(store_->refreshes[i] - begin, 3s * static_cast<int>(i + 1));
}

TEST_F(StoreMembershipTest, ALeaderWhoseLeaseIsNotRefreshedStopsWhenItMayHaveLapsed) {
  Make();
  ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
  membership_->Campaign(true);
  loop_.RunPosted();
  ASSERT_TRUE(membership_->View()->leading);
  store_->silent = true;
  Pass(8999ms);
  EXPECT_TRUE(membership_->View()->leading);
  const int before = changes_;
  Pass(1ms);
  EXPECT_FALSE(membership_->View()->leading);
  EXPECT_GT(changes_, before);  // and says so
}

TEST_F(StoreMembershipTest, ACompactionUnderTheWatchIsReadAgainWithoutLosingTheView) {
  Make();
  store_->snapshot.revision = 50;
  store_->events.ended(Status(Code::kUnavailable, "compacted"), true);
  EXPECT_TRUE(membership_->View()->connected);
  Pass(200ms);
  EXPECT_EQ(store_->watched_from, (std::vector<int64_t>{6, 51}));
  EXPECT_EQ(membership_->View()->revision, 50);
}

TEST_F(StoreMembershipTest, WhatIsMalformedInTheStoreIsSaidAndIgnored) {
  Make();
  store_->events.changes({6, {{"/evenkeel/test/nodes/x", "{}", 6, 6, 9}}});
  EXPECT_TRUE(membership_->View()->nodes.empty());
  EXPECT_NE(membership_->View()->trouble.find("schema"), std::string::npos)
      << membership_->View()->trouble;
  store_->events.changes({7, {{"/evenkeel/test/plan", "garbage", 7, 7, 0}}});
  EXPECT_EQ(membership_->View()->plan, nullptr);
  EXPECT_NE(membership_->View()->trouble.find("malformed"), std::string::npos);
  store_->events.changes({8, {{"/evenkeel/test/nodes/x", "", 0, 8, 0}}});
  store_->events.changes({9, {{"/evenkeel/test/plan", "", 0, 9, 0}}});
  EXPECT_EQ(membership_->View()->trouble, "");
}

TEST_F(StoreMembershipTest, AViewIsToldOfOnlyWhenItChanged) {
  Make();
  loop_.RunPosted();
  const int before = changes_;
  store_->events.changes({6, {}});
  store_->events.changes({7, {}});
  loop_.RunPosted();
  EXPECT_EQ(changes_, before + 1);  // both at once
  store_->events.changes({7, {}});
  loop_.RunPosted();
  EXPECT_EQ(changes_, before + 1);
}

// Any order of faults: no view ever shows an older plan (TestNode), no two nodes lead at one time, what the store confirmed is in order, and once the
// faults are over everybody agrees.
void RunFaults(bool restores) {
  MemoryArena arena;
  std::map<std::string, std::unique_ptr<TestNode>> nodes;
  const std::vector<std::string> ids = {"a", "b", "c"};
  for (const std::string& id : ids) {
    nodes[id] = std::make_unique<TestNode>(arena, id);
    RC_ASSERT(nodes[id]->Join().ok());
    nodes[id]->Campaign(true);
  }
  const auto leaders = [&] {
    int count = 0;
    for (const auto& [id, node] : nodes) count += node->Leads() ? 1 : 0;
    return count;
  };
  // A lease that an operator ends, or a backup undoes, ends before its holder knows: for that time only the fence keeps plans apart.
  Time certain_from{};
  const auto pass = [&](Duration time) {
    const Time end = arena.clock().Now() + time;
    static_cast<void>(arena.Eventually(
        [&] {
          if (arena.clock().Now() >= certain_from) RC_ASSERT(leaders() <= 1);
          return arena.clock().Now() >= end;
        },
        time));
  };
  PlanStamp last;
  const int steps = *rc::gen::inRange(1, 40);
  for (int i = 0; i < steps; ++i) {
    const std::string id = *rc::gen::elementOf(ids);
    switch (*rc::gen::inRange(0, 12)) {
      case 0: arena.Cut(id); break;
      case 1: arena.Heal(id); break;
      case 2: arena.Slow(id, *rc::gen::inRange(0, 1500) * 1ms); break;
      case 3:
        arena.EndLeases("nodes/" + id);
        certain_from = arena.clock().Now() + arena.ttl();
        break;
      case 4: arena.Compact(); break;
      case 5: arena.Stall(*rc::gen::inRange(0, 15000) * 1ms); break;
      case 6: arena.KillAndStart(); break;
      case 7: nodes[id]->Campaign(*rc::gen::arbitrary<bool>()); break;
      case 8:
        if (restores) arena.Save();
        break;
      case 9:
        if (!restores || !arena.saved()) break;
        arena.Restore();
        certain_from = arena.clock().Now() + arena.ttl();
        break;
      case 10:
        nodes[id] = nullptr;
        nodes[id] = std::make_unique<TestNode>(arena, id);
        RC_ASSERT(nodes[id]->Join().ok());
        nodes[id]->Campaign(true);
        break;
      default:
        for (const auto& [name, node] : nodes) {
          if (!node->Leads()) continue;
          const auto stamp = node->Publish("plan " + std::to_string(i));
          if (!stamp.ok() || restores) break;
          RC_ASSERT(*stamp > last);
          last = *stamp;
          break;
        }
    }
    pass(*rc::gen::inRange(0, 6000) * 1ms);
  }
  for (const std::string& id : ids) {
    arena.Heal(id);
    arena.Slow(id, {});
    nodes[id]->Campaign(true);
  }
  pass(90s);
  RC_ASSERT(leaders() == 1);
  for (const auto& [id, node] : nodes) {
    RC_ASSERT(node->Knows(ids));
    RC_ASSERT(node->View()->joined);
    RC_ASSERT(node->View()->leader == nodes["a"]->View()->leader);
    RC_ASSERT(node->View()->history == nodes["a"]->View()->history);
  }
  for (const auto& [id, node] : nodes) {
    if (!node->Leads()) continue;
    const auto stamp = node->Publish("the end");
    RC_ASSERT(stamp.ok());
    if (!restores) RC_ASSERT(*stamp > last);
    break;
  }
  pass(1s);
  for (const auto& [id, node] : nodes) RC_ASSERT(node->HasPlan("the end"));
}

RC_GTEST_PROP(StoreMembershipProperty, FaultsInAnyOrderLeaveOneLeaderAndPlansInOrder, ()) {
  RunFaults(false);
}

RC_GTEST_PROP(StoreMembershipProperty, SoDoRestoredBackups, ()) { RunFaults(true); }

}  // namespace
}  // namespace evenkeel
