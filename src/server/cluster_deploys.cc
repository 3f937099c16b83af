#include "server/cluster_deploys.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/parse.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using NodeView = ReplicaTable::NodeView;

// A replica counts as served once this node has heard of it, or after this: graphs whose steps are served nowhere are not told.
constexpr Duration kHear = std::chrono::seconds(5);

Status CheckNames(const std::string& model, const std::vector<std::string>& nodes,
                  const std::string& why) {
  if (!IsModelName(model))
    return InvalidArgument("model: expected a name of letters, digits, '.', '_' and '-', got {}",
                           Excerpt(model));
  for (const std::string& node : nodes) EK_RETURN_IF_ERROR(pki::CheckNodeName(node));
  return CheckReason(why);
}

}  // namespace

bool ClusterDeploys::Deployment::open() const {
  return std::ranges::any_of(targets,
                             [](const Target& target) { return !IsFinal(target.progress.state); });
}

ClusterDeploys::ClusterDeploys(Cluster cluster, NodeModels& own, EventLog& events,
                               const Clock& clock)
    : own_(own),
      events_(events),
      clock_(clock),
      asked_(std::move(cluster.asked)),
      nodes_(std::move(cluster.look), std::move(cluster.link_to), own),
      departures_(
          nodes_, own, events, [this](std::function<void()> task) { return Post(std::move(task)); },
          asked_),
      thread_([this] { Run(); }) {}

ClusterDeploys::~ClusterDeploys() { Stop(); }

void ClusterDeploys::Stop() {
  nodes_.Stop();
  // While what it answers can be posted yet.
  departures_.Stop();
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  // Their links are stopped.
  departures_.Join();
}

void ClusterDeploys::Run() {
  Time polled{};
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto ready = [this] { return stopped_ || !tasks_.empty(); };
    // Nothing is asked of anybody while no deployment is under way.
    if (!parked_.empty()) {
      wake_.wait_for(lock, kLook, ready);
    } else if (std::ranges::any_of(deployments_, &Deployment::open)) {
      wake_.wait_for(lock, kPoll, ready);
    } else {
      wake_.wait(lock, ready);
    }
    if (stopped_ && tasks_.empty()) break;
    std::function<void()> task;
    if (!tasks_.empty()) {
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    lock.unlock();
    if (task) {
      task();
      task = nullptr;
    } else if (parked_.empty() || clock_.Now() - polled >= kPoll) {
      Poll();
      polled = clock_.Now();
    }
    LookAtParked();
    lock.lock();
  }
  lock.unlock();
  const std::list<Parked> last = std::exchange(parked_, {});
  for (const Parked& one : last) one.go(Unavailable("this node is stopping"));
}

bool ClusterDeploys::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return false;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void ClusterDeploys::Deploy(DeployRequest request, Done done) {
  const auto begin = [this, request = std::move(request), done] {
    const Status names = CheckNames(request.model, request.nodes, request.why);
    if (!names.ok()) return done(names);
    OncePlanIsKnown(request.by, [this, request, done](const Status& known) {
      if (!known.ok()) return done(known);
      OnceAllAnswer([this, request, done](const Status& may) {
        done(may.ok() ? Begin(request) : Result<json>(may));
      });
    });
  };
  if (!Post(begin)) done(Unavailable("this node is stopping"));
}

void ClusterDeploys::Undeploy(UndeployRequest request, Done done) {
  const auto begin = [this, request = std::move(request), done] {
    const Status names = CheckNames(request.model, request.nodes, request.why);
    if (!names.ok()) return done(names);
    OncePlanIsKnown(request.by, [this, request, done](const Status& known) {
      if (!known.ok()) return done(known);
      departures_.Begin(request, done);
    });
  };
  if (!Post(begin)) done(Unavailable("this node is stopping"));
}

void ClusterDeploys::OncePlanIsKnown(const OrderedBy& by, Go go) {
  const auto plan = StampOf(by);
  const auto look = [this, plan, go = std::move(go)](const Status& may) {
    const Status known = may.ok() ? own_.LookAtPlan(plan) : may;
    if (known.code() == Code::kConflict) return go(Status::Ok());
    go(may.ok() && known.code() == Code::kUnavailable ? Conflict("{}", known.message()) : known);
  };
  if (own_.LookAtPlan(plan).code() != Code::kUnavailable) return look(Status::Ok());
  Park({plan, clock_.Now() + own_.plan_patience(), look});
}

void ClusterDeploys::OnceAllAnswer(Go go) {
  if (AllAnswer()) return go(Status::Ok());
  Park({std::nullopt, clock_.Now() + kSettle, std::move(go)});
}

bool ClusterDeploys::AllAnswer() const {
  const auto nodes = nodes_.All();
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].gone && !NodeAnswers(nodes[i], i == 0)) return false;
  }
  return true;
}

void ClusterDeploys::Park(Parked one) {
  if (parked_.size() >= kMostParked)
    return one.go(Overloaded("{} requests wait for a plan or a node already", parked_.size()));
  parked_.push_back(std::move(one));
}

void ClusterDeploys::LookAtParked() {
  const bool for_nodes =
      std::ranges::any_of(parked_, [](const Parked& one) { return !one.plan.has_value(); });
  const bool all_answer = for_nodes && AllAnswer();
  const Time now = clock_.Now();
  // They may park anew.
  std::list<Parked> ready;
  for (auto at = parked_.begin(); at != parked_.end();) {
    const auto one = at++;
    const bool can =
        one->plan ? own_.LookAtPlan(one->plan).code() != Code::kUnavailable : all_answer;
    if (can || now >= one->until) ready.splice(ready.end(), parked_, one);
  }
  for (const Parked& one : ready) one.go(Status::Ok());
}

Result<json> ClusterDeploys::Begin(const DeployRequest& request) {
  const auto holders = nodes_.Holders(request.model);
  if (!holders.ok()) return holders.status();
  const auto nodes = nodes_.All();
  EK_RETURN_IF_ERROR(CheckOneKind(nodes, request.model));
  // What it takes where it runs is known better than what its files say.
  int64_t memory = 0;
  std::vector<DeployNode> candidates;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].gone) continue;
    const NodeFigures& figures = nodes[i].figures;
    for (const ModelFigures& model : figures.models) {
      if (model.name == request.model) memory = std::max(memory, model.memory_bytes);
    }
    candidates.push_back({nodes[i].name, NodeAnswers(nodes[i], i == 0), figures.draining,
                          NodeServes(nodes[i], request.model), figures.free_memory_bytes});
  }
  if (memory == 0) memory = static_cast<int64_t>(holders->front().listing.bytes);
  const auto chosen =
      ChooseDeployTargets(request.model, memory, candidates, {request.nodes, request.replicas});
  if (!chosen.ok()) return chosen.status();

  Deployment deployment;
  deployment.order = {request.model,
                      holders->front().listing.digest,
                      {},
                      ReasonOf(request.why),
                      StampOf(request.by)};
  for (const ModelNodes::Holder& holder : *holders) deployment.order.holders.push_back(holder.node);
  deployment.left_out = chosen->left_out;
  for (const std::string& node : chosen->nodes) {
    Target target;
    target.node = node;
    target.progress.state = DeployState::kWaiting;
    target.heard = clock_.Now();
    deployment.targets.push_back(std::move(target));
  }
  events_.Note(fmt::format("model '{}' is deployed to {}", request.model, NamesOf(chosen->nodes)),
               deployment.order.why);
  if (!request.by.plan) {
    // Those that serve it already stay, unless a number was said.
    std::set<std::string> then(chosen->nodes.begin(), chosen->nodes.end());
    for (const std::string& node : NodesThatServe(nodes, request.model)) then.insert(node);
    asked_(request.model, request.replicas > 0 ? request.replicas : static_cast<int>(then.size()));
  }
  const std::lock_guard lock(mutex_);
  deployment.id = ++last_id_;
  deployments_.push_back(deployment);
  if (deployments_.size() > kMostKept) deployments_.pop_front();
  return JsonOf(deployment);
}

// Tells the node. An error: it was not told, and may be later.
Result<DeployProgress> ClusterDeploys::Order(const DeployOrder& order, bool own, Target* target) {
  ModelPeer* const link = own ? nullptr : nodes_.LinkTo(target->node);
  if (!own && link == nullptr) return NotFound("the cluster has no node '{}'", target->node);
  const Status told = own ? own_.Deploy(order) : link->Deploy(order);
  const bool silent = told.code() == Code::kDeadlineExceeded;
  if (!told.ok() && (silent || InfoOf(told.code()).may_retry)) return told;
  DeployProgress progress;
  target->ordered = told.ok();
  progress.state = told.ok() ? DeployState::kWaiting : DeployState::kFailed;
  progress.error = told.message();
  return progress;
}

Result<DeployProgress> ClusterDeploys::Hear(const DeployOrder& order, bool own,
                                            const Target& target) {
  if (own) return own_.Progress(order.model, order.digest);
  ModelPeer* const link = nodes_.LinkTo(target.node);
  if (link == nullptr) return NotFound("the cluster has no node '{}'", target.node);
  return link->Progress(order.model, order.digest);
}

// One node's answer. A node that does not know of the order, since it was not told or has forgotten, is told.
DeployProgress ClusterDeploys::Ask(const DeployOrder& order, Target* target) {
  const auto nodes = nodes_.All();
  const Time now = clock_.Now();
  const bool own = nodes[0].name == target->node;
  auto told =
      target->ordered ? Hear(order, own, *target) : Result<DeployProgress>(DeployProgress());
  if (told.ok() && told->state == DeployState::kUnknown) told = Order(order, own, target);
  if (!told.ok()) {
    if (now - target->heard <= kSilence) return target->progress;
    DeployProgress failed = target->progress;
    failed.state = DeployState::kFailed;
    failed.error = fmt::format("for {:.0f} s it did not answer, or take the order: {}",
                               Seconds(kSilence), told.status().message());
    return failed;
  }
  target->heard = now;
  if (told->state == DeployState::kServing) {
    if (target->served == Time{}) target->served = now;
    const NodeView* view = FindNode(nodes, target->node);
    if (view != nullptr && !NodeServes(*view, order.model) && now - target->served < kHear)
      told->state = DeployState::kLoading;
  }
  return *told;
}

void ClusterDeploys::Poll() {
  std::vector<Deployment> open;
  {
    const std::lock_guard lock(mutex_);
    for (const Deployment& one : deployments_) {
      if (one.open()) open.push_back(one);
    }
  }
  for (Deployment& one : open) {
    for (Target& target : one.targets) {
      if (!IsFinal(target.progress.state)) target.progress = Ask(one.order, &target);
    }
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find(deployments_, one.id, &Deployment::id);
    if (at != deployments_.end()) at->targets = one.targets;
  }
}

json ClusterDeploys::JsonOf(const Deployment& deployment) {
  json nodes = json::array();
  for (const Target& target : deployment.targets) {
    const DeployProgress& progress = target.progress;
    nodes.push_back({{"node", target.node},
                     {"state", NameOf(progress.state)},
                     {"bytes_done", progress.bytes_done},
                     {"bytes_total", progress.bytes_total},
                     {"bytes_fetched", progress.bytes_fetched},
                     {"bytes_resumed", progress.bytes_resumed},
                     {"from", progress.from},
                     {"error", progress.error}});
  }
  json left_out = json::array();
  for (const auto& [node, why] : deployment.left_out)
    left_out.push_back({{"node", node}, {"why", why}});
  return {{"id", deployment.id},
          {"model", deployment.order.model},
          {"digest", "sha256:" + deployment.order.digest},
          {"why", deployment.order.why},
          {"nodes", std::move(nodes)},
          {"left_out", std::move(left_out)}};
}

json ClusterDeploys::Describe() const {
  json list = json::array();
  const std::lock_guard lock(mutex_);
  for (const Deployment& one : deployments_) list.push_back(JsonOf(one));
  return {{"deploys", std::move(list)}};
}

}  // namespace evenkeel
