#include "batching/policy/overflow.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

#include "batching/policy/target.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

const Time kNow = Time(100s);

// One model on a node of its own: an accelerator with T = 4 ms + 50 us n, a core with T = 1 ms n (batching gains nothing there).
struct Bench {
  Bench() {
    for (int n = 1; n <= 64; n *= 2) {
      gpu.Set(n, 4ms + n * Duration(50us), 4ms + n * Duration(50us));
      cpu.Set(n, n * Duration(1ms), n * Duration(1ms));
    }
    instances.resize(2);
    instances[1].device = DeviceClass::kGpu;
    instances[1].threads = 0;
    lane.oldest_arrival = lane.newest_arrival = kNow;
    view.device = DeviceClass::kAuto;
    view.curve = &cpu;
    view.device_curve = &gpu;
    view.objective = 100ms;
  }
  int Place(int64_t rows) {
    lane.waiting_rows = rows;
    view.instances = instances;
    view.lanes = {&lane, 1};
    node.models = {&view, 1};
    node.cores = cores;
    const Gate gate(node);
    return PlaceBatch(view, KneesOf(view, Knee(cpu, 64, view.objective / 4)), lane, gate, now)
        .instance;
  }
  void GpuBusy(Duration left) {
    instances[1].in_flight = 1;
    instances[1].busy_until = kNow + left;
  }
  BatchCurve cpu, gpu;
  std::vector<InstanceView> instances;
  LaneView lane;
  ModelView view;
  NodeView node;
  int cores = 2;
  Time now = kNow;
};

TEST(OverflowTest, TheFasterClassIsTheOneWithMoreItemsASecondAtItsKnee) {
  Bench b;
  b.view.instances = b.instances;
  const ClassKnees knees = KneesOf(b.view, 1);
  EXPECT_TRUE(knees.gpu_first);
  EXPECT_GT(knees.gpu, 16);
  EXPECT_NEAR(knees.first_rows_s, knees.gpu / Seconds(b.gpu.Mean(knees.gpu)), 1);
  for (int n = 1; n <= 64; n *= 2) b.cpu.Set(n, n * Duration(10us), n * Duration(10us));
  EXPECT_FALSE(KneesOf(b.view, 1).gpu_first);
}

TEST(OverflowTest, TheFasterClassIsFilledFirst) {
  Bench b;
  EXPECT_EQ(b.Place(1), 1);
  EXPECT_EQ(b.Place(1000), 1);
}

TEST(OverflowTest, ABatchThatWouldBeDoneSoonerOnTheOtherGoesThere) {
  Bench b;
  b.GpuBusy(3ms);
  // 3 + 4.1 ms there against 2 ms here.
  EXPECT_EQ(b.Place(2), 0);
  // 3 + 4.05 ms against 1 ms; but no core is free.
  b.cores = 1;
  b.instances.push_back({.threads = 1, .in_flight = 1, .busy_until = kNow + Duration(1ms)});
  EXPECT_EQ(b.Place(1), -1);
}

TEST(OverflowTest, ABatchThatTheFasterOneWouldFinishFirstWaitsForIt) {
  Bench b;
  for (int n = 1; n <= 64; n *= 2) b.cpu.Set(n, 20ms + n * Duration(1ms), 20ms + n * Duration(1ms));
  b.GpuBusy(3ms);
  EXPECT_EQ(b.Place(2), -1);   // 7.1 ms against 22 ms
  EXPECT_NE(b.Place(400), 1);  // it is busy
  EXPECT_EQ(b.Place(400), 0);  // 3 + 7 x 7.2 ms for all of it: a batch on the core is done before
}

TEST(OverflowTest, AnAnswerThatWouldComeTooLateThereIsNotSentThere) {
  Bench b;
  for (int n = 1; n <= 64; n *= 2) b.cpu.Set(n, 20ms + n * Duration(1ms), 20ms + n * Duration(1ms));
  b.GpuBusy(3ms);
  b.lane.oldest_arrival = kNow - Duration(80ms);
  EXPECT_EQ(b.Place(400),
            -1);  // the accelerator answers the oldest row in time, the core would not
  b.lane.oldest_arrival = kNow - Duration(99ms);
  EXPECT_EQ(b.Place(400), 0);  // neither does
}

TEST(OverflowTest, OneThatIsLateByAWholeBatchIsNotCountedOn) {
  Bench b;
  for (int n = 1; n <= 64; n *= 2) b.cpu.Set(n, 20ms + n * Duration(1ms), 20ms + n * Duration(1ms));
  b.GpuBusy(3ms);
  b.now = kNow + 6ms;
  EXPECT_EQ(b.Place(1), -1);
  b.now = kNow + 8ms;
  EXPECT_EQ(b.Place(1), 0);
}

TEST(OverflowTest, TheAcceleratorTakesWhatOverflowsACore) {
  Bench b;
  for (int n = 1; n <= 64; n *= 2) b.cpu.Set(n, n * Duration(50us), n * Duration(50us));
  EXPECT_EQ(b.Place(10), 0);
  b.instances[0].in_flight = 1;
  b.instances[0].busy_until = kNow + Duration(1ms);
  EXPECT_EQ(b.Place(10), -1);  // 1.5 ms against 4.5 ms
  EXPECT_EQ(b.Place(400), 1);  // 21 ms against 7.2 ms
  // All cores taken by others: the same.
  b.instances[0].in_flight = 0;
  b.cores = 1;
  b.instances.push_back({.threads = 1, .in_flight = 1, .busy_until = kNow + Duration(30ms)});
  EXPECT_EQ(b.Place(10), 1);
}

TEST(OverflowTest, WithoutAutoNoBatchLeavesItsClass) {
  Bench b;
  b.GpuBusy(1s);
  b.view.device = DeviceClass::kGpu;
  EXPECT_EQ(b.Place(1000), -1);
  b.instances[1].in_flight = 0;
  EXPECT_EQ(b.Place(1000), 1);
  b.view.device = DeviceClass::kCpu;
  EXPECT_EQ(b.Place(1000), 0);
  b.instances[0].in_flight = 1;
  EXPECT_EQ(b.Place(1000), -1);
}

// The rule read slowly: whatever is placed on the slower class ends before the other class would have ended with what waits, and keeps the
// objective of the oldest row unless the other class breaks it too.
RC_GTEST_PROP(OverflowTest, WhatOverflowsIsDoneSooner, ()) {
  Bench b;
  const auto us = [](int lo, int hi) {
    return Duration(std::chrono::microseconds(*rc::gen::inRange(lo, hi)));
  };
  const Duration ca = us(0, 20'000), cc = us(10, 2'000), ga = us(0, 20'000), gc = us(10, 2'000);
  b.cpu = b.gpu = BatchCurve();
  for (int n = 1; n <= 64; n *= 2) {
    b.cpu.Set(n, ca + n * cc, ca + n * cc);
    b.gpu.Set(n, ga + n * gc, ga + n * gc);
  }
  b.instances.clear();
  const int count = *rc::gen::inRange(1, 6);
  for (int i = 0; i < count; ++i) {
    InstanceView one;
    one.device = *rc::gen::inRange(0, 2) == 0 ? DeviceClass::kCpu : DeviceClass::kGpu;
    one.threads = one.device == DeviceClass::kCpu ? 1 : 0;
    one.usable = *rc::gen::inRange(0, 5) > 0;
    one.in_flight = *rc::gen::inRange(0, 2);
    one.busy_until = kNow + us(0, 30'000);
    b.instances.push_back(one);
  }
  b.cores = *rc::gen::inRange(1, 4);
  b.lane.oldest_arrival = kNow - us(0, 150'000);
  b.view.objective = us(10'000, 200'000);
  const int64_t rows = *rc::gen::inRange(1, 500);
  const int placed = b.Place(rows);
  if (placed < 0) return;
  const InstanceView& chosen = b.instances[static_cast<size_t>(placed)];
  RC_ASSERT(chosen.usable && chosen.in_flight == 0);
  const ClassKnees knees = KneesOf(b.view, Knee(b.cpu, 64, b.view.objective / 4));
  const auto first = knees.gpu_first ? DeviceClass::kGpu : DeviceClass::kCpu;
  if (chosen.device == first || knees.cpu == 0 || knees.gpu == 0) return;
  // Brute force: the first class's instances take knee after knee until all rows are done.
  const int own = std::min<int>(static_cast<int>(rows), knees.gpu_first ? knees.gpu : knees.cpu);
  const int others = std::min<int>(static_cast<int>(rows), knees.gpu_first ? knees.cpu : knees.gpu);
  const Duration each = (knees.gpu_first ? b.gpu : b.cpu).Mean(own);
  const Time done = kNow + (knees.gpu_first ? b.cpu : b.gpu).Mean(others);
  int used = 0;
  Time next_core = kNever;
  for (const InstanceView& one : b.instances) {
    if (one.in_flight == 0 || one.device != DeviceClass::kCpu) continue;
    ++used;
    next_core = std::min(next_core, one.busy_until);
  }
  Time start = kNever;
  int lanes = 0;
  for (const InstanceView& one : b.instances) {
    if (!one.usable || one.device != first) continue;
    ++lanes;
    Time free = one.in_flight > 0 ? one.busy_until : kNow;
    if (one.in_flight == 0 && first == DeviceClass::kCpu) {
      RC_ASSERT(used >= b.cores);  // else it would have been filled first
      free = next_core;
    }
    RC_ASSERT(one.in_flight > 0 || first == DeviceClass::kCpu);
    start = std::min(start, free);
  }
  start = std::max(start, kNow);
  Time all_done = start;
  for (int64_t left = rows; left > 0; left -= int64_t{own} * lanes) all_done += each;
  RC_ASSERT(done < all_done);
  const Time due = b.lane.oldest_arrival + b.view.objective;
  RC_ASSERT(done <= due || start + each > due);
}

}  // namespace
}  // namespace evenkeel::policy
