#include "cluster/live/tell_pace.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cluster/live/replica_table.h"

namespace evenkeel {
namespace {

constexpr TellPace::Peer kQuiet{
    .known = true, .suspect = false, .connected = true, .news = false, .silent_s = 1};

TEST(TellPaceTest, AtRestAQuietNodeIsLeftAloneForATick) {
  EXPECT_FALSE(TellPace::Due(kQuiet, /*work=*/false, 1));
  EXPECT_TRUE(TellPace::Due(kQuiet, /*work=*/true, 1));
}

TEST(TellPaceTest, WhatMayBeWrongIsLookedAtAtOnce) {
  for (bool TellPace::Peer::*sign : {&TellPace::Peer::suspect, &TellPace::Peer::news}) {
    TellPace::Peer peer = kQuiet;
    peer.*sign = true;
    EXPECT_TRUE(TellPace::Due(peer, false, 1));
  }
  for (bool TellPace::Peer::*sign : {&TellPace::Peer::known, &TellPace::Peer::connected}) {
    TellPace::Peer peer = kQuiet;
    peer.*sign = false;
    EXPECT_TRUE(TellPace::Due(peer, false, 1));
  }
}

// Two nodes at rest, whose ticks come `apart` seconds after each other and somewhat late: the age of the figures, and of the last answer, is bounded by what the table
// takes for stale, at half of the messages.
TEST(TellPaceTest, FiguresStayFreshAtHalfOfTheMessages) {
  constexpr double kTick = 1, kLate = 0.002, kSeconds = 1000;
  for (const double apart : {0.0, 0.01, 0.3, 0.5, 0.99}) {
    double next[2] = {0, apart}, answered[2] = {0, 0}, heard[2] = {0, 0};
    double oldest = 0, silent = 0;
    int told = 0;
    while (std::min(next[0], next[1]) < kSeconds) {
      const int node = next[0] <= next[1] ? 0 : 1;
      const double now = next[node];
      next[node] += kTick + kLate;
      oldest = std::max(oldest, now - heard[node]);
      silent = std::max(silent, now - answered[node]);
      TellPace::Peer peer = kQuiet;
      peer.silent_s = now - answered[node];
      if (!TellPace::Due(peer, false, kTick)) continue;
      ++told;
      answered[node] = now;
      heard[0] = heard[1] = now;
    }
    EXPECT_LT(oldest, 2.1) << apart;
    EXPECT_LT(silent, ReplicaTable::kStale - 0.5) << apart;
    EXPECT_LT(told, 1.02 * kSeconds) << apart;  // of 2,000
  }
}

}  // namespace
}  // namespace evenkeel
