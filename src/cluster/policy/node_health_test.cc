#include "cluster/policy/node_health.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart{1000s};

TEST(NodeHealthTest, ALapsedLeaseAloneOnlySuspects) {
  NodeHealth node;
  node.OnLease(false, kStart);
  for (int i = 0; i < 1000; ++i) {
    node.OnProbe(true, kStart + i * 1s);
    EXPECT_EQ(node.At(kStart + i * 1s), Health::kSuspect);
  }
  EXPECT_EQ(node.why(), "lease gone");
  EXPECT_EQ(node.NextChange(), kNever);
}

TEST(NodeHealthTest, LeaseGoneAndProbeFailedIsDead) {
  NodeHealth node;
  node.OnLease(false, kStart);
  node.OnProbe(false, kStart + 1s);
  node.OnProbe(false, kStart + 2s);
  EXPECT_EQ(node.At(kStart + 2s), Health::kSuspect);  // two of three
  node.OnProbe(false, kStart + 3s);
  EXPECT_EQ(node.At(kStart + 3s), Health::kDead);
  EXPECT_EQ(node.why(), "lease gone, probe failed");
}

TEST(NodeHealthTest, FailedProbesAloneOnlySuspect) {
  NodeHealth node;
  for (int i = 0; i < 100; ++i) node.OnProbe(false, kStart + i * 1s);
  EXPECT_EQ(node.At(kStart + 100s), Health::kSuspect);
  EXPECT_EQ(node.why(), "probe failed");
  node.OnLease(false, kStart + 100s);
  EXPECT_EQ(node.At(kStart + 100s), Health::kDead);
}

TEST(NodeHealthTest, ABurstOfFailedProbesIsNoFailure) {
  NodeHealth node;
  node.OnLease(false, kStart);
  for (int i = 0; i < 100; ++i) node.OnProbe(false, kStart + i * 1ms);
  EXPECT_EQ(node.At(kStart + 1s), Health::kSuspect);
}

TEST(NodeHealthTest, TheDataPathSuspectsAtTheFirstFailureAndKillsByItself) {
  NodeHealth node;
  node.OnDataPath(false, kStart);
  EXPECT_EQ(node.At(kStart), Health::kSuspect);
  EXPECT_EQ(node.why(), "a call failed");
  node.OnDataPath(false, kStart + 500ms);
  node.OnDataPath(false, kStart + 1s);
  EXPECT_EQ(node.At(kStart + 1s), Health::kDead);
  EXPECT_EQ(node.why(), "data path failed");
}

TEST(NodeHealthTest, ComesBackAfterTheHoldWithoutABadSign) {
  NodeHealth node;
  node.OnLease(false, kStart);
  node.OnLease(true, kStart + 10s);
  EXPECT_EQ(node.At(kStart + 10s), Health::kSuspect);
  EXPECT_EQ(node.why(), "recovering");
  EXPECT_EQ(node.NextChange(), kStart + 15s);
  EXPECT_EQ(node.At(kStart + 15s - 1ns), Health::kSuspect);
  EXPECT_EQ(node.At(kStart + 15s), Health::kAlive);
  EXPECT_EQ(node.why(), "");
  EXPECT_EQ(node.NextChange(), kNever);
}

TEST(NodeHealthTest, WhatIsDeadIsNeverMerelySuspectAgain) {
  NodeHealth node;
  for (int i = 0; i < 3; ++i) node.OnDataPath(false, kStart + i * 1s);
  ASSERT_EQ(node.At(kStart + 3s), Health::kDead);
  node.OnProbe(true, kStart + 4s);  // counts for the data path as well
  EXPECT_EQ(node.At(kStart + 8s), Health::kDead);
  node.OnLease(false, kStart + 8s);  // one sign only, but it has not recovered
  EXPECT_EQ(node.At(kStart + 60s), Health::kDead);
  node.OnLease(true, kStart + 60s);
  EXPECT_EQ(node.At(kStart + 65s), Health::kAlive);
}

TEST(NodeHealthTest, WhoFailsAgainSoonIsHeldLongerAndForgivenLater) {
  NodeHealth node;
  Time now = kStart;
  const auto fails_for_a_second = [&] {
    node.OnLease(false, now);
    now += 1s;
    node.OnLease(true, now);
    const Time begin = now;
    now = node.NextChange();
    EXPECT_EQ(node.At(now), Health::kAlive);
    return now - begin;
  };
  EXPECT_EQ(fails_for_a_second(), 5s);
  EXPECT_EQ(fails_for_a_second(), 10s);
  EXPECT_EQ(fails_for_a_second(), 20s);
  EXPECT_EQ(fails_for_a_second(), 40s);
  EXPECT_EQ(fails_for_a_second(), 60s);
  EXPECT_EQ(fails_for_a_second(), 60s);
  now += 3min;
  EXPECT_EQ(fails_for_a_second(), 5s);
}

// What was told, to judge by from scratch.
struct Told {
  int kind = 0;  // 0: lease, 1: probe, 2: data path, 3: only time
  bool good = false;
  Time at{};
};

// The rule, read from the header: signs at the end of `told`, looked up in the whole history.
Health SignsOf(const std::vector<Told>& told, const HealthOptions& options) {
  bool held = true;
  std::vector<Time> probe, data;
  for (const Told& one : told) {
    if (one.kind == 0) held = one.good;
    if (one.kind == 1) one.good ? probe.clear() : probe.push_back(one.at);
    if (one.kind == 2) one.good ? data.clear() : data.push_back(one.at);
    if (one.kind == 1 && one.good) data.clear();
  }
  const auto failed = [](const std::vector<Time>& at, int least, Duration span) {
    return static_cast<int>(at.size()) >= least && at.back() - at.front() >= span;
  };
  const bool probe_failed = failed(probe, options.probe_failures, options.probe_span);
  if (failed(data, options.data_failures, options.data_span) || (!held && probe_failed))
    return Health::kDead;
  return !held || probe_failed || !data.empty() ? Health::kSuspect : Health::kAlive;
}

RC_GTEST_PROP(NodeHealthProperty, NeverDeadByTheLeaseAloneAndNeverFasterThanTheBound, ()) {
  const HealthOptions options;
  NodeHealth node(options);
  std::vector<Told> told;
  Time now = kStart;
  Time last_bad = kStart;
  bool ever_bad = false, ever_deadly = false;
  Health before = Health::kAlive;
  std::vector<Time> returns;
  int changes = 0;
  const auto steps = *rc::gen::inRange(1, 400);
  for (int i = 0; i < steps; ++i) {
    now += *rc::gen::inRange(0, 3000) * 1ms;
    Told one{*rc::gen::inRange(0, 4), *rc::gen::arbitrary<bool>(), now};
    // By time alone it can only have come back, and only when its hold is over.
    const Health waited = node.At(now);
    if (waited != before) {
      RC_ASSERT(waited == Health::kAlive);
      RC_ASSERT(now - last_bad >= options.first_hold);
      returns.push_back(now);
      ++changes;
      before = waited;
      ever_deadly = false;
    }
    told.push_back(one);
    if (one.kind == 0) node.OnLease(one.good, now);
    if (one.kind == 1) node.OnProbe(one.good, now);
    if (one.kind == 2) node.OnDataPath(one.good, now);
    const Health signs = SignsOf(told, options);
    const Health health = node.At(now);
    if (signs != Health::kAlive) {
      last_bad = now;
      ever_bad = true;
    }
    ever_deadly = ever_deadly || signs == Health::kDead;
    RC_ASSERT(health >= signs);                         // a bad sign counts at once
    RC_ASSERT(ever_bad || health == Health::kAlive);    // nothing without one
    RC_ASSERT(health != Health::kDead || ever_deadly);  // dead only by two signs, or the data path
    if (health != before) ++changes;
    before = health;
  }
  for (size_t i = 1; i < returns.size(); ++i)
    RC_ASSERT(returns[i] - returns[i - 1] >= options.first_hold);
  RC_ASSERT(changes <= 3 * (1 + (now - kStart) / options.first_hold));
}

RC_GTEST_PROP(NodeHealthProperty, OnlyDifferencesOfTimesCount, ()) {
  // Another node's clock, or this one's beginning, may be off by anything: the same events later give the same.
  NodeHealth here, there;
  const Duration skew = *rc::gen::inRange(1, 10'000) * 1s;
  Time now = kStart;
  const auto steps = *rc::gen::inRange(1, 100);
  for (int i = 0; i < steps; ++i) {
    now += *rc::gen::inRange(0, 3000) * 1ms;
    const int kind = *rc::gen::inRange(0, 3);
    const bool good = *rc::gen::arbitrary<bool>();
    for (NodeHealth* const node : {&here, &there}) {
      const Time at = node == &here ? now : now + skew;
      if (kind == 0) node->OnLease(good, at);
      if (kind == 1) node->OnProbe(good, at);
      if (kind == 2) node->OnDataPath(good, at);
    }
    RC_ASSERT(here.At(now) == there.At(now + skew));
    RC_ASSERT(here.why() == there.why());
  }
}

}  // namespace
}  // namespace evenkeel
