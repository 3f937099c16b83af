// What every KvStore must do, as tests over an arena: MemoryStore's, and etcd's with a real process. Also the arena that membership's contract uses.
//
// Use: INSTANTIATE_TYPED_TEST_SUITE_P(Memory, KvStoreContract, MemoryArena).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/kv_store.h"
#include "core/clock.h"
#include "core/event_loop.h"

namespace evenkeel {

// A store with its faults, and the time that passes there.
class StoreArena {
 public:
  virtual ~StoreArena() = default;

  virtual EventLoop& loop() = 0;
  virtual const Clock& clock() = 0;
  virtual Duration ttl() const = 0;  // of leases in tests
  // A node's end. REQUIRES: on the loop.
  virtual std::unique_ptr<KvStore> Connect(const std::string& node) = 0;
  // Runs `task` on the loop and waits for it.
  virtual void OnLoop(std::function<void()> task) = 0;
  // Until it holds, for so long at most. `condition` runs on the test's thread.
  virtual bool Eventually(const std::function<bool()>& condition, Duration within) = 0;
  virtual void Pass(Duration time) = 0;

  virtual void Cut(const std::string& node) = 0;
  virtual void Heal(const std::string& node) = 0;
  virtual void Slow(const std::string& node, Duration by) = 0;
  virtual void Stall(Duration by) = 0;
  virtual void KillAndStart() = 0;
  virtual void Compact() = 0;
  virtual void EndLeases(const std::string& key_suffix) = 0;
  // Save() keeps a backup, Restore() puts the store back to it.
  virtual void Save() = 0;
  virtual void Restore() = 0;
};

template <typename Arena>
class KvStoreContract : public testing::Test {
 protected:
  void SetUp() override {
    arena_.OnLoop([this] { store_ = arena_.Connect("a"); });
  }
  void TearDown() override {
    arena_.OnLoop([this] { store_.reset(); });
  }

  // What `start` is answered. `start(store, done)`.
  template <typename T>
  Result<T> Ask(const std::function<void(KvStore&, KvStore::Done<T>)>& start) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    auto here = std::make_shared<std::atomic<bool>>(false);
    arena_.OnLoop([&] {
      start(*store_, [answer, here](Result<T> result) {
        EXPECT_FALSE(answer->has_value()) << "answered twice";
        *answer = std::move(result);
        here->store(true);
      });
      EXPECT_FALSE(answer->has_value()) << "answered within the call";
    });
    if (!arena_.Eventually([&] { return here->load(); }, std::chrono::seconds(20)))
      return Status(Code::kInternal, "never answered");
    return **answer;
  }

  Result<KvSnapshot> Read(const std::string& prefix) {
    return Ask<KvSnapshot>([&](KvStore& store, auto done) { store.Read(prefix, std::move(done)); });
  }
  Result<KvCommitted> Commit(const KvTransaction& transaction) {
    return Ask<KvCommitted>(
        [&](KvStore& store, auto done) { store.Commit(transaction, std::move(done)); });
  }
  Result<KvCommitted> Put(const std::string& key, const std::string& value, int64_t lease = 0) {
    return Commit({{}, {{key, value, lease}}, {}});
  }
  Result<KvLease> Grant(Duration ttl) {
    return Ask<KvLease>([&](KvStore& store, auto done) { store.Grant(ttl, std::move(done)); });
  }
  Result<Duration> Refresh(int64_t lease) {
    return Ask<Duration>([&](KvStore& store, auto done) { store.Refresh(lease, std::move(done)); });
  }
  Result<bool> Revoke(int64_t lease) {
    return Ask<bool>([&](KvStore& store, auto done) { store.Revoke(lease, std::move(done)); });
  }

  // What a watch told; read on the loop.
  struct Seen {
    std::unique_ptr<KvWatch> watch;
    std::vector<KeyValue> keys;
    std::vector<int64_t> revisions;
    std::optional<bool> ended;  // compacted
    std::string why;
  };
  std::shared_ptr<Seen> Watch(const std::string& prefix, int64_t from) {
    auto seen = std::make_shared<Seen>();
    arena_.OnLoop([&] {
      KvWatchEvents events;
      events.changes = [seen = seen.get()](KvChanges changes) {
        seen->revisions.push_back(changes.revision);
        for (KeyValue& key : changes.keys) seen->keys.push_back(std::move(key));
      };
      events.ended = [seen = seen.get()](const Status& why, bool compacted) {
        seen->ended = compacted;
        seen->why = why.message();
      };
      seen->watch = store_->Watch(prefix, from, std::move(events));
    });
    return seen;
  }
  bool Sees(const std::shared_ptr<Seen>& seen, const std::function<bool(const Seen&)>& condition) {
    return arena_.Eventually(
        [&] {
          bool holds = false;
          arena_.OnLoop([&] { holds = condition(*seen); });
          return holds;
        },
        std::chrono::seconds(20));
  }
  void EndWatch(const std::shared_ptr<Seen>& seen) {
    arena_.OnLoop([&] { seen->watch.reset(); });
  }

  Arena arena_;
  std::unique_ptr<KvStore> store_;
};

TYPED_TEST_SUITE_P(KvStoreContract);

TYPED_TEST_P(KvStoreContract, ReadsOnlyThePrefixInOrder) {
  for (const char* const key : {"/x/b", "/x/a", "/x/c/d", "/x", "/y/a", "/x0"})
    ASSERT_TRUE(this->Put(key, std::string("of ") + key).ok());
  const auto read = this->Read("/x/");
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->keys.size(), 3U);
  EXPECT_EQ(read->keys[0].key, "/x/a");
  EXPECT_EQ(read->keys[1].key, "/x/b");
  EXPECT_EQ(read->keys[2].key, "/x/c/d");
  EXPECT_EQ(read->keys[0].value, "of /x/a");
  EXPECT_EQ(read->keys[0].created, read->keys[1].created + 1);  // put in the other order
  EXPECT_GE(read->revision, read->keys[2].modified + 3);
}

TYPED_TEST_P(KvStoreContract, ATransactionHoldsAsAWholeOrNotAtAll) {
  const auto first = this->Put("/x/a", "1");
  ASSERT_TRUE(first.ok());
  const auto second = this->Put("/x/a", "2");
  ASSERT_TRUE(second.ok());
  using Field = KvCondition::Field;
  KvTransaction transaction;
  transaction.conditions = {{"/x/a", Field::kCreated, first->revision},
                            {"/x/a", Field::kModified, second->revision},
                            {"/x/none", Field::kCreated, 0}};
  transaction.puts = {{"/x/b", "3", 0}, {"/x/c", "4", 0}};
  transaction.deletes = {"/x/a"};
  const auto done = this->Commit(transaction);
  ASSERT_TRUE(done.ok()) << done.status().ToString();
  EXPECT_TRUE(done->done);
  const auto read = this->Read("/x/");
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->keys.size(), 2U);
  EXPECT_EQ(read->keys[0].created, done->revision);  // one revision for both
  EXPECT_EQ(read->keys[1].created, done->revision);

  // Any condition that fails keeps all of it from happening.
  for (size_t i = 0; i < 3; ++i) {
    KvTransaction other = transaction;
    other.conditions = {{"/x/b", Field::kCreated, done->revision},
                        {"/x/b", Field::kModified, done->revision},
                        {"/x/a", Field::kModified, 0}};
    other.conditions[i].revision += 1;
    other.puts = {{"/x/d", "5", 0}};
    other.deletes = {"/x/c"};
    const auto refused = this->Commit(other);
    ASSERT_TRUE(refused.ok());
    EXPECT_FALSE(refused->done);
    EXPECT_EQ(refused->revision, done->revision);
  }
  EXPECT_EQ(this->Read("/x/")->keys.size(), 2U);
}

TYPED_TEST_P(KvStoreContract, KeysGoWithTheirLease) {
  const auto lease = this->Grant(this->arena_.ttl());
  ASSERT_TRUE(lease.ok()) << lease.status().ToString();
  EXPECT_GE(lease->ttl, this->arena_.ttl());
  ASSERT_TRUE(this->Put("/x/a", "1", lease->id).ok());
  ASSERT_TRUE(this->Put("/x/b", "1").ok());
  EXPECT_EQ(this->Read("/x/")->keys[0].lease, lease->id);
  // Refreshed, it outlives its first time.
  for (int i = 0; i < 4; ++i) {
    this->arena_.Pass(this->arena_.ttl() / 3);
    const auto left = this->Refresh(lease->id);
    ASSERT_TRUE(left.ok()) << left.status().ToString();
    EXPECT_GE(*left, this->arena_.ttl());
  }
  EXPECT_EQ(this->Read("/x/")->keys.size(), 2U);
  EXPECT_TRUE(this->arena_.Eventually([this] { return this->Read("/x/")->keys.size() == 1; },
                                      10 * this->arena_.ttl()));
  EXPECT_EQ(this->Refresh(lease->id).status().code(), Code::kNotFound);
  EXPECT_EQ(this->Put("/x/a", "1", lease->id).status().code(), Code::kNotFound);
}

TYPED_TEST_P(KvStoreContract, ARevokedLeaseTakesItsKeysAtOnce) {
  const auto lease = this->Grant(std::chrono::minutes(10));
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(this->Put("/x/a", "1", lease->id).ok());
  const auto revoked = this->Revoke(lease->id);
  ASSERT_TRUE(revoked.ok()) << revoked.status().ToString();
  EXPECT_TRUE(*revoked);
  EXPECT_TRUE(this->Read("/x/")->keys.empty());
  const auto again = this->Revoke(lease->id);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(*again);
}

TYPED_TEST_P(KvStoreContract, AWatchSeesEachChangeInOrder) {
  const auto before = this->Put("/x/a", "1");
  ASSERT_TRUE(before.ok());
  const auto seen = this->Watch("/x/", before->revision + 1);
  std::vector<int64_t> revisions;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(this->Put("/y/other", "no").ok());
    revisions.push_back(this->Put("/x/k" + std::to_string(i % 2), std::to_string(i))->revision);
  }
  revisions.push_back(this->Commit({{}, {}, {"/x/a"}})->revision);
  ASSERT_TRUE(this->Sees(seen, [](const auto& s) { return s.keys.size() >= 6; }));
  this->arena_.OnLoop([&] {
    ASSERT_EQ(seen->keys.size(), 6U);
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(seen->keys[i].modified, revisions[i]);
    EXPECT_EQ(seen->keys[2].value, "2");
    EXPECT_EQ(seen->keys[2].created, revisions[0]);
    EXPECT_EQ(seen->keys[5].key, "/x/a");
    EXPECT_EQ(seen->keys[5].created, 0);
    EXPECT_TRUE(std::is_sorted(seen->revisions.begin(), seen->revisions.end()));
    EXPECT_FALSE(seen->ended.has_value()) << seen->why;
  });
  this->EndWatch(seen);
  ASSERT_TRUE(this->Put("/x/a", "2").ok());
  this->arena_.Pass(std::chrono::milliseconds(50));
  this->arena_.OnLoop([&] { EXPECT_EQ(seen->keys.size(), 6U); });
}

TYPED_TEST_P(KvStoreContract, AWatchFromAnOldRevisionGetsWhatHappenedSince) {
  const auto first = this->Put("/x/a", "1");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(this->Put("/x/a", "2").ok());
  const auto seen = this->Watch("/x/", first->revision);
  EXPECT_TRUE(this->Sees(seen, [](const auto& s) { return s.keys.size() == 2; }));
  this->EndWatch(seen);
}

TYPED_TEST_P(KvStoreContract, AWatchFromBeforeACompactionIsTold) {
  const auto first = this->Put("/x/a", "1");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(this->Put("/x/a", "2").ok());
  this->arena_.Compact();
  const auto seen = this->Watch("/x/", first->revision);
  ASSERT_TRUE(this->Sees(seen, [](const auto& s) { return s.ended.has_value(); }));
  this->arena_.OnLoop([&] {
    EXPECT_TRUE(*seen->ended);
    EXPECT_TRUE(seen->keys.empty());
  });
  this->EndWatch(seen);
  // What is kept can still be watched.
  const auto read = this->Read("/x/");
  const auto later = this->Watch("/x/", read->revision + 1);
  ASSERT_TRUE(this->Put("/x/b", "3").ok());
  EXPECT_TRUE(this->Sees(later, [](const auto& s) { return s.keys.size() == 1; }));
  this->EndWatch(later);
}

TYPED_TEST_P(KvStoreContract, WhoIsCutOffIsToldInTime) {
  ASSERT_TRUE(this->Put("/x/a", "1").ok());
  this->arena_.Cut("a");
  EXPECT_EQ(this->Read("/x/").status().code(), Code::kUnavailable);
  EXPECT_EQ(this->Put("/x/a", "2").status().code(), Code::kUnavailable);
  this->arena_.Heal("a");
  EXPECT_TRUE(
      this->arena_.Eventually([this] { return this->Read("/x/").ok(); }, std::chrono::seconds(20)));
}

REGISTER_TYPED_TEST_SUITE_P(KvStoreContract, ReadsOnlyThePrefixInOrder,
                            ATransactionHoldsAsAWholeOrNotAtAll, KeysGoWithTheirLease,
                            ARevokedLeaseTakesItsKeysAtOnce, AWatchSeesEachChangeInOrder,
                            AWatchFromAnOldRevisionGetsWhatHappenedSince,
                            AWatchFromBeforeACompactionIsTold, WhoIsCutOffIsToldInTime);

}  // namespace evenkeel
