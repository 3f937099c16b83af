#include "plan_measure.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <limits>
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
  const auto plan =
      PlanDocument(*file, /*method=*/false, /*most_pairs=*/std::numeric_limits<int>::max());
  if (!plan.ok()) Fail(kExitFailed, plan.status().message());
  if (!plan->contains("factors")) return std::nullopt;
  for (const Json& one : plan->at("factors").at("worth_measuring")) {
    const Pair pair{TextAt(one, "task"), NodeOf(TextAt(one, "node")),
                    one.at("seconds").get<double>()};
    if (pair.predicted_s >= kLeastSeconds && !tried.contains(pair.Key())) return pair;
  }
  return std::nullopt;
}

bool Serves(const Json& cluster, const Pair& pair) {
  for (const Json& task : cluster.value("tasks", Json::array())) {
    if (TextAt(task, "name") != pair.model) continue;
    for (const Json& node : task.value("serving", Json::array()))
      if (node == pair.node) return true;
  }
  return false;
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
  std::optional<double> measured;
  Time first{};
  while (!interrupt.came()) {
    const auto now = MeasuredIn(ClusterNow(api), pair);
    if (now && !measured) first = clock.Now();
    if (now) measured = now;
    if (measured ? clock.Now() >= first + kSettle : clock.Now() >= end) break;
    std::this_thread::sleep_for(kLook);
  }
  return measured;
}

// A model on a node that it is brought to, until it is taken away again.
class Visit {
 public:
  Visit(const Api& api, const Pair& pair, Duration wait, Interrupt& interrupt)
      : api_(api), pair_(pair), wait_(wait), interrupt_(interrupt) {}
  ~Visit() {
    const bool interrupted = interrupt_.came();
    try {
      End();
    } catch (const std::exception&) {  // what a call said of itself was printed
      MayStay();
    }
    if (interrupted) std::raise(SIGINT);  // to be seen by who goes on, or not
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  // Why it does not serve there; "": it does.
  std::string Begin() {
    try {
      deployment_ = api_.Post("/v2/cluster/deploy", Request());
    } catch (const CLI::RuntimeError& error) {
      unanswered_ = error.get_exit_code() == kExitNoServer;
      throw;
    }
    deployment_ = WatchDeployment(api_, deployment_, wait_, [this] { return interrupt_.came(); });
    return FailuresOf(deployment_);
  }

 private:
  // Nothing is taken from a node while it is on its way there.
  void End() {
    if (deployment_.is_null()) {
      if (unanswered_) MayStay();
      return;
    }
    if (!Through(deployment_)) {
      interrupt_.Forget();
      std::fprintf(stderr,
                   "%s is on its way to %s, and is taken away once it is there; Ctrl-C leaves it\n",
                   Printable(pair_.model).c_str(), Printable(pair_.node).c_str());
      deployment_ = WatchDeployment(api_, deployment_, wait_, [this] { return interrupt_.came(); });
    }
    // Of one that failed nobody knows here how far it came; a node that was silent may go on with it.
    if (TextAt(Target(), "state") != "serving") return MayStay();
    // What was copied for it goes, too.
    Json request = Request();
    request["keep_files"] = TextAt(Target(), "from").empty();
    api_.Post("/v2/cluster/undeploy", request);
  }
  void MayStay() const {
    std::fprintf(stderr,
                 "%s, or files of it, may be on %s still: evenkeel undeploy %s --nodes %s\n",
                 Printable(pair_.model).c_str(), Printable(pair_.node).c_str(),
                 Printable(pair_.model).c_str(), Printable(pair_.node).c_str());
  }
  Json Target() const {
    const Json nodes = deployment_.value("nodes", Json::array());
    return nodes.empty() ? Json::object() : nodes.front();
  }
  Json Request() const {
    return {{"model", pair_.model},
            {"nodes", Json::array({pair_.node})},
            {"by_plan", true},
            {"why", kWhy}};
  }

  const Api& api_;
  const Pair pair_;
  const Duration wait_;
  Interrupt& interrupt_;
  bool unanswered_ = false;  // it was asked for, and may have been heard
  Json deployment_;          // null: the server has not said that it begins
};

// What it takes there; nullopt: it could not be measured, which was said.
std::optional<double> Measure(const Api& api, const Pair& pair, bool serves, Duration wait,
                              Interrupt& interrupt) {
  std::fprintf(stderr, "Measuring %s on %s\n", Printable(pair.model).c_str(),
               Printable(pair.node).c_str());
  std::string why_not;
  std::optional<double> measured;
  try {
    std::optional<Visit> visit;
    if (!serves) why_not = visit.emplace(api, pair, wait, interrupt).Begin();
    if (why_not.empty()) {
      measured = AwaitMeasurement(api, pair, wait, interrupt);
      why_not = fmt::format("no call of it ran there within {:.0f} s", Seconds(wait));
    }
  } catch (const CLI::RuntimeError&) {
    why_not = "the server refused";  // and that was said
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
  Interrupt interrupt;
  std::set<std::pair<std::string, std::string>> tried;
  std::vector<std::pair<Pair, double>> measured;
  // What was measured is told also where a later round fails.
  try {
    while (static_cast<int>(measured.size()) < most && !interrupt.came()) {
      const Json cluster = ClusterNow(api);
      const auto pair = NextPair(cluster, tried);
      if (!pair) {
        std::fputs(tried.size() > measured.size()
                       ? "Nothing else is worth measuring\n"
                       : "Nothing more is worth measuring: the plan stands on what was measured\n",
                   stderr);
        break;
      }
      tried.insert(pair->Key());
      if (const auto seconds = Measure(api, *pair, Serves(cluster, *pair), wait, interrupt))
        measured.emplace_back(*pair, *seconds);
    }
  } catch (const CLI::RuntimeError&) {
    PrintMeasured(measured);
    throw;
  }
  PrintMeasured(measured);
  if (interrupt.came()) throw CLI::RuntimeError(kExitInterrupted);
}

}  // namespace evenkeel
