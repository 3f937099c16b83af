#include "cluster/live/open_sequences.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

TEST(OpenSequencesTest, WhatHappenedSinceTheFiguresWereMadeCounts) {
  OpenSequences open;
  EXPECT_EQ(open.Now(3), 3);
  open.Change(2, 10.0);
  EXPECT_EQ(open.Now(3), 5);
  open.Change(1, 10.2);
  // Made before the last one was sent, and come after it.
  open.OnFigures(10.1);
  EXPECT_EQ(open.Now(5), 6);
  open.Change(-2, 10.3);
  EXPECT_EQ(open.Now(5), 4);
  open.OnFigures(10.4);
  EXPECT_EQ(open.Now(4), 4);
}

TEST(OpenSequencesTest, ItIsNeverLessThanTheOwn) {
  OpenSequences open;
  open.Change(4, 10.0);
  open.OnFigures(10.1);
  EXPECT_EQ(open.Now(1), 4);  // they are on their way there
  open.Change(-4, 10.2);
  EXPECT_EQ(open.Now(1), 0);
}

}  // namespace
}  // namespace evenkeel
