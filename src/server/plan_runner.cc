#include "server/plan_runner.h"

#include <algorithm>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "cluster/models/deploy_order.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using nlohmann::json;

constexpr Duration kLook = std::chrono::milliseconds(250);
constexpr size_t kMostReason = 200;  // of the plan's own words

std::string NodeOf(const std::string& place) { return place.substr(0, place.find('/')); }

bool OnlyLeaves(const std::vector<ApplyStep>& steps, const std::string& node) {
  return steps.size() == 1 && !steps.front().load && steps.front().node == node;
}

}  // namespace

Result<PlannedCluster> ReadPlacement(const json& placement,
                                     const std::vector<ReplicaTable::NodeView>& nodes) {
  if (!placement.is_object()) return InvalidArgument("a plan: expected a placement");
  std::map<std::string, PlannedModel> models;
  for (const auto& [place, names] : placement.items()) {
    if (!names.is_array())
      return InvalidArgument("a plan: expected a list of models on '{}'", place);
    for (const json& name : names) {
      if (!name.is_string())
        return InvalidArgument("a plan: expected names of models on '{}'", place);
      PlannedModel& model = models[name.get<std::string>()];
      model.name = name.get<std::string>();
      model.wanted.insert(NodeOf(place));
    }
  }
  PlannedCluster cluster;
  for (const auto& node : nodes) {
    if (node.gone || !node.known || (node.suspect && !node.figures.draining)) continue;
    cluster.nodes.push_back({node.name, node.figures.free_memory_bytes});
    for (const ModelFigures& figures : node.figures.models) {
      const auto model = models.find(figures.name);
      if (model == models.end()) continue;
      model->second.serving.insert(node.name);
      model->second.memory_bytes = std::max(model->second.memory_bytes, figures.memory_bytes);
    }
  }
  for (auto& [name, model] : models) {
    if (model.serving.empty()) return InvalidArgument("a plan: no node serves model '{}'", name);
    cluster.models.push_back(std::move(model));
  }
  return cluster;
}

PlanRunner::PlanRunner(Cluster cluster, EventLog& events, const Clock& clock)
    : cluster_(std::move(cluster)), events_(events), clock_(clock) {}

PlanRunner::~PlanRunner() { Stop(); }

void PlanRunner::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
}

bool PlanRunner::Wait(Duration time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, time, [this] { return stopped_; });
}

void PlanRunner::Run(const json& plan) {
  const uint64_t number = newest_.fetch_add(1) + 1;
  thread_.Post([this, plan, number] {
    if (number == newest_.load()) CarryOut(plan, number);
    ended_.store(number);
  });
}

void PlanRunner::set_store(Store store) {
  const std::lock_guard lock(mutex_);
  store_ = std::move(store);
}

void PlanRunner::set_hindrance(Hindrance hindrance) {
  const std::lock_guard lock(mutex_);
  hindrance_ = std::move(hindrance);
}

Status PlanRunner::MayMove() {
  Hindrance hindrance;
  {
    const std::lock_guard lock(mutex_);
    hindrance = hindrance_;
  }
  const std::string why = hindrance ? hindrance() : std::string();
  return why.empty() ? Status::Ok() : Unavailable("nothing is moved: {}", why);
}

// Waits for the store, which answers by a deadline of its own.
Result<std::optional<PlanStamp>> PlanRunner::StoreFirst(const json& plan) {
  using Stored = Result<std::optional<PlanStamp>>;
  Store store;
  {
    const std::lock_guard lock(mutex_);
    store = store_;
  }
  if (!store) return std::optional<PlanStamp>();
  auto promise = std::make_shared<std::promise<Stored>>();
  auto answer = promise->get_future();
  store(plan.dump(), [promise](Stored stored) { promise->set_value(std::move(stored)); });
  while (answer.wait_for(kLook) != std::future_status::ready) {
    if (!Wait(Duration(0))) return Unavailable("this node is stopping");
  }
  return answer.get();
}

void PlanRunner::CarryOut(const json& plan, uint64_t number) {
  const std::string why = "the plan: " + plan.value("reason", std::string()).substr(0, kMostReason);
  const auto cluster = ReadPlacement(plan.value("placement", json()), cluster_.look());
  const auto steps = cluster.ok() ? StepsToPlan(cluster->models, cluster->nodes)
                                  : Result<std::vector<ApplyStep>>(cluster.status());
  if (!steps.ok()) return events_.Note("a plan was not carried out", steps.status().message());
  if (steps->empty() || !Wait(Duration(0))) return;
  const std::string leaves = plan.value("leaves", std::string());
  if (!leaves.empty() && !OnlyLeaves(*steps, leaves))
    return events_.Note(
        "a replica beyond what was asked for stays: other nodes serve its model now", why);
  // What is not stored may be older than what another node carries out.
  const auto stamp = StoreFirst(plan);
  if (!stamp.ok())
    return events_.Note("a plan was not carried out: it is not stored", stamp.status().message());
  OrderedBy by{/*plan=*/true, std::nullopt};
  if (const auto& stored = *stamp)
    by.mark = PlanMark{stored->term.history, stored->term.revision, stored->revision};
  Status failed;
  for (size_t i = 0; failed.ok() && i < steps->size(); ++i) {
    if (number != newest_.load() || !Wait(Duration(0))) return;
    failed = MayMove();
    if (failed.ok()) failed = Make((*steps)[i], by, why);
  }
  if (!failed.ok()) events_.Note("a plan was not carried out to its end", failed.message());
}

Status PlanRunner::Make(const ApplyStep& step, const OrderedBy& by, const std::string& why) {
  auto promise = std::make_shared<std::promise<Result<json>>>();
  const auto done = [promise](Result<json> answer) { promise->set_value(std::move(answer)); };
  if (!step.load) {
    cluster_.undeploy({step.model, {step.node}, /*keep_files=*/true, /*force=*/false, why, by},
                      done);
    return promise->get_future().get().status();
  }
  cluster_.deploy({step.model, {step.node}, 0, why, by}, done);
  const Result<json> begun = promise->get_future().get();
  return begun.ok() ? AwaitServing(begun->at("id").get<uint64_t>(), step.node) : begun.status();
}

Status PlanRunner::AwaitServing(uint64_t deployment, const std::string& node) {
  const Time end = clock_.Now() + kPatience;
  while (clock_.Now() < end) {
    if (!Wait(kLook)) return Unavailable("this node is stopping");
    const json all = cluster_.deploys();
    for (const json& one : all.at("deploys")) {
      if (one.at("id").get<uint64_t>() != deployment) continue;
      const json& target = one.at("nodes").at(0);
      const std::string state = target.at("state");
      if (state == NameOf(DeployState::kServing)) return Status::Ok();
      if (state == NameOf(DeployState::kFailed))
        return Unavailable("node '{}': {}", node, target.at("error").get<std::string>());
    }
  }
  return DeadlineExceeded("node '{}' does not serve it after {:.0f} s", node, Seconds(kPatience));
}

}  // namespace evenkeel
