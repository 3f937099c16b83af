#include "server/cluster_deploys.h"

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/parse.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using NodeView = ReplicaTable::NodeView;

// A replica counts as served once this node has heard of it, or after this: ensembles are not in figures.
constexpr Duration kHear = std::chrono::seconds(5);
constexpr std::string_view kAsked = "it was asked for";

bool Serves(const NodeView& node, std::string_view model) {
  return std::ranges::find(node.figures.models, model, &ModelFigures::name) !=
         node.figures.models.end();
}

// A node that drains counts as suspect where calls are routed; it answers all the same.
bool Answers(const NodeView& node, bool own) {
  if (node.gone) return false;
  return own || (node.known &&
                 (!node.suspect || (node.figures.draining && node.age_s < ReplicaTable::kStale)));
}

std::vector<std::string> ServedBy(const std::vector<NodeView>& nodes, std::string_view model) {
  std::vector<std::string> serving;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (Answers(nodes[i], i == 0) && Serves(nodes[i], model)) serving.push_back(nodes[i].name);
  }
  return serving;
}

const NodeView* Find(const std::vector<NodeView>& nodes, std::string_view name) {
  const auto at = std::ranges::find_if(
      nodes, [name](const NodeView& node) { return node.name == name && !node.gone; });
  return at == nodes.end() ? nullptr : &*at;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

Status CheckNames(const std::string& model, const std::vector<std::string>& nodes,
                  const std::string& why) {
  if (!IsModelName(model))
    return InvalidArgument("model: expected a name of letters, digits, '.', '_' and '-', got {}",
                           Excerpt(model));
  for (const std::string& node : nodes) EK_RETURN_IF_ERROR(pki::CheckNodeName(node));
  return CheckReason(why);
}

std::optional<PlanStamp> StampOf(const OrderedBy& by) {
  if (!by.mark) return std::nullopt;
  return PlanStamp{{by.mark->history, by.mark->term}, by.mark->revision};
}

}  // namespace

bool ClusterDeploys::Deployment::open() const {
  return std::ranges::any_of(targets,
                             [](const Target& target) { return !IsFinal(target.progress.state); });
}

ClusterDeploys::ClusterDeploys(Cluster cluster, NodeModels& own, EventLog& events,
                               const Clock& clock)
    : cluster_(std::move(cluster)), own_(own), events_(events), clock_(clock), thread_([this] {
        Run();
      }) {}

ClusterDeploys::~ClusterDeploys() { Stop(); }

void ClusterDeploys::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const auto& [_, link] : links_) {
      if (link) link->Stop();  // null: the node had been removed when it was asked
    }
    for (auto& [_, waiting] : departing_) {
      for (auto& task : waiting) tasks_.push_back(std::move(task));
      waiting.clear();
    }
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::list<std::future<void>> last;
  {
    const std::lock_guard lock(mutex_);
    last = std::move(departures_);
  }
  // Their links are stopped; they end here.
}

void ClusterDeploys::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto ready = [this] { return stopped_ || !tasks_.empty(); };
    // Nothing is asked of anybody while no deployment is under way.
    if (std::ranges::any_of(deployments_, &Deployment::open)) {
      wake_.wait_for(lock, kPoll, ready);
    } else {
      wake_.wait(lock, ready);
    }
    if (stopped_ && tasks_.empty()) return;
    std::function<void()> task;
    if (!tasks_.empty()) {
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    lock.unlock();
    task ? task() : Poll();
    task = nullptr;
    lock.lock();
  }
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
  if (!Post([this, request = std::move(request), done] { done(Begin(request)); }))
    done(Unavailable("this node is stopping"));
}

void ClusterDeploys::Undeploy(UndeployRequest request, Done done) {
  if (!Post([this, request = std::move(request), done] { BeginUndeploy(request, done); }))
    done(Unavailable("this node is stopping"));
}

ModelPeer* ClusterDeploys::LinkTo(const std::string& node) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return nullptr;
  auto& link = links_[node];
  if (!link) link = cluster_.link_to(node);
  return link.get();
}

Result<std::vector<ClusterDeploys::Holder>> ClusterDeploys::Holders(const std::string& model) {
  const auto nodes = cluster_.look();
  std::vector<std::pair<std::string, std::future<Result<ModelListing>>>> asked;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string& name = nodes[i].name;
    if (!Answers(nodes[i], i == 0)) continue;
    if (i == 0) {
      auto promise = std::make_shared<std::promise<Result<ModelListing>>>();
      asked.emplace_back(name, promise->get_future());
      own_.ListModel(model, [promise](Result<ModelListing> listing) {
        promise->set_value(std::move(listing));
      });
    } else if (ModelPeer* link = LinkTo(name)) {
      asked.emplace_back(
          name, std::async(std::launch::async, [link, model] { return link->List(model); }));
    }
  }
  std::vector<Holder> holders;
  Status failed;
  for (auto& [name, answer] : asked) {
    auto listing = answer.get();
    if (listing.ok()) {
      if (Status checked = CheckListing(*listing, model); !checked.ok())
        listing = std::move(checked);
    }
    if (listing.ok()) {
      holders.push_back({name, *std::move(listing)});
    } else if (listing.status().code() != Code::kNotFound) {
      failed = listing.status().Annotate(fmt::format("node '{}'", name));
    }
  }
  if (holders.empty())
    return failed.ok() ? NotFound("no node that answers has files of a model '{}'", model) : failed;
  for (const Holder& holder : holders) {
    if (holder.listing.digest == holders[0].listing.digest) continue;
    return Conflict(
        "there are two models '{}': sha256:{} on node '{}', sha256:{} on node '{}'; give one of "
        "the two another name",
        model, holders[0].listing.digest, holders[0].node, holder.listing.digest, holder.node);
  }
  return holders;
}

std::vector<NodeView> ClusterDeploys::LookAtAll() {
  const Time end = clock_.Now() + kSettle;
  for (;;) {
    auto nodes = cluster_.look();
    bool all = true;
    for (size_t i = 0; i < nodes.size(); ++i)
      all = all && (nodes[i].gone || Answers(nodes[i], i == 0));
    std::unique_lock lock(mutex_);
    if (all || stopped_ || clock_.Now() >= end) return nodes;
    wake_.wait_for(lock, kPoll, [this] { return stopped_; });
  }
}

Status ClusterDeploys::CheckPlan(const OrderedBy& by) {
  const Status known = own_.AwaitPlan(StampOf(by));
  if (known.code() == Code::kConflict) return Status::Ok();
  return known.code() == Code::kUnavailable ? Conflict("{}", known.message()) : known;
}

Result<json> ClusterDeploys::Begin(const DeployRequest& request) {
  EK_RETURN_IF_ERROR(CheckNames(request.model, request.nodes, request.why));
  EK_RETURN_IF_ERROR(CheckPlan(request.by));
  static_cast<void>(LookAtAll());
  const auto holders = Holders(request.model);
  if (!holders.ok()) return holders.status();
  const auto nodes = cluster_.look();
  // What it takes where it runs is known better than what its files say.
  int64_t memory = 0;
  std::vector<DeployNode> candidates;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].gone) continue;
    const NodeFigures& figures = nodes[i].figures;
    for (const ModelFigures& model : figures.models) {
      if (model.name == request.model) memory = std::max(memory, model.memory_bytes);
    }
    candidates.push_back({nodes[i].name, Answers(nodes[i], i == 0), figures.draining,
                          Serves(nodes[i], request.model), figures.free_memory_bytes});
  }
  if (memory == 0) memory = static_cast<int64_t>(holders->front().listing.bytes);
  const auto chosen =
      ChooseDeployTargets(request.model, memory, candidates, {request.nodes, request.replicas});
  if (!chosen.ok()) return chosen.status();

  Deployment deployment;
  deployment.order = {request.model,
                      holders->front().listing.digest,
                      {},
                      request.why.empty() ? std::string(kAsked) : request.why,
                      StampOf(request.by)};
  for (const Holder& holder : *holders) deployment.order.holders.push_back(holder.node);
  deployment.left_out = chosen->left_out;
  for (const std::string& node : chosen->nodes) {
    Target target;
    target.node = node;
    target.progress.state = DeployState::kWaiting;
    target.heard = clock_.Now();
    deployment.targets.push_back(std::move(target));
  }
  events_.Note(fmt::format("model '{}' is deployed to {}", request.model, Joined(chosen->nodes)),
               deployment.order.why);
  if (!request.by.plan) {
    // Those that serve it already stay, unless a number was said.
    std::set<std::string> then(chosen->nodes.begin(), chosen->nodes.end());
    for (const std::string& node : ServedBy(nodes, request.model)) then.insert(node);
    cluster_.asked(request.model,
                   request.replicas > 0 ? request.replicas : static_cast<int>(then.size()));
  }
  const std::lock_guard lock(mutex_);
  deployment.id = ++last_id_;
  deployments_.push_back(deployment);
  if (deployments_.size() > kMostKept) deployments_.pop_front();
  return JsonOf(deployment);
}

// Tells the node. An error: it was not told, and may be later.
Result<DeployProgress> ClusterDeploys::Order(const DeployOrder& order, bool own, Target* target) {
  ModelPeer* const link = own ? nullptr : LinkTo(target->node);
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
  ModelPeer* const link = LinkTo(target.node);
  if (link == nullptr) return NotFound("the cluster has no node '{}'", target.node);
  return link->Progress(order.model, order.digest);
}

// One node's answer. A node that does not know of the order, since it was not told or has forgotten, is told.
DeployProgress ClusterDeploys::Ask(const DeployOrder& order, Target* target) {
  const auto nodes = cluster_.look();
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
    const NodeView* view = Find(nodes, target->node);
    if (view != nullptr && !Serves(*view, order.model) && now - target->served < kHear)
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

// No model is lost, and none stops being served, unless that was asked for in so many words.
Status ClusterDeploys::MayTakeAway(const UndeployRequest& request) {
  const auto nodes = cluster_.look();
  bool served = false, served_elsewhere = false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const bool named = std::ranges::find(request.nodes, nodes[i].name) != request.nodes.end();
    const bool serves = Answers(nodes[i], i == 0) && Serves(nodes[i], request.model);
    (named ? served : served_elsewhere) |= serves && (named || !nodes[i].figures.draining);
  }
  if (request.force) return Status::Ok();
  if (served && !served_elsewhere)
    return Conflict("no node but {} serves model '{}': deploy it elsewhere first, or say --force",
                    Joined(request.nodes), request.model);
  if (request.keep_files) return Status::Ok();
  // Other contents of the name would not stand in for it: then this is refused, too.
  const auto holders = Holders(request.model);
  if (!holders.ok())
    return holders.status().code() == Code::kNotFound ? Status::Ok() : holders.status();
  const auto stays = [&request](const Holder& holder) {
    return std::ranges::find(request.nodes, holder.node) == request.nodes.end();
  };
  if (std::ranges::any_of(*holders, stays)) return Status::Ok();
  return Conflict(
      "no node but {} has the files of model '{}': deploy it elsewhere first, or say --force",
      Joined(request.nodes), request.model);
}

// On the thread of requests: what can be said at once. The nodes are waited for on another.
void ClusterDeploys::BeginUndeploy(const UndeployRequest& request, const Done& done) {
  Status status = CheckNames(request.model, request.nodes, request.why);
  if (status.ok()) status = CheckPlan(request.by);
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) status = Unavailable("this node is stopping");
    const auto departing = departing_.find(request.model);
    if (status.ok() && departing != departing_.end()) {
      departing->second.push_back([this, request, done] { BeginUndeploy(request, done); });
      return;
    }
    std::erase_if(departures_, [](const std::future<void>& one) {
      return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
    if (status.ok() && departures_.size() >= kMostDepartures)
      status = Overloaded("{} models are being taken from nodes already", departures_.size());
  }
  const auto nodes = cluster_.look();
  for (const std::string& name : request.nodes) {
    if (!status.ok()) break;
    const NodeView* node = Find(nodes, name);
    if (node == nullptr) {
      status = NotFound("the cluster has no node '{}'", name);
    } else if (!Answers(*node, node == nodes.data())) {
      status = Unavailable("node '{}' does not answer", name);
    }
  }
  if (status.ok()) status = MayTakeAway(request);
  if (!status.ok()) return done(status);
  {
    const std::lock_guard lock(mutex_);
    departing_.try_emplace(request.model);
    try {
      departures_.push_back(std::async(std::launch::async, [this, request, done] {
        const auto taken = TakeAway(request);
        EndDeparture(request.model);
        done(taken);
      }));
    } catch (const std::system_error& error) {
      departing_.erase(request.model);
      status = Overloaded("model '{}' is not taken away: {}", request.model, error.what());
    }
  }
  if (!status.ok()) done(status);
}

// What waited for it begins.
void ClusterDeploys::EndDeparture(const std::string& model) {
  std::deque<std::function<void()>> waiting;
  {
    const std::lock_guard lock(mutex_);
    auto departing = departing_.extract(model);
    if (!departing.empty()) waiting = std::move(departing.mapped());
    for (auto& task : waiting) tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

Status ClusterDeploys::TakeFrom(const std::string& node, bool own, const UndeployOrder& order) {
  if (own) {
    auto promise = std::make_shared<std::promise<Status>>();
    own_.Undeploy(order, [promise](const Status& status) { promise->set_value(status); });
    return promise->get_future().get();
  }
  ModelPeer* const link = LinkTo(node);
  return link != nullptr ? link->Undeploy(order) : Unavailable("this node is stopping");
}

std::vector<Status> ClusterDeploys::TakeFromAll(std::span<const std::string> nodes,
                                                const std::string& own,
                                                const UndeployOrder& order) {
  std::vector<std::future<Status>> answers;
  std::vector<Status> taken;
  Status failed;
  for (const std::string& node : nodes) {
    try {
      answers.push_back(std::async(std::launch::async, [this, &node, &own, &order] {
        return TakeFrom(node, node == own, order);
      }));
    } catch (const std::system_error& error) {
      failed = Overloaded("there is no thread to ask it: {}", error.what());
      break;
    }
  }
  for (auto& answer : answers) taken.push_back(answer.get());
  taken.resize(nodes.size(), failed);
  return taken;
}

Result<json> ClusterDeploys::TakeAway(const UndeployRequest& request) {
  const UndeployOrder order{request.model, !request.keep_files,
                            request.why.empty() ? std::string(kAsked) : request.why,
                            StampOf(request.by), request.force};
  events_.Note(
      fmt::format("model '{}' is {} {}", request.model,
                  request.keep_files ? "unloaded from" : "taken from", Joined(request.nodes)),
      order.why);
  const auto nodes = cluster_.look();
  std::vector<std::string> serving = ServedBy(nodes, request.model);
  size_t left = 0;
  Status failed;
  const std::span<const std::string> all(request.nodes);
  for (size_t begin = 0; begin < all.size() && failed.ok(); begin += kMostNodesAtOnce) {
    const auto some = all.subspan(begin, std::min(kMostNodesAtOnce, all.size() - begin));
    const auto taken = TakeFromAll(some, nodes[0].name, order);
    for (size_t i = 0; i < some.size(); ++i) {
      if (taken[i].ok()) {
        left += std::erase(serving, some[i]);
      } else if (failed.ok()) {
        failed = taken[i].Annotate(fmt::format("node '{}'", some[i]));
      }
    }
  }
  // Also where a node refused: those that are gone were not to stay.
  if (!request.by.plan && left > 0) cluster_.asked(request.model, static_cast<int>(serving.size()));
  if (!failed.ok()) return failed;
  return json{{"model", request.model}, {"nodes", request.nodes}};
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
