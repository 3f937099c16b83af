#include "plan_measure.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cluster/cluster_file.h"
#include "commands.h"
#include "core/format.h"
#include "deploy_watch.h"
#include "figures.h"
#include "interrupt.h"
#include "output.h"
#include "plan_document.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kWhy = "what it takes there is measured, for the plan";
constexpr double kLeastSeconds = 1e-6;  // of work a second: nobody asks for the model
constexpr Duration kLook = std::chrono::seconds(1);
// After the first measurement: what was learnt is told each five seconds, and has to be before the model leaves.
constexpr Duration kSettle = std::chrono::seconds(8);

struct Pair {
  std::string model, node;
  double predicted_s = 0;  // of work a second, all calls there
  auto Key() const { return std::pair(model, node); }
};

// "desk/CUDA" is a place of node desk.
std::string NodeOf(const std::string& place) { return place.substr(0, place.find('/')); }

Json ClusterNow(const Api& api) { return Json::parse(api.GetBytes("/v2/evenkeel/cluster")); }

// The pair that a plan by what is known now would have measured next.
std::optional<Pair> NextPair(const Json& cluster,
                             const std::set<std::pair<std::string, std::string>>& tried) {
  const auto file = ParseClusterFile(cluster.dump());
  if (!file.ok()) Fail(kExitFailed, "the server's cluster: " + file.status().message());
  const auto plan = PlanDocument(*file, /*method=*/false);
  if (!plan.ok()) Fail(kExitFailed, plan.status().message());
  if (!plan->contains("factors")) return std::nullopt;
  for (const Json& one : plan->at("factors").at("worth_measuring")) {
    const Pair pair{TextAt(one, "task"), NodeOf(TextAt(one, "node")),
                    one.at("seconds").get<double>()};
    if (pair.predicted_s >= kLeastSeconds && !tried.contains(pair.Key())) return pair;
  }
  return std::nullopt;
}

std::optional<double> MeasuredIn(const Json& cluster, const Pair& pair) {
  for (const Json& one : cluster.value("measured", Json::array())) {
    if (TextAt(one, "task") == pair.model && TextAt(one, "on") == pair.node)
      return one.at("seconds").get<double>();
  }
  return std::nullopt;
}

// Until a node tells what the model takes there, and a little longer; nullopt: it did not in time.
std::optional<double> AwaitMeasurement(const Api& api, const Pair& pair, Duration wait,
                                       const Interrupt& interrupt) {
  const Clock& clock = SteadyClock::Instance();
  const Time end = clock.Now() + wait;
  std::optional<Time> first;
  while (!interrupt.came() && (first || clock.Now() < end)) {
    if (!first && MeasuredIn(ClusterNow(api), pair)) first = clock.Now();
    if (first && clock.Now() >= *first + kSettle) return MeasuredIn(ClusterNow(api), pair);
    std::this_thread::sleep_for(kLook);
  }
  return std::nullopt;
}

// A model on a node for as long as this lives.
class Visit {
 public:
  Visit(const Api& api, const Pair& pair, Duration wait) : api_(api), pair_(pair) {
    const Json deployment = DeployAndWatch(api, Request(), wait);
    failures_ = FailuresOf(deployment);
    for (const Json& node : deployment.value("nodes", Json::array()))
      files_were_there_ = files_were_there_ && TextAt(node, "from").empty();
  }
  ~Visit() {
    try {
      End();
    } catch (const CLI::RuntimeError&) {
      // It was said why; whoever asked for the plan sees where the model serves.
    }
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  const std::string& failures() const { return failures_; }
  void End() {
    if (std::exchange(ended_, true)) return;
    Json request = Request();
    request["keep_files"] = files_were_there_;
    api_.Post("/v2/cluster/undeploy", request);
  }

 private:
  Json Request() const {
    return {{"model", pair_.model},
            {"nodes", Json::array({pair_.node})},
            {"by_plan", true},
            {"why", kWhy}};
  }

  const Api& api_;
  const Pair pair_;
  std::string failures_;
  bool files_were_there_ = true, ended_ = false;
};

// What it takes there; nullopt: it could not be measured, which was said.
std::optional<double> Measure(const Api& api, const Pair& pair, Duration wait,
                              const Interrupt& interrupt) {
  std::fprintf(stderr, "Measuring %s on %s\n", Printable(pair.model).c_str(),
               Printable(pair.node).c_str());
  std::string why_not;
  std::optional<double> measured;
  {
    Visit visit(api, pair, wait);
    why_not = visit.failures();
    if (why_not.empty()) {
      measured = AwaitMeasurement(api, pair, wait, interrupt);
      if (!measured)
        why_not = fmt::format("no call of it ran there within {:.0f} s", Seconds(wait));
    }
    if (why_not.empty()) visit.End();
  }
  if (!measured && !interrupt.came())
    std::fprintf(stderr, "%s on %s is not measured: %s\n", Printable(pair.model).c_str(),
                 Printable(pair.node).c_str(), Printable(why_not).c_str());
  return measured;
}

void PrintMeasured(const std::vector<std::pair<Pair, double>>& pairs) {
  if (pairs.empty()) return;
  Listing listing;
  listing.columns = {
      {"MODEL"}, {"NODE"}, {"PREDICTED", true}, {"MEASURED", true}, {"FACTOR", true}};
  for (const auto& [pair, seconds] : pairs) {
    listing.rows.push_back({pair.model, pair.node, fmt::format("{:.4g} s", pair.predicted_s),
                            fmt::format("{:.4g} s", seconds),
                            fmt::format("{:.2f}", seconds / pair.predicted_s)});
  }
  std::printf("Measured on purpose, seconds of work a second\n%s\n",
              TableText(listing, false).c_str());
}

}  // namespace

void MeasurePairs(const Api& api, int most, Duration wait) {
  const Interrupt interrupt;
  std::set<std::pair<std::string, std::string>> tried;
  std::vector<std::pair<Pair, double>> measured;
  while (static_cast<int>(measured.size()) < most && !interrupt.came()) {
    const auto pair = NextPair(ClusterNow(api), tried);
    if (!pair) {
      std::fputs("Nothing more is worth measuring: the plan stands on what was measured\n", stderr);
      break;
    }
    tried.insert(pair->Key());
    if (const auto seconds = Measure(api, *pair, wait, interrupt))
      measured.emplace_back(*pair, *seconds);
  }
  PrintMeasured(measured);
  if (interrupt.came()) throw CLI::RuntimeError(kExitInterrupted);
}

}  // namespace evenkeel
