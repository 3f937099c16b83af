#include "cluster/single_membership.h"

#include <gtest/gtest.h>

#include "cluster/membership_contract.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

class SingleMembershipTest : public testing::Test {
 protected:
  void Make(std::shared_ptr<const StoredPlan> last_plan) {
    membership_ = std::make_unique<SingleMembership>("c1", std::move(last_plan), loop_,
                                                     [this] { ++changes_; });
  }
  Result<PlanStamp> Publish(const std::string& text, const Term& term) {
    StoredPlan plan;
    plan.stamp.term = term;
    plan.plan = text;
    Result<PlanStamp> answer = Status(Code::kInternal, "never answered");
    membership_->Publish(std::move(plan), [&](Result<PlanStamp> result) { answer = result; });
    EXPECT_EQ(answer.status().message(), "never answered");  // not within the call
    loop_.RunPosted();
    return answer;
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  int changes_ = 0;
  std::unique_ptr<SingleMembership> membership_;
};

TEST_F(SingleMembershipTest, LeadsOnceItHasJoinedAndIsAsked) {
  Make(nullptr);
  EXPECT_TRUE(membership_->View()->connected);
  membership_->Campaign(true);
  EXPECT_FALSE(membership_->View()->leading);
  const NodeRecord record = TestRecord("a");
  ASSERT_TRUE(membership_->Join(record).ok());
  const auto view = membership_->View();
  EXPECT_TRUE(view->leading && view->joined);
  EXPECT_EQ(view->leader, (Leader{"a", {0, 1}}));
  EXPECT_EQ(view->nodes, std::vector<NodeRecord>{record});
  loop_.RunPosted();
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(membership_->Join(TestRecord("b")).code(), Code::kInvalidArgument);
  membership_->Campaign(false);
  EXPECT_FALSE(membership_->View()->leader.has_value());
}

TEST_F(SingleMembershipTest, PlansGoForwardAlsoAfterARestart) {
  Make(nullptr);
  ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
  EXPECT_EQ(Publish("no", {0, 1}).status().code(), Code::kConflict);
  membership_->Campaign(true);
  const auto first = Publish("one", {0, 1});
  const auto second = Publish("two", {0, 1});
  ASSERT_TRUE(first.ok() && second.ok()) << second.status().ToString();
  EXPECT_GT(*second, *first);
  EXPECT_EQ(Publish("no", {0, 2}).status().code(), Code::kConflict);
  EXPECT_EQ(Publish("\xff", {0, 1}).status().code(), Code::kInvalidArgument);
  const auto kept = membership_->View()->plan;
  EXPECT_EQ(kept->plan, "two");
  EXPECT_EQ(kept->stamp, *second);

  Make(kept);
  EXPECT_EQ(membership_->View()->plan->plan, "two");
  ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
  membership_->Campaign(true);
  const auto third = Publish("three", membership_->View()->leader->term);
  ASSERT_TRUE(third.ok());
  EXPECT_GT(*third, *second);
}

TEST_F(SingleMembershipTest, LeavesAndSaysSoOnce) {
  Make(nullptr);
  ASSERT_TRUE(membership_->Join(TestRecord("a")).ok());
  int left = 0;
  membership_->Leave([&] { ++left; });
  EXPECT_EQ(left, 0);
  loop_.RunPosted();
  EXPECT_EQ(left, 1);
  EXPECT_TRUE(membership_->View()->nodes.empty());
}

}  // namespace
}  // namespace evenkeel
