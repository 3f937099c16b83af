#include "repository/ensemble.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace evenkeel {
namespace {

using testing::HasSubstr;

EnsembleStep Step(std::string model, std::vector<EnsembleStep::Named> in,
                  std::vector<EnsembleStep::Named> out) {
  EnsembleStep step;
  step.model = std::move(model);
  step.inputs = std::move(in);
  step.outputs = std::move(out);
  return step;
}

std::string Error(std::vector<EnsembleStep> steps, std::vector<std::string> in = {"x"},
                  std::vector<std::string> out = {"y"}) {
  const Status status = OrderEnsemble("e", in, out, &steps);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return status.message();
}

TEST(EnsembleTest, StepsArePutInOrder) {
  std::vector<EnsembleStep> steps{Step("last", {{"a", "m1"}, {"b", "m2"}}, {{"o", "y"}}),
                                  Step("left", {{"i", "x"}}, {{"o", "m1"}}),
                                  Step("right", {{"i", "m1"}}, {{"o", "m2"}})};
  ASSERT_TRUE(OrderEnsemble("e", {"x"}, {"y"}, &steps).ok());
  EXPECT_EQ(steps[0].model, "left");
  EXPECT_EQ(steps[1].model, "right");
  EXPECT_EQ(steps[2].model, "last");
}

TEST(EnsembleTest, WhatCannotRunIsNamed) {
  EXPECT_THAT(Error({}), HasSubstr("without steps"));
  EXPECT_THAT(Error({Step("", {{"i", "x"}}, {{"o", "y"}})}), HasSubstr("name is missing"));
  EXPECT_THAT(Error({Step("e", {{"i", "x"}}, {{"o", "y"}})}), HasSubstr("step of itself"));
  EXPECT_THAT(Error({Step("m", {{"i", "x"}}, {})}), HasSubstr("output_map is empty"));
  EXPECT_THAT(Error({Step("m", {{"i", "z"}}, {{"o", "y"}})}), HasSubstr("comes from nowhere"));
  EXPECT_THAT(Error({Step("m", {{"i", "x"}}, {{"o", "z"}})}), HasSubstr("output 'y' comes"));
  EXPECT_THAT(Error({Step("m", {{"i", "x"}, {"i", "x"}}, {{"o", "y"}})}),
              HasSubstr("mapped twice"));
  EXPECT_THAT(Error({Step("m", {{"i", "x"}}, {{"o", "x"}})}),
              HasSubstr("made already, by the req"));
  EXPECT_THAT(Error({Step("m", {{"i", "x"}}, {{"o", "y"}}), Step("n", {{"i", "x"}}, {{"o", "y"}})}),
              HasSubstr("made already, by step 0 ('m')"));
  EXPECT_THAT(Error({Step("m", {{"i", "a"}}, {{"o", "a"}, {"p", "y"}})}), HasSubstr("circle"));
  EXPECT_THAT(Error({Step("m", {{"i", "b"}}, {{"o", "a"}, {"p", "y"}}),
                     Step("n", {{"i", "a"}}, {{"o", "b"}})}),
              HasSubstr("circle"));
  EXPECT_THAT(Error(std::vector<EnsembleStep>(65, Step("m", {{"i", "x"}}, {{"o", "y"}}))),
              HasSubstr("at most 64"));
}

// Random graphs without a circle, shuffled: in the order that comes out nothing is used before it was made.
TEST(EnsembleTest, NothingIsUsedBeforeItIsMade) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const int count = 1 + static_cast<int>(random() % 20);
    std::vector<EnsembleStep> steps;
    for (int i = 0; i < count; ++i) {
      EnsembleStep step = Step("m" + std::to_string(i), {}, {{"o", "t" + std::to_string(i)}});
      for (int j = 0; j < i; ++j) {
        if (random() % 3 == 0)
          step.inputs.push_back({"i" + std::to_string(j), "t" + std::to_string(j)});
      }
      if (step.inputs.empty()) step.inputs.push_back({"i", "x"});
      steps.push_back(std::move(step));
    }
    std::shuffle(steps.begin(), steps.end(), random);
    ASSERT_TRUE(OrderEnsemble("e", {"x"}, {"t0"}, &steps).ok());
    ASSERT_EQ(steps.size(), static_cast<size_t>(count));
    std::set<std::string> made{"x"};
    for (const EnsembleStep& step : steps) {
      for (const auto& input : step.inputs) ASSERT_TRUE(made.contains(input.tensor));
      made.insert(step.outputs[0].tensor);
    }
  }
}

}  // namespace
}  // namespace evenkeel
