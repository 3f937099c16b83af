#include "cluster/models/deploy_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/models/deploy_order.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr int64_t kGiB = int64_t{1} << 30;

std::vector<DeployNode> Nodes() {
  return {{"attic", true, false, false, 2 * kGiB},
          {"desk", true, false, true, kGiB / 2},
          {"gone", false, false, false, 8 * kGiB},
          {"nas", true, true, false, 4 * kGiB},
          {"shelf", true, false, false, 3 * kGiB}};
}

TEST(DeployTargetsTest, WithoutAWishAllThatHaveTheMemory) {
  const auto chosen = ChooseDeployTargets("chat", kGiB, Nodes(), {});
  ASSERT_TRUE(chosen.ok());
  // desk serves it already; nas drains; gone does not answer.
  EXPECT_THAT(chosen->nodes, ElementsAre("attic", "desk", "shelf"));
  EXPECT_THAT(chosen->left_out, ElementsAre(Pair("gone", HasSubstr("answer")),
                                            Pair("nas", HasSubstr("no new work"))));
}

TEST(DeployTargetsTest, ReplicasAreThoseThatServeItAndThenTheEmptiest) {
  EXPECT_THAT(ChooseDeployTargets("chat", kGiB, Nodes(), {{}, 1})->nodes, ElementsAre("desk"));
  EXPECT_THAT(ChooseDeployTargets("chat", kGiB, Nodes(), {{}, 2})->nodes,
              ElementsAre("desk", "shelf"));
  const auto four = ChooseDeployTargets("chat", kGiB, Nodes(), {{}, 4});
  EXPECT_EQ(four.status().code(), Code::kUnavailable);
  for (const char* words : {"3 of 5", "4 were asked for", "node 'gone': it does not answer",
                            "node 'nas': it takes no new work"}) {
    EXPECT_THAT(four.status().message(), HasSubstr(words));
  }
}

TEST(DeployTargetsTest, NamedNodesAreTakenOrRefusedWithTheReason) {
  EXPECT_THAT(ChooseDeployTargets("chat", kGiB, Nodes(), {{"nas", "attic"}, 0})->nodes,
              ElementsAre("attic", "nas"));
  EXPECT_EQ(ChooseDeployTargets("chat", kGiB, Nodes(), {{"cellar"}, 0}).status().code(),
            Code::kNotFound);
  EXPECT_THAT(ChooseDeployTargets("chat", kGiB, Nodes(), {{"gone"}, 0}).status().message(),
              HasSubstr("does not answer"));
  EXPECT_THAT(ChooseDeployTargets("chat", 3 * kGiB, Nodes(), {{"attic"}, 0}).status().message(),
              HasSubstr("2GiB of memory are free"));
  EXPECT_EQ(ChooseDeployTargets("chat", kGiB, Nodes(), {{"attic"}, 2}).status().code(),
            Code::kInvalidArgument);
}

TEST(DeployTargetsTest, WhereNoneCanTheReasonsAreGiven) {
  const auto none =
      ChooseDeployTargets("chat", 100 * kGiB, {{"attic", true, false, false, kGiB}}, {});
  EXPECT_EQ(none.status().code(), Code::kUnavailable);
  EXPECT_THAT(none.status().message(), HasSubstr("node 'attic': 1GiB of memory are free"));
}

TEST(DeployOrderTest, AReasonIsPrintableAndShort) {
  EXPECT_TRUE(CheckReason("the plan gains 0.2 s").ok());
  EXPECT_TRUE(CheckReason("").ok());
  EXPECT_FALSE(CheckReason("a\nb").ok());
  EXPECT_FALSE(CheckReason("\x1b[2J").ok());
  EXPECT_FALSE(CheckReason("\xff").ok());
  EXPECT_FALSE(CheckReason(std::string(kMostReasonBytes + 1, 'x')).ok());
}

}  // namespace
}  // namespace evenkeel
