// Fuzzes the check of ensembles' graphs against a plain one: the same graphs are refused, and what is accepted runs in its order.
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/parse.h"
#include "repository/ensemble.h"

namespace evenkeel {
namespace {

using Names = std::vector<std::string>;

// Sixteen names, the empty one among them: few, so that steps meet.
std::string Tensor(uint8_t byte) {
  return byte % 16 == 0 ? "" : std::string(1, static_cast<char>('a' + byte % 16));
}

// A step is a model, the counts of its inputs and outputs, and two bytes for each of these.
std::vector<EnsembleStep> StepsFrom(std::span<const uint8_t> bytes) {
  std::vector<EnsembleStep> steps;
  size_t at = 0;
  const auto next = [&]() -> uint8_t { return at < bytes.size() ? bytes[at++] : 1; };
  while (at < bytes.size() && steps.size() < kMostEnsembleSteps + 2) {
    EnsembleStep step;
    const uint8_t head = next();
    step.model = head % 16 == 0 ? "" : head % 16 == 1 ? "e" : "m";
    const int inputs = (head >> 4) & 3, outputs = head >> 6;
    for (int i = 0; i < inputs; ++i) step.inputs.push_back({Tensor(next()), Tensor(next())});
    for (int i = 0; i < outputs; ++i) step.outputs.push_back({Tensor(next()), Tensor(next())});
    steps.push_back(std::move(step));
  }
  return steps;
}

bool NamesAreFine(const std::vector<EnsembleStep::Named>& named) {
  std::set<std::string> own;
  for (const auto& one : named)
    if (one.own.empty() || one.tensor.empty() || !own.insert(one.own).second) return false;
  return true;
}

// Whether it can run, by running it: again and again every step that has all it needs.
bool CanRun(const Names& inputs, const Names& outputs, const std::vector<EnsembleStep>& steps) {
  if (steps.empty() || steps.size() > kMostEnsembleSteps) return false;
  std::set<std::string> there(inputs.begin(), inputs.end()), promised = there;
  for (const EnsembleStep& step : steps) {
    if (step.model.empty() || step.model == "e" || step.outputs.empty()) return false;
    if (!NamesAreFine(step.inputs) || !NamesAreFine(step.outputs)) return false;
    for (const auto& output : step.outputs)
      if (!promised.insert(output.tensor).second) return false;
  }
  std::vector<bool> ran(steps.size(), false);
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < steps.size(); ++i) {
      bool ready = !ran[i];
      for (const auto& input : steps[i].inputs) ready = ready && there.contains(input.tensor);
      if (!ready) continue;
      for (const auto& output : steps[i].outputs) there.insert(output.tensor);
      ran[i] = more = true;
    }
  }
  for (const bool one : ran)
    if (!one) return false;
  for (const std::string& output : outputs)
    if (!there.contains(output)) return false;
  return true;
}

void CheckOrder(const Names& inputs, const std::vector<EnsembleStep>& steps) {
  std::set<std::string> made(inputs.begin(), inputs.end());
  for (const EnsembleStep& step : steps) {
    for (const auto& input : step.inputs) EK_CHECK(made.contains(input.tensor));
    for (const auto& output : step.outputs) EK_CHECK(made.insert(output.tensor).second);
  }
}

}  // namespace
}  // namespace evenkeel

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  if (size < 2) return 0;
  const Names inputs{Tensor(data[0] | 1)}, outputs{Tensor(data[1] | 1)};
  const std::vector<EnsembleStep> steps = StepsFrom({data + 2, size - 2});
  std::vector<EnsembleStep> ordered = steps;
  const Status status = OrderEnsemble("e", inputs, outputs, &ordered);
  EK_CHECK(status.ok() == CanRun(inputs, outputs, steps));
  EK_CHECK(IsUtf8(status.message()));
  EK_CHECK(ordered.size() == steps.size());
  if (status.ok()) CheckOrder(inputs, ordered);
  return 0;
}
