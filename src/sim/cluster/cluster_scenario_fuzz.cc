// Fuzzes the files of `evenkeel simulate --cluster`, those of requests and those of a model that is cut. What is accepted is what the simulators ask for; a pipeline over
// few places is played for a while, and nothing of it is lost.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/place.h"
#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "sim/cluster/pipeline_file.h"
#include "sim/cluster/pipeline_simulation.h"
#include "sim/cluster/scenario_file.h"

namespace evenkeel::sim {
namespace {

constexpr double kPlayed = 2;  // seconds
constexpr size_t kMostPlaces = 8, kMostEvents = 16;
constexpr int kSequences = 2, kMostPrompt = 40, kMostAnswer = 20;

Result<std::string> NoFile(const std::string& /*path*/) { return NotFound("there are no files"); }

// Both sequences at once: what the file says of arrivals may be any number of them.
class Both final : public Arrivals {
 public:
  std::optional<Time> Next() override {
    return left_-- > 0 ? std::optional<Time>(Time{}) : std::nullopt;
  }

 private:
  int left_ = kSequences;
};

class BothAtOnce final : public ArrivalProcess {
 public:
  std::unique_ptr<Arrivals> Play(double /*factor*/, uint64_t /*seed*/) const override {
    return std::make_unique<Both>();
  }
  double mean_rate_rps() const override { return kSequences; }
};

void CheckEvents(const std::vector<ClusterEvent>& events, size_t nodes) {
  EK_CHECK(std::ranges::is_sorted(events, {}, &ClusterEvent::at_s));
  for (const ClusterEvent& event : events) {
    EK_CHECK(event.node >= 0 && static_cast<size_t>(event.node) < nodes);
    EK_CHECK(event.at_s >= 0 && event.factor > 0);
  }
}

void CheckScenario(const ClusterScenario& scenario) {
  EK_CHECK(!scenario.nodes.empty() && scenario.arrivals != nullptr);
  for (const ClusterNode& node : scenario.nodes) EK_CHECK(node.capacity > 0);
  EK_CHECK(scenario.work_s > 0 && scenario.period_s > 0 && scenario.detect_s > 0);
  EK_CHECK(scenario.work_cv >= 0 && scenario.age >= 0);
  CheckEvents(scenario.events, scenario.nodes.size());
}

void CheckPipeline(const PipelineScenario& scenario) {
  EK_CHECK(!scenario.nodes.empty() && scenario.arrivals != nullptr);
  EK_CHECK(scenario.model.layers >= 2);
  EK_CHECK(scenario.model.memory_bytes > scenario.model.first_bytes + scenario.model.last_bytes);
  EK_CHECK(scenario.prompt_tokens >= 1 && scenario.answer_tokens >= 1);
  EK_CHECK(scenario.piece_tokens >= 1 && scenario.in_flight >= 1);
  EK_CHECK(scenario.detect_s >= 0 && scenario.load_bytes_per_s > 0);
  EK_CHECK(scenario.link.bytes_per_s > 0 && scenario.link.round_trip_s >= 0);
  CheckEvents(scenario.events, scenario.nodes.size());
}

// Every layer in one stage, in order.
void CheckCut(const CutOutcome& cut, int layers) {
  EK_CHECK(cut.from_s <= cut.until_s && cut.until_s <= kPlayed);
  int next = 0;
  for (const StageOutcome& stage : cut.stages) {
    EK_CHECK(stage.first == next && stage.layers >= 1);
    EK_CHECK(stage.idle >= -1e-6 && stage.idle <= 1 + 1e-6);
    next += stage.layers;
  }
  EK_CHECK(next == layers);
}

void Play(PipelineScenario scenario) {
  if (PlacesOf(scenario.nodes).size() > kMostPlaces || scenario.events.size() > kMostEvents) return;
  scenario.arrivals = std::make_shared<BothAtOnce>();
  scenario.prompt_tokens = std::min(scenario.prompt_tokens, kMostPrompt);
  scenario.answer_tokens = std::min(scenario.answer_tokens, kMostAnswer);
  PipelineOptions options;
  options.seconds = kPlayed;
  options.warm_up_s = 0;
  const auto outcome = SimulatePipeline(scenario, options);
  if (!outcome.ok()) {
    EK_CHECK(outcome.status().code() == Code::kUnavailable);
    EK_CHECK(IsUtf8(outcome.status().message()));
    return;
  }
  EK_CHECK(outcome->arrived == uint64_t{kSequences});
  EK_CHECK(outcome->answered + outcome->unanswered == outcome->arrived);
  const auto whole = static_cast<uint64_t>(scenario.answer_tokens);
  EK_CHECK(outcome->answer_tokens >= outcome->answered * whole);
  EK_CHECK(outcome->answer_tokens <= outcome->arrived * whole);
  EK_CHECK(outcome->down_s >= 0 && outcome->down_s <= kPlayed + 1e-6);
  EK_CHECK(!outcome->cuts.empty());
  for (const CutOutcome& cut : outcome->cuts) CheckCut(cut, scenario.model.layers);
}

}  // namespace
}  // namespace evenkeel::sim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;       // NOLINT
  using namespace evenkeel::sim;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto scenario = ParseScenario(text, NoFile);
  const auto pipeline = ParsePipeline(text, NoFile);
  // Which of the two it is, is never open.
  EK_CHECK(!pipeline.ok() || IsPipeline(text));
  EK_CHECK(!scenario.ok() || !IsPipeline(text));
  EK_CHECK(scenario.ok() || IsUtf8(scenario.status().message()));
  EK_CHECK(pipeline.ok() || IsUtf8(pipeline.status().message()));
  if (scenario.ok()) CheckScenario(*scenario);
  if (!pipeline.ok()) return 0;
  CheckPipeline(*pipeline);
  Play(*pipeline);
  return 0;
}
