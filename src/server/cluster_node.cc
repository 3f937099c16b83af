#include "server/cluster_node.h"

#include <algorithm>
#include <future>
#include <random>
#include <utility>

#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "core/parse.h"
#include "server/own_figures.h"

namespace evenkeel {
namespace {

uint64_t RandomNumber() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Another node could take its calls now.
bool ServedElsewhere(const std::vector<ReplicaTable::NodeView>& views, std::string_view model,
                     uint64_t digest) {
  return std::any_of(views.begin() + 1, views.end(), [&](const ReplicaTable::NodeView& view) {
    return view.known && !view.suspect &&
           std::ranges::any_of(view.figures.models, [&](const ModelFigures& one) {
             return one.name == model && one.signature == digest;
           });
  });
}

}  // namespace

ClusterNode::ClusterNode(const ClusterOptions& options, ModelRegistry& registry, EventLoop& loop,
                         const Clock& clock, Trust trust)
    : options_(options),
      trust_(trust),
      registry_(registry),
      loop_(loop),
      clock_(clock),
      incarnation_(RandomNumber()),
      started_(clock.Now()),
      resources_(options.resources),
      balance_(registry, events_, options.balance),
      feedback_(events_, options.replan_auto,
                {.copy_bytes_s = static_cast<double>(options.copy_rate_bytes_s)}),
      wishes_(options.state.empty() ? "" : options.state + "/replicas.json"),
      table_(options.route, RandomNumber(), {}),
      known_(std::make_shared<KnownModels>()) {
  nodes_.reserve(kMostNodes);
  free_memory_bytes_ = ReadFreeMemory();
  AddNode({options.name, options.own_address}, /*own=*/true);
  for (const NodeAddress& peer : options.peers) AddNode(peer, /*own=*/false);
}

void ClusterNode::AddNode(const NodeAddress& address, bool own) {
  if (nodes_.size() == kMostNodes || IndexOf(address.name) >= 0) return;
  auto node = std::make_unique<Node>();
  node->address = address;
  if (!own) {
    LinkClientOptions link;
    link.address = address.address;
    link.max_message_bytes = options_.max_message_bytes;
    link.credentials = trust_.credentials;
    link.node = address.name;
    node->link = std::make_unique<LinkClient>(link);
  }
  const std::lock_guard lock(mutex_);
  table_.AddNode(address.name);
  nodes_.push_back(std::move(node));
  count_.store(nodes_.size(), std::memory_order_release);
}

void ClusterNode::AddPeer(const NodeAddress& node) {
  loop_.Post([this, node] {
    if (stopped_.load() || IndexOf(node.name) >= 0) return;
    {
      const std::lock_guard lock(mutex_);
      if (removed_.contains(node.name)) return;
    }
    AddNode(node, /*own=*/false);
    events_.Note(fmt::format("node '{}' at {} is of the cluster", node.name, node.address),
                 "it joined, or another node told of it");
    if (options_.on_nodes) options_.on_nodes(Nodes());
    TellAll();
  });
}

void ClusterNode::SetRemoved(const std::vector<std::string>& names) {
  loop_.Post([this, names] {
    if (stopped_.load()) return;
    std::vector<int> went;
    {
      const std::lock_guard lock(mutex_);
      removed_ = {names.begin(), names.end()};
      for (const std::string& name : names) {
        const int node = IndexOf(name);
        if (node <= 0) continue;
        went.push_back(node);
        nodes_[static_cast<size_t>(node)]->gone.store(true);
        table_.OnGone(node);
      }
    }
    for (const int node : went) {
      link(node).GiveUpAll();
      events_.Note(fmt::format("node '{}' is of the cluster no more", NameOf(node)),
                   "it was taken off");
    }
    if (!went.empty() && options_.on_nodes) options_.on_nodes(Nodes());
  });
}

std::vector<NodeAddress> ClusterNode::Nodes() const {
  std::vector<NodeAddress> nodes;
  for (size_t i = 0; i < size(); ++i) {
    if (!nodes_[i]->gone.load()) nodes.push_back(nodes_[i]->address);
  }
  return nodes;
}

Result<std::unique_ptr<ClusterNode>> ClusterNode::Start(const ClusterOptions& options,
                                                        ModelRegistry& registry, EventLoop& loop,
                                                        const Clock& clock, Trust trust) {
  std::unique_ptr<ClusterNode> node(new ClusterNode(options, registry, loop, clock, trust));
  node->StartModels();
  node->StartStates();
  LinkServerOptions listen;
  listen.address = options.address;
  listen.port = options.port;
  listen.max_message_bytes = options.max_message_bytes;
  listen.credentials = trust.credentials;
  for (const NodeAddress& peer : options.peers) {
    if (const auto at = ParseHostPort(peer.address); at.ok()) listen.peers.push_back(at->host);
  }
  listen.loop = trust.loop;
  listen.models = node->models_.get();
  auto server = LinkServer::Start(*node, clock, listen);
  if (!server.ok()) return server.status();
  node->server_ = std::move(*server);
  node->tick_ = loop.MakeAlarm([self = node.get()] { self->Tick(); });
  node->tick_->Set(clock.Now());
  return node;
}

ClusterNode::~ClusterNode() { Stop(); }

void ClusterNode::Drain() {
  draining_.store(true);
  loop_.Post([this] {
    if (stopped_.load()) return;
    Take(0, Figures(), clock_.Now());
    TellAll();
    // What has not begun goes elsewhere, and so does what can go on there. The rest is finished here: given back it would be refused.
    constexpr int kAll = 1'000'000;
    const auto views = Look();
    const auto serving = registry_.Serving("", "");
    if (serving.ok()) {
      for (const auto& model : *serving) {
        if (ServedElsewhere(views, model->name(), DigestOf(model->signature())))
          model->GiveBack(kAll);
      }
    }
    for (const auto& model : registry_.Languages()) {
      if (!ServedElsewhere(views, model->options().name, DigestOf(model->Info()))) continue;
      model->GiveBack(kAll);
      model->AskToMove(kAll, Duration::zero());  // this node ends: also what has come a moment ago
    }
  });
}

Status ClusterNode::SetOwnState(std::string_view state) {
  if (state == "drain") {
    events_.Note("drained", "it was asked for");
    Drain();
  } else if (state == "cordon" || state == "uncordon") {
    events_.Note(fmt::format("{}ed", state), "it was asked for");
    draining_.store(state == "cordon");
    FiguresChanged();
  } else {
    return InvalidArgument("state of a node: expected drain, cordon or uncordon, got '{}'", state);
  }
  return Status::Ok();
}

void ClusterNode::SetState(std::string_view node, std::string_view state,
                           std::function<void(Status)> done) {
  const int index = IndexOf(node);
  if (index < 0) return done(NotFound("the cluster has no node '{}'", node));
  if (index == 0) return done(SetOwnState(state));
  link(index).SetState(state, std::chrono::seconds(5),
                       [name = std::string(node), done = std::move(done)](const Status& status) {
                         done(status.Annotate(fmt::format("node '{}'", name)));
                       });
}

void ClusterNode::Stop() {
  if (stopped_.exchange(true)) return;
  // On the loop, so that no tick is under way while the rest goes.
  std::promise<void> disarmed;
  loop_.Post([this, &disarmed] {
    tick_.reset();
    disarmed.set_value();
  });
  disarmed.get_future().wait();
  if (runner_) runner_->Stop();
  feedback_.Stop();
  // No call is sent any more. Those that run elsewhere are lost, again and again: one may have chosen its node before and be sent only now.
  constexpr auto kLook = std::chrono::milliseconds(20);
  constexpr int kLooks = 250;
  for (int i = 0; i < kLooks; ++i) {
    for (const auto& node : nodes_) {
      if (node->link) node->link->GiveUpAll();
    }
    if (CallsElsewhere() == 0) break;
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, kLook);
  }
  if (states_) states_->Stop();
  // Nor is a state that one of those waited for fetched any more: the server waits for who told this node to.
  for (const auto& node : nodes_) {
    if (node->link) node->link->GiveUpAll();
  }
  if (models_) models_->Stop();
  if (deploys_) deploys_->Stop();
  server_.reset();
  // They stay: whoever looks for one yet, in a callback of another's, finds it.
  for (const auto& node : nodes_) {
    if (node->link) node->link->Close();
  }
  // What those have posted meanwhile.
  std::promise<void> quiet;
  loop_.Post([&quiet] { quiet.set_value(); });
  quiet.get_future().wait();
}

int ClusterNode::IndexOf(std::string_view name) const {
  for (size_t i = 0; i < size(); ++i) {
    if (nodes_[i]->address.name == name && !nodes_[i]->gone.load()) return static_cast<int>(i);
  }
  return -1;
}

ClusterNode::NodeState ClusterNode::StateOf(std::string_view node) const {
  const std::lock_guard lock(mutex_);
  return {health_.Of(node), std::string(health_.WhyOf(node))};
}

std::string ClusterNode::WhyFrozen() const {
  const std::lock_guard lock(mutex_);
  return health_.why_frozen();
}

void ClusterNode::PublishPlan(std::string plan, std::function<void(Result<PlanStamp>)> done) {
  if (!options_.membership.publish) return NodeHost::PublishPlan(std::move(plan), std::move(done));
  options_.membership.publish(std::move(plan), std::move(done));
}

Result<std::string> ClusterNode::Renew(const std::string& caller, const std::string& request_pem) {
  if (!options_.membership.renew) return NodeHost::Renew(caller, request_pem);
  return options_.membership.renew(caller, request_pem);
}

std::vector<ReplicaTable::NodeView> ClusterNode::Look() const {
  const std::lock_guard lock(mutex_);
  return table_.Look(Now());
}

}  // namespace evenkeel
