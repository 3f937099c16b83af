#include "server/policy/plan_instances.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMiB = int64_t{1} << 20;
const Time kNow{Duration(1h)};
const NodeRoom kRoomy{.cores = 8, .free_bytes = 64 * 1024 * kMiB, .headroom_bytes = 256 * kMiB};

// Serves at 100 rows/s for each instance that is busy to four fifths: 8 rows in 64 ms.
InstancesView Model() {
  InstancesView model;
  model.batch_rows = 8;
  model.batch_time = 64ms;
  model.start_up = 200ms;
  model.memory_bytes = 100 * kMiB;
  model.up = 1;
  model.last_request = kNow - 10ms;
  return model;
}

InstancesPlan Plan(const InstancesView& model, const NodeRoom& room = kRoomy) {
  return PlanInstances(std::vector{model}, room, kNow).front();
}

TEST(PlanInstancesTest, AsManyAsTheForecastNeedsAtTheChosenBatch) {
  InstancesView model = Model();
  const std::pair<double, int> cases[] = {{0, 1}, {1, 1}, {99, 1}, {101, 2}, {350, 4}, {799, 8}};
  for (const auto& [rate, wanted] : cases) {
    model.rate_rps = rate;
    EXPECT_EQ(Plan(model).wanted, wanted) << rate;
  }
  model.rate_rps = 350;
  EXPECT_EQ(Plan(model).why, "350 rows/s need 3.5 instances (8 rows in 64 ms)");
}

TEST(PlanInstancesTest, NeverMoreThanFitTheCoresButOneAlways) {
  InstancesView model = Model();
  model.rate_rps = 5000;
  EXPECT_EQ(Plan(model).wanted, 8);
  EXPECT_NE(Plan(model).why.find("8 fit 8 cores"), std::string::npos) << Plan(model).why;
  model.cores = 3;
  EXPECT_EQ(Plan(model).wanted, 2);
  model.cores = 0.5;
  EXPECT_EQ(Plan(model).wanted, 16);
  model.max_instances = 5;
  EXPECT_EQ(Plan(model).wanted, 5);
  model.cores = 99;
  EXPECT_EQ(Plan(model).wanted, 1);
}

TEST(PlanInstancesTest, AnExchangeOfFormsIsNoReasonForMore) {
  InstancesView model = Model();
  model.up = 2;
  model.starting = 1;
  model.rate_rps = 150;
  model.peak_rps = 390;
  EXPECT_EQ(Plan(model).wanted, 3);
  model.successors = 1;
  EXPECT_EQ(Plan(model).wanted, 2);
}

TEST(PlanInstancesTest, GoesUpAtOnceAndDownOnlyWhenThePeakOfLateIsGone) {
  InstancesView model = Model();
  model.up = 4;
  model.rate_rps = 150;
  model.peak_rps = 390;
  EXPECT_EQ(Plan(model).wanted, 4);
  model.peak_rps = 290;
  EXPECT_EQ(Plan(model).wanted, 3);
  model.peak_rps = 0;
  EXPECT_EQ(Plan(model).wanted, 2);
  model.rate_rps = 700;
  EXPECT_EQ(Plan(model).wanted, 7);
}

TEST(PlanInstancesTest, TheLastOneStaysForItsKeepAliveThenTheLeastNumberIsLeft) {
  InstancesView model = Model();
  model.keep_alive = 1min;
  model.min_instances = 0;
  model.last_request = kNow - 59s;
  EXPECT_EQ(Plan(model).wanted, 1);
  EXPECT_EQ(Plan(model).next, kNow + 1s);
  model.last_request = kNow - 60s;
  EXPECT_EQ(Plan(model).wanted, 0);
  EXPECT_EQ(Plan(model).why, "no request for 1m");
  model.min_instances = 2;
  EXPECT_EQ(Plan(model).wanted, 2);
}

TEST(PlanInstancesTest, AModelThatWasNeverAskedRestsAfterItsKeepAliveToo) {
  InstancesView model = Model();
  model.keep_alive = 1min;
  model.min_instances = 0;
  model.last_request = Time{};
  model.since = kNow - 59s;
  EXPECT_EQ(Plan(model).wanted, 1);
  model.since = kNow - 61s;
  EXPECT_EQ(Plan(model).wanted, 0);
}

TEST(PlanInstancesTest, WhatWaitsStartsTheFirstOne) {
  InstancesView model = Model();
  model.min_instances = 0;
  model.up = 0;
  model.last_request = kNow - 1h + 1ns;
  EXPECT_EQ(Plan(model).wanted, 0);
  model.waits = true;
  EXPECT_EQ(Plan(model).wanted, 1);
}

TEST(PlanInstancesTest, AForecastStartsTheFirstOneBeforeARequestComes) {
  InstancesView model = Model();
  model.min_instances = 0;
  model.up = 0;
  model.last_request = kNow - 30min;
  model.start_up = 4s;
  model.rate_rps = 0.1;  // 0.4 rows until it would be up
  EXPECT_EQ(Plan(model).wanted, 0);
  model.rate_rps = 0.2;
  EXPECT_EQ(Plan(model).wanted, 1);
}

TEST(PlanInstancesTest, AFixedNumberStandsUntilSilence) {
  InstancesView model = Model();
  model.fixed = 3;
  model.min_instances = 3;
  model.rate_rps = 1e6;
  EXPECT_EQ(Plan(model).wanted, 3);
  EXPECT_EQ(Plan(model).why, "as the settings say");
  model.rate_rps = 0;
  model.last_request = kNow - 30min;
  EXPECT_EQ(Plan(model).wanted, 3);
  model.min_instances = 0;
  EXPECT_EQ(Plan(model).wanted, 0);
}

TEST(PlanInstancesTest, AtRestTheLeastValuableGoesWhenAnotherNeedsTheMemory) {
  InstancesView wants = Model();
  wants.up = 0;
  wants.waits = true;
  InstancesView lately = Model();
  lately.last_request = kNow - 10s;
  InstancesView longer = Model();
  longer.last_request = kNow - 20s;
  InstancesView busy = Model();
  busy.waits = true;
  NodeRoom room = kRoomy;
  room.free_bytes = room.headroom_bytes + 60 * kMiB;
  auto plans = PlanInstances(std::vector{wants, lately, longer, busy}, room, kNow);
  EXPECT_EQ(plans[0].wanted, 0);  // the memory is not free yet
  EXPECT_FALSE(plans[0].no_room);
  EXPECT_EQ(plans[1].wanted, 1);
  EXPECT_EQ(plans[2].wanted, 0);
  EXPECT_EQ(plans[3].wanted, 1);
  // While it goes no further one is taken.
  longer.up = 0;
  longer.ending = 1;
  plans = PlanInstances(std::vector{wants, lately, longer, busy}, room, kNow);
  EXPECT_EQ(plans[0].wanted, 0);
  EXPECT_EQ(plans[1].wanted, 1);
  // It has gone.
  longer.ending = 0;
  room.free_bytes += 100 * kMiB;
  plans = PlanInstances(std::vector{wants, lately, longer, busy}, room, kNow);
  EXPECT_EQ(plans[0].wanted, 1);
  EXPECT_EQ(plans[1].wanted, 1);
  EXPECT_EQ(plans[2].wanted, 0) << "it may not come back at the cost of another";
}

TEST(PlanInstancesTest, WhatTheSettingsOfAModelPinIsNotTaken) {
  InstancesView wants = Model();
  wants.up = 0;
  wants.waits = true;
  InstancesView pinned = Model();
  pinned.last_request = kNow - 30min;
  pinned.min_pinned = true;
  NodeRoom room = kRoomy;
  room.free_bytes = room.headroom_bytes;
  const auto plans = PlanInstances(std::vector{wants, pinned}, room, kNow);
  EXPECT_EQ(plans[0].wanted, 0);
  EXPECT_TRUE(plans[0].no_room);
  EXPECT_EQ(plans[1].wanted, 1);
  EXPECT_NE(plans[0].why.find("100 MiB each"), std::string::npos) << plans[0].why;
}

TEST(PlanInstancesTest, WhereLessThanTheHeadroomIsFreeInstancesAtRestGo) {
  InstancesView a = Model();
  a.last_request = kNow - 10s;
  InstancesView b = Model();
  b.last_request = kNow - 20s;
  NodeRoom room = kRoomy;
  room.free_bytes = room.headroom_bytes - 50 * kMiB;
  auto plans = PlanInstances(std::vector{a, b}, room, kNow);
  EXPECT_EQ(plans[0].wanted, 1);
  EXPECT_EQ(plans[1].wanted, 0);
  room.free_bytes -= 100 * kMiB;
  plans = PlanInstances(std::vector{a, b}, room, kNow);
  EXPECT_EQ(plans[0].wanted + plans[1].wanted, 0);
}

TEST(PlanInstancesTest, HeadroomIsAShareOfLargeMachines) {
  EXPECT_EQ(DefaultHeadroom(1024 * kMiB), 256 * kMiB);
  EXPECT_EQ(DefaultHeadroom(100 * 1024 * kMiB), 5 * 1024 * kMiB);
}

// --- Any node.

InstancesView AnyModel() {
  InstancesView m;
  m.rate_rps = *rc::gen::inRange(0, 2000) / 4.0;
  m.peak_rps = *rc::gen::inRange(0, 2000) / 4.0;
  m.batch_rows = *rc::gen::inRange(1, 65);
  m.batch_time = *rc::gen::inRange(0, 500) * 1ms;
  m.start_up = *rc::gen::inRange(0, 5000) * 1ms;
  m.cores = *rc::gen::inRange(1, 9) / 2.0;
  m.memory_bytes = *rc::gen::inRange(0, 1000) * kMiB;
  m.up = *rc::gen::inRange(0, 5);
  m.starting = *rc::gen::inRange(0, 3);
  m.ending = *rc::gen::inRange(0, 2);
  m.waits = *rc::gen::arbitrary<bool>();
  m.keep_alive = *rc::gen::inRange(0, 600) * 1s;
  m.since = kNow - 50min;
  if (*rc::gen::inRange(0, 4) > 0) m.last_request = kNow - *rc::gen::inRange(0, 900'000) * 1ms;
  m.min_instances = *rc::gen::inRange(0, 3);
  m.min_pinned = *rc::gen::arbitrary<bool>();
  if (*rc::gen::inRange(0, 4) == 0) {
    m.fixed = *rc::gen::inRange(1, 5);
    m.min_instances = std::min(m.min_instances, *m.fixed);
  }
  return m;
}

std::vector<InstancesView> AnyModels() {
  std::vector<InstancesView> models(static_cast<size_t>(*rc::gen::inRange(1, 8)));
  for (auto& model : models) model = AnyModel();
  return models;
}

NodeRoom AnyRoom() {
  return {.cores = static_cast<double>(*rc::gen::inRange(1, 9)),
          .free_bytes = *rc::gen::inRange(0, 4000) * kMiB,
          .headroom_bytes = 256 * kMiB};
}

// The least number that keeps each of them at most four fifths busy, by counting.
int NeededByCounting(const InstancesView& m, double rate) {
  int instances = 1;
  while (rate * Seconds(m.batch_time) > 0.8 * m.batch_rows * instances * (1 + 1e-9)) ++instances;
  return instances;
}

RC_GTEST_PROP(PlanInstancesProperty, WithMemoryForAllEachModelGetsWhatTheRulesSay, ()) {
  InstancesView m = AnyModel();
  const NodeRoom room{.cores = 4, .free_bytes = int64_t{1} << 50, .headroom_bytes = 0};
  const InstancesPlan plan = Plan(m, room);
  const Time last = m.last_request == Time{} ? m.since : m.last_request;
  const bool active = m.waits || kNow - last < m.keep_alive ||
                      m.rate_rps * std::max(0.5, Seconds(m.start_up)) >= 0.5;
  if (!active) {
    RC_ASSERT(plan.wanted == m.min_instances);
  } else if (m.fixed) {
    RC_ASSERT(plan.wanted == *m.fixed);
  } else {
    int most = 1;
    while ((most + 1) * m.cores <= 4) ++most;
    most = std::max(std::min(most, m.max_instances), m.min_instances);
    const int up_to = NeededByCounting(m, m.rate_rps);
    const int down_to = NeededByCounting(m, std::max(m.rate_rps, m.peak_rps));
    int wanted = m.up + m.starting;
    while (wanted < up_to) ++wanted;
    while (wanted > down_to) --wanted;
    RC_ASSERT(plan.wanted == std::min(most, std::max({1, m.min_instances, wanted})));
  }
  RC_ASSERT(!plan.no_room);
  RC_ASSERT(!plan.why.empty());
}

RC_GTEST_PROP(PlanInstancesProperty, StartsLeaveTheHeadroomFree, ()) {
  const auto models = AnyModels();
  const NodeRoom room = AnyRoom();
  const auto plans = PlanInstances(models, room, kNow);
  int64_t taken = 0;
  bool starts = false;
  for (size_t i = 0; i < models.size(); ++i) {
    const auto& m = models[i];
    RC_ASSERT(plans[i].wanted >= 0);
    taken += m.starting * m.memory_bytes;
    const int more = plans[i].wanted - m.up - m.starting;
    if (more <= 0) continue;
    starts = starts || m.memory_bytes > 0;
    taken += more * m.memory_bytes;
  }
  if (starts) RC_ASSERT(room.free_bytes - taken >= room.headroom_bytes);
}

RC_GTEST_PROP(PlanInstancesProperty, NothingThatHasWorkIsTakenForAnother, ()) {
  const auto models = AnyModels();
  const auto plans = PlanInstances(models, AnyRoom(), kNow);
  for (size_t i = 0; i < models.size(); ++i) {
    const auto& m = models[i];
    const int current = m.up + m.starting;
    if (m.waits && current > 0) RC_ASSERT(plans[i].wanted >= 1);
    if (m.min_pinned) RC_ASSERT(plans[i].wanted >= std::min(m.min_instances, current));
    if (plans[i].no_room) RC_ASSERT(m.waits && current == 0 && plans[i].wanted == 0);
  }
}

RC_GTEST_PROP(PlanInstancesProperty, OfThoseAtRestTheLeastValuableIsTakenFirst, ()) {
  // One model that has something waiting and no room; the others rest, each with one instance of the same size.
  std::vector<InstancesView> models(static_cast<size_t>(*rc::gen::inRange(2, 8)), Model());
  models[0].up = 0;
  models[0].waits = true;
  models[0].memory_bytes = *rc::gen::inRange(1, 400) * kMiB;
  for (size_t i = 1; i < models.size(); ++i)
    models[i].last_request = kNow - *rc::gen::inRange(2, 200) * 1s;
  NodeRoom room = kRoomy;
  room.free_bytes = room.headroom_bytes;
  const auto plans = PlanInstances(models, room, kNow);
  int64_t freed = 0;
  Time latest_taken{}, earliest_kept = kNever;
  for (size_t i = 1; i < models.size(); ++i) {
    const bool taken = plans[i].wanted == 0;
    freed += taken ? models[i].memory_bytes : 0;
    if (taken) latest_taken = std::max(latest_taken, models[i].last_request);
    if (!taken) earliest_kept = std::min(earliest_kept, models[i].last_request);
  }
  RC_ASSERT(latest_taken <= earliest_kept);
  // No more than needed, and nothing where that would not do.
  const int64_t all = static_cast<int64_t>(models.size() - 1) * 100 * kMiB;
  RC_ASSERT(plans[0].no_room == (all < models[0].memory_bytes));
  const bool enough =
      freed >= models[0].memory_bytes && freed < models[0].memory_bytes + 100 * kMiB;
  RC_ASSERT((plans[0].no_room ? freed == 0 : enough));
}

RC_GTEST_PROP(PlanInstancesProperty, TheSameQuestionHasTheSameAnswer, ()) {
  const auto models = AnyModels();
  const NodeRoom room = AnyRoom();
  const auto a = PlanInstances(models, room, kNow);
  const auto b = PlanInstances(models, room, kNow);
  for (size_t i = 0; i < models.size(); ++i) {
    RC_ASSERT(a[i].wanted == b[i].wanted);
    RC_ASSERT(a[i].why == b[i].why);
  }
}

// A model that waits for memory that others give up has a claim on what is free now, too: those that gave it do not start again.
TEST(PlanInstancesTest, WhatOthersGaveUpIsNotTakenBackBeforeItIsUsed) {
  InstancesView busy;
  busy.fixed = 2;
  busy.memory_bytes = 250 * kMiB;
  busy.up = 1;
  busy.waits = true;
  busy.rate_rps = 100;
  busy.last_request = kNow;
  InstancesView resting;
  resting.fixed = 2;
  resting.memory_bytes = 50 * kMiB;
  resting.ending = 2;  // for the busy one
  resting.last_request = kNow - 1h;
  resting.rate_rps = 1;
  const std::vector<InstancesView> models{resting, busy};
  const auto plans = PlanInstances(
      models, {.cores = 4, .free_bytes = 409 * kMiB, .headroom_bytes = 256 * kMiB}, kNow);
  EXPECT_EQ(plans[0].wanted,
            0);  // 153 MiB are free, and 100 on their way: together just enough for one of 250
  EXPECT_EQ(plans[1].wanted, 1);
}

// Followed as told, the plan comes to rest: nothing swings while nothing changes.
RC_GTEST_PROP(PlanInstancesProperty, FollowedItComesToRest, ()) {
  auto models = AnyModels();
  NodeRoom room = AnyRoom();
  std::vector<int> before;
  for (int round = 0; round < 200; ++round) {
    const auto plans = PlanInstances(models, room, kNow);
    std::vector<int> wanted;
    for (size_t i = 0; i < models.size(); ++i) {
      auto& m = models[i];
      // What was on its way has arrived, what ended is gone.
      room.free_bytes += (m.ending - m.starting) * m.memory_bytes;
      m.up += m.starting;
      m.starting = m.ending = 0;
      const int change = plans[i].wanted - m.up;
      if (change >= 0) m.starting = change;
      if (change < 0) m.ending = -change;
      m.up += std::min(0, change);
      wanted.push_back(plans[i].wanted);
    }
    if (wanted == before && round > 150) return;
    if (round > 150) RC_FAIL("it swings");
    before = wanted;
  }
}

}  // namespace
}  // namespace evenkeel::policy
