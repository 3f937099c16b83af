// Answers of a language model, made side by side on three unequal nodes behind one gateway, of which one loses half of its cores.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "cluster/live/replica_table.h"

namespace evenkeel {
namespace {

constexpr size_t kNodes = 3, kSlots = 16;
constexpr int kInFlight = 28, kTokens = 16;
constexpr double kHalvedAt = 8, kTell = 0.2, kMean = 3;
constexpr ReplicaTable::Wanted kAnswer{"m", "", 5, kTokens};

// A step of few answers takes nearly as long as one of many: a node that has few pays more for each token.
double StepSeconds(double slowness, size_t answers) {
  return slowness * (0.012 + 0.0022 * static_cast<double>(answers));
}

// As many calls under way at any time; a node makes a token of each of its answers a step.
class ClosedLoop {
 public:
  // What nodes tell: what a token takes where all slots are taken; also what one took in the last steps; also what steps of each size take, as the last ones went.
  enum class Tells : uint8_t { kFullSteps, kLately, kSteps };
  explicit ClosedLoop(Tells tells) : tells_(tells) {
    nodes_[1].slowness = nodes_[1].measured = 2;
    nodes_[2].slowness = nodes_[2].measured = 4;
  }

  // By node: its calls under way, mean of kMean seconds, over what it gets done, beside the same of all nodes together, less 1; so long after the change.
  std::array<double, kNodes> LevelsAfter(double seconds) {
    Tell();
    for (int i = 0; i < kInFlight; ++i) Send();
    const double until = kHalvedAt + seconds;
    count_from_ = until - kMean;
    while (now_ < until) Next();
    std::array<double, kNodes> calls{}, speeds{}, levels{};
    for (size_t n = 0; n < kNodes; ++n) {
      for (const Seen& one : seen_) calls[n] += one.at > count_from_ ? one.calls[n] : 0;
      speeds[n] = static_cast<double>(nodes_[n].done);
    }
    const auto sum = [](const auto& of) { return of[0] + of[1] + of[2]; };
    for (size_t n = 0; n < kNodes; ++n)
      levels[n] = calls[n] / speeds[n] / (sum(calls) / sum(speeds)) - 1;
    return levels;
  }

 private:
  struct Answer {
    int left = kTokens;
    ReplicaTable::Choice choice;
  };
  struct Node {
    double slowness = 1;
    std::vector<Answer> waiting, running;
    bool steps = false;
    double step_s = 0, tokens = 0, seconds = 0;  // of this step; of late, forgotten by e a second
    double measured = 1, expected = 0;  // slowness that its table has; what that makes of `seconds`
    int64_t done = 0;                   // tokens since count_from_
    double open() const { return static_cast<double>(waiting.size() + running.size()); }
  };
  struct Seen {
    double at = 0;
    std::array<double, kNodes> calls{};
  };

  void Tell() {
    ++sequence_;
    Seen seen;
    seen.at = now_;
    for (size_t n = 0; n < kNodes; ++n) {
      const Node& node = nodes_[n];
      seen.calls[n] = node.open();
      NodeFigures figures;
      figures.node = std::string(1, static_cast<char>('a' + n));
      figures.incarnation = 1;
      figures.sequence = sequence_;
      ModelFigures model;
      model.name = "m";
      model.version = "1";
      model.signature = 5;
      model.row_s = StepSeconds(node.slowness, kSlots) / static_cast<double>(kSlots);
      if (tells_ == Tells::kSteps) TellSteps(node, &model);
      if (tells_ != Tells::kFullSteps && node.tokens > 0)
        model.late_row_s = node.seconds / node.tokens;
      figures.backlog_s = node.open() / 2 * WorkOf(model, kTokens);
      figures.models.push_back(model);
      if (n > 0) table_.OnRoundTrip(static_cast<int>(n), 0.002);
      table_.OnFigures(static_cast<int>(n), figures, now_, now_);
    }
    seen_.push_back(seen);
  }

  // The table has not been corrected yet, the ratio of late has.
  static void TellSteps(const Node& node, ModelFigures* model) {
    const double ratio = node.expected > 0 ? node.seconds / node.expected : 1;
    model->language = true;
    model->slots = static_cast<int>(kSlots);
    model->open = static_cast<int>(node.waiting.size() + node.running.size());
    model->answer_tokens = model->call_rows = kTokens;
    for (size_t answers = 1; answers <= kSlots; answers *= 2)
      model->step_s.push_back(StepSeconds(node.measured, answers) * ratio);
  }

  void Send() {
    Answer answer;
    answer.choice = table_.Choose(kAnswer, {}, now_);
    ASSERT_GE(answer.choice.node, 0);
    Node& node = nodes_[static_cast<size_t>(answer.choice.node)];
    node.waiting.push_back(answer);
    if (!node.steps) Step(node);
  }

  void Step(Node& node) {
    while (!node.waiting.empty() && node.running.size() < kSlots) {
      node.running.push_back(node.waiting.front());
      node.waiting.erase(node.waiting.begin());
    }
    node.steps = !node.running.empty();
    if (!node.steps) return;
    node.step_s = StepSeconds(node.slowness, node.running.size());
    ends_.emplace(now_ + node.step_s, static_cast<size_t>(&node - nodes_.data()));
  }

  // The next step's end, or the next figures.
  void Next() {
    if (ends_.empty() || ends_.top().first > told_ + kTell) {
      now_ = told_ = told_ + kTell;
      if (now_ > kHalvedAt) nodes_[1].slowness = 4;
      return Tell();
    }
    now_ = ends_.top().first;
    Node& node = nodes_[ends_.top().second];
    ends_.pop();
    const auto tokens = static_cast<double>(node.running.size());
    node.seconds = node.seconds * std::exp(-node.step_s) + node.step_s;
    node.tokens = node.tokens * std::exp(-node.step_s) + tokens;
    node.expected =
        node.expected * std::exp(-node.step_s) + StepSeconds(node.measured, node.running.size());
    if (now_ > count_from_) node.done += static_cast<int64_t>(node.running.size());
    int ended = 0;
    for (Answer& answer : node.running) {
      if (--answer.left > 0) continue;
      table_.Ended(answer.choice, now_);
      ++ended;
    }
    std::erase_if(node.running, [](const Answer& answer) { return answer.left == 0; });
    for (int i = 0; i < ended; ++i) Send();
    Step(node);
  }

  const Tells tells_;
  ReplicaTable table_{RouteRule::kUtility, 1, {"a", "b", "c"}};
  std::array<Node, kNodes> nodes_;
  std::priority_queue<std::pair<double, size_t>, std::vector<std::pair<double, size_t>>,
                      std::greater<>>
      ends_;
  std::vector<Seen> seen_;
  uint64_t sequence_ = 0;
  double now_ = 0, told_ = 0, count_from_ = 0;
};

TEST(HalvedNodeTest, AnswersTakeEquallyLongEverywhereTenSecondsLater) {
  // A call more or less on a small node is a tenth: 0.132 were seen.
  for (const auto tells : {ClosedLoop::Tells::kLately, ClosedLoop::Tells::kSteps}) {
    for (const double level : ClosedLoop(tells).LevelsAfter(10)) EXPECT_LT(std::abs(level), 0.14);
  }
}

// What its figures said of full batches was true, and misled: small nodes never have full ones.
TEST(HalvedNodeTest, ByWhatFullBatchesTakeTheyDoNot) {
  const auto levels = ClosedLoop(ClosedLoop::Tells::kFullSteps).LevelsAfter(10);
  EXPECT_GT(std::max(levels[1], levels[2]), 0.25);
}

}  // namespace
}  // namespace evenkeel
