// StoredPlan's text and PlanFile: what is damaged is found, and the earlier file stays.
#include "cluster/plan_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "cluster/plan_fence.h"
#include "core/check.h"

namespace evenkeel {
namespace {

StoredPlan Plan(const std::string& text) {
  StoredPlan plan;
  plan.cluster = "c1";
  plan.stamp = {{1, 12}, 15};
  plan.made_by = "n1";
  plan.plan = text;
  return plan;
}

TEST(StoredPlanTest, IsReadAsItWasWritten) {
  for (const std::string text : {"", "{\"a\":[1,2]}", "\xc3\xa4 \"quoted\" \\ \n\t", "\x01"}) {
    const auto written = WriteStoredPlan(Plan(text));
    ASSERT_TRUE(written.ok()) << written.status().ToString();
    const auto read = ParseStoredPlan(*written);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(*read, Plan(text));
  }
}

TEST(StoredPlanTest, EveryFlippedBitIsFound) {
  const std::string written = *WriteStoredPlan(Plan("{\"model\":\"digits\"}"));
  for (size_t i = 0; i < written.size() * 8; ++i) {
    std::string flipped = written;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    const auto read = ParseStoredPlan(flipped);
    EXPECT_FALSE(read.ok()) << flipped;
  }
}

TEST(StoredPlanTest, EveryMissingEndIsFound) {
  const std::string written = *WriteStoredPlan(Plan("{\"model\":\"digits\"}"));
  for (size_t size = 0; size < written.size(); ++size)
    EXPECT_EQ(ParseStoredPlan(written.substr(0, size)).status().code(), Code::kInvalidArgument);
}

TEST(StoredPlanTest, WhatIsWrongIsSaid) {
  const std::string written = *WriteStoredPlan(Plan("x"));
  const auto message = [&](const std::string& from, const std::string& to) {
    std::string changed = written;
    changed.replace(changed.find(from), from.size(), to);
    return ParseStoredPlan(changed).status().message();
  };
  EXPECT_NE(message("\"schema\":1", "\"schema\":7").find("schema: expected 1, got"),
            std::string::npos);
  EXPECT_NE(message("\"revision\":15", "\"revision\":16").find("checksum: expected"),
            std::string::npos);
  EXPECT_NE(message("\"history\":1", "\"history\":-1").find("history"), std::string::npos);
  EXPECT_EQ(WriteStoredPlan(Plan("\xff")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(WriteStoredPlan(Plan(std::string(kMostStoredPlanBytes + 1, 'x'))).status().code(),
            Code::kTooLarge);
  // What JSON escapes counts too: six bytes for one.
  EXPECT_EQ(WriteStoredPlan(Plan(std::string(kMostStoredPlanBytes / 4, '\x01'))).status().code(),
            Code::kTooLarge);
  EXPECT_EQ(ParseStoredPlan(std::string(kMostStoredPlanBytes + 1, ' ')).status().code(),
            Code::kTooLarge);
}

TEST(PlanFenceTest, TakesPlansOnlyForward) {
  PlanFence fence({{0, 10}, 20});
  EXPECT_FALSE(*fence.Offer({{0, 10}, 20}));                               // the same again
  EXPECT_EQ(fence.Offer({{0, 10}, 19}).status().code(), Code::kConflict);  // an earlier one
  EXPECT_TRUE(*fence.Offer({{0, 10}, 21}));
  EXPECT_TRUE(*fence.Offer({{0, 30}, 31}));
  EXPECT_EQ(fence.Offer({{0, 10}, 99}).status().code(), Code::kConflict);  // an old leader's
  EXPECT_TRUE(*fence.Offer({{1, 3}, 4}));  // a store that was put back: a new history
  EXPECT_EQ(fence.Offer({{0, 500}, 600}).status().code(), Code::kConflict);
  for (const PlanStamp never :
       {PlanStamp{}, PlanStamp{{1, 3}, 0}, PlanStamp{{1, 3}, 2}, PlanStamp{{-1, 3}, 4}})
    EXPECT_EQ(fence.Offer(never).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(fence.last(), (PlanStamp{{1, 3}, 4}));
}

// An order says which plan it comes from: that moves no fence, whatever it says.
TEST(PlanFenceTest, WhatOrdersSayIsHeldAgainstTheLastPlanAndNeverBelieved) {
  PlanFence fence({{1, 10}, 20});
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  for (const PlanStamp invented : {PlanStamp{{1, 10}, 21}, PlanStamp{{1, 21}, 21},
                                   PlanStamp{{2, 1}, 1}, PlanStamp{{kHuge, kHuge}, kHuge}}) {
    const Status status = fence.Check(invented);
    EXPECT_EQ(status.code(), Code::kUnavailable) << ToText(invented);
    EXPECT_NE(status.message().find(ToText(invented)), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("history 1, term 10, revision 20"), std::string::npos)
        << status.message();
    EXPECT_EQ(fence.last(), (PlanStamp{{1, 10}, 20}));
    EXPECT_TRUE(fence.Check({{1, 10}, 20}).ok()) << "the true plan's orders go on";
  }
  EXPECT_EQ(fence.Check({{1, 10}, 19}).code(), Code::kConflict);
  EXPECT_EQ(fence.Check({{0, 500}, 600}).code(), Code::kConflict);
  EXPECT_EQ(fence.Check({{1, 10}, 9}).code(), Code::kInvalidArgument);
  // Once it was read from the store, and not before.
  EXPECT_TRUE(*fence.Offer({{1, 10}, 21}));
  EXPECT_TRUE(fence.Check({{1, 10}, 21}).ok());
  EXPECT_EQ(fence.Check({{1, 10}, 20}).code(), Code::kConflict);
}

TEST(PlanFenceTest, WhereNoPlanWasStoredNoOrderComesFromOne) {
  const PlanFence fence;
  const Status status = fence.Check({{0, 10}, 20});
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("of none"), std::string::npos) << status.message();
}

class PlanFileTest : public testing::Test {
 protected:
  PlanFileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "ek-plan-XXXXXX").string();
    EK_CHECK(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~PlanFileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string Bytes() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Overwrite(const std::string& bytes) const {
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string path() const { return folder_ + "/plan"; }

  std::string folder_;
};

TEST_F(PlanFileTest, GivesBackWhatWasSavedLast) {
  const PlanFile file(path(), "c1");
  const auto none = file.Load();
  ASSERT_TRUE(none.ok()) << none.status().ToString();
  EXPECT_FALSE(none->has_value());
  ASSERT_TRUE(file.Save(Plan("one")).ok());
  ASSERT_TRUE(file.Save(Plan("two")).ok());
  const auto read = PlanFile(path(), "c1").Load();
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(**read, Plan("two"));
  struct stat facts {};
  ASSERT_EQ(::stat(path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
  EXPECT_FALSE(std::filesystem::exists(path() + ".tmp"));
}

TEST_F(PlanFileTest, ADamagedFileIsRefusedByNameAndKept) {
  const PlanFile file(path(), "c1");
  ASSERT_TRUE(file.Save(Plan("one")).ok());
  const std::string good = Bytes();
  for (const std::string& bad : {good.substr(0, good.size() / 2), std::string(), good + "x",
                                 std::string(good).replace(good.find("one"), 3, "two")}) {
    Overwrite(bad);
    const auto read = file.Load();
    EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
    EXPECT_NE(read.status().message().find(path()), std::string::npos);
    EXPECT_EQ(Bytes(), bad);
  }
}

TEST_F(PlanFileTest, AnotherClustersPlanIsRefusedBothWays) {
  ASSERT_TRUE(PlanFile(path(), "c1").Save(Plan("one")).ok());
  const PlanFile other(path(), "c2");
  EXPECT_EQ(other.Load().status().code(), Code::kConflict);
  EXPECT_EQ(other.Save(Plan("two")).code(), Code::kInvalidArgument);
  EXPECT_EQ((*PlanFile(path(), "c1").Load())->plan, "one");
}

TEST_F(PlanFileTest, AFullDiskKeepsTheEarlierPlan) {
  const PlanFile file(path(), "c1");
  ASSERT_TRUE(file.Save(Plan("one")).ok());
  // The kernel refuses what goes beyond the limit, as a full disk does.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit little = before;
  little.rlim_cur = 1000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
  const Status status = file.Save(Plan(std::string(100'000, 'x')));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find(path()), std::string::npos) << status.message();
  EXPECT_EQ((*file.Load())->plan, "one");
  EXPECT_FALSE(std::filesystem::exists(path() + ".tmp"));
}

TEST_F(PlanFileTest, AWriterThatWasKilledLeavesTheEarlierPlan) {
  const PlanFile file(path(), "c1");
  ASSERT_TRUE(file.Save(Plan("one")).ok());
  std::ofstream(path() + ".tmp") << "half of a pl";  // what it left
  EXPECT_EQ((*file.Load())->plan, "one");
  ASSERT_TRUE(file.Save(Plan("two")).ok());
  EXPECT_EQ((*file.Load())->plan, "two");
}

TEST_F(PlanFileTest, WhereNothingCanBeWrittenOrReadIsSaid) {
  const PlanFile file(folder_ + "/missing/plan", "c1");
  EXPECT_EQ(file.Save(Plan("one")).code(), Code::kUnavailable);
  std::filesystem::create_directory(path());
  EXPECT_EQ(PlanFile(path(), "c1").Load().status().code(), Code::kUnavailable);
  EXPECT_EQ(PlanFile(path(), "c1").Save(Plan("one")).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
