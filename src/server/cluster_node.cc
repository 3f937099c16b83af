#include "server/cluster_node.h"

#include <algorithm>
#include <future>
#include <random>
#include <utility>

#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "core/log.h"
#include "server/own_figures.h"

namespace evenkeel {
namespace {

uint64_t RandomNumber() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
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
      resources_(options.resources),
      balance_(registry, events_),
      table_(options.route, RandomNumber(), {}),
      known_(std::make_shared<KnownModels>()) {
  nodes_.reserve(kMostNodes);
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
    AddNode(node, /*own=*/false);
    events_.Note(fmt::format("node '{}' at {} is of the cluster", node.name, node.address),
                 "it joined, or another node told of it");
    if (options_.on_nodes) options_.on_nodes(Nodes());
    TellAll();
  });
}

std::vector<NodeAddress> ClusterNode::Nodes() const {
  std::vector<NodeAddress> nodes;
  for (size_t i = 0; i < size(); ++i) nodes.push_back(nodes_[i]->address);
  return nodes;
}

Result<std::unique_ptr<ClusterNode>> ClusterNode::Start(const ClusterOptions& options,
                                                        ModelRegistry& registry, EventLoop& loop,
                                                        const Clock& clock, Trust trust) {
  std::unique_ptr<ClusterNode> node(new ClusterNode(options, registry, loop, clock, trust));
  LinkServerOptions listen;
  listen.address = options.address;
  listen.port = options.port;
  listen.max_message_bytes = options.max_message_bytes;
  listen.credentials = trust.credentials;
  listen.loop = trust.loop;
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
    // What has not begun goes elsewhere, and so does what can go on there.
    constexpr int kAll = 1'000'000;
    const auto serving = registry_.Serving("", "");
    if (serving.ok()) {
      for (const auto& model : *serving) model->GiveBack(kAll);
    }
    for (const auto& model : registry_.Languages()) {
      model->GiveBack(kAll);
      model->AskToMove(kAll);
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
    loop_.Post([this] {
      if (stopped_.load()) return;
      Take(0, Figures(), clock_.Now());
      TellAll();
    });
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
  for (const auto& node : nodes_) {
    if (node->link) node->link->GiveUpAll();
  }
  server_.reset();
  for (const auto& node : nodes_) node->link.reset();
}

int ClusterNode::IndexOf(std::string_view name) const {
  for (size_t i = 0; i < size(); ++i) {
    if (nodes_[i]->address.name == name) return static_cast<int>(i);
  }
  return -1;
}

NodeFigures ClusterNode::Figures() {
  NodeFigures figures;
  figures.node = nodes_[0]->address.name;
  if (trust_.credentials != nullptr) figures.nodes_digest = DigestOf(Nodes());
  figures.incarnation = incarnation_;
  figures.cores = std::max(1, CoresOfBatches(registry_.context()));
  figures.software = EVENKEEL_VERSION;
  figures.draining = draining_.load();
  figures.resources = resources_;
  figures.free_memory_bytes = memory_.Read().free_bytes.value_or(0);
  AddOwnModels(registry_, clock_.Now(), &figures);
  const std::lock_guard lock(mutex_);
  figures.sequence = ++sequence_;
  return figures;
}

NodeFigures ClusterNode::FiguresFor(const NodeFigures& theirs) {
  NodeFigures figures = Figures();
  if (theirs.nodes_digest != figures.nodes_digest) figures.nodes = Nodes();
  return figures;
}

void ClusterNode::OnFigures(const NodeFigures& theirs) {
  const int node = IndexOf(theirs.node);
  // Who is not of the cluster may ask, but says nothing that counts.
  if (node > 0) Take(node, theirs, clock_.Now());
}

void ClusterNode::Tick() {
  const Time now = clock_.Now();
  Take(0, Figures(), now);
  std::vector<int> silent;
  {
    const std::lock_guard lock(mutex_);
    const uint64_t calls = calls_.load(std::memory_order_relaxed);
    if (calls != calls_seen_) busy_until_ = now + std::chrono::seconds(2);
    calls_seen_ = calls;
    const auto views = table_.Look(Now());
    for (size_t i = 1; i < views.size(); ++i) {
      const bool suspect = views[i].suspect && views[i].known;
      bool& was_suspect = nodes_[i]->was_suspect;
      if (suspect && !was_suspect && !views[i].figures.draining) {
        LogWarning("node '{}' is suspect: its figures are {:.1f} s old", views[i].name,
                   views[i].age_s);
        silent.push_back(static_cast<int>(i));
      }
      if (!suspect && was_suspect && views[i].known) LogInfo("node '{}' is there", views[i].name);
      was_suspect = views[i].suspect;
    }
    Rebuild();
  }
  // What waits for a node that says nothing is tried elsewhere. Not under the mutex: ends come inside.
  for (const int node : silent) link(node).GiveUpAll();
  TellAll();
  // Not under the mutex: the calls are routed anew inside.
  if (balance_.Due(now)) balance_.Balance(now, Look());
  ProbeLinks(now);
  bool busy = false;
  {
    const std::lock_guard lock(mutex_);
    busy = now < busy_until_;
  }
  if (tick_) tick_->Set(now + (busy ? kActive : kRest));
}

void ClusterNode::TellAll() {
  NodeFigures own = Figures();
  for (size_t i = 1; i < size(); ++i) {
    {
      const std::lock_guard lock(mutex_);
      Node& node = *nodes_[i];
      if (node.telling) continue;
      node.telling = true;
      own.nodes = node.nodes_digest == own.nodes_digest ? std::vector<NodeAddress>() : Nodes();
    }
    const Time asked = clock_.Now();
    const int node = static_cast<int>(i);
    link(node).Tell(own, std::chrono::seconds(1), [this, node, asked](Result<NodeFigures> figures) {
      Heard(node, std::move(figures), asked);
    });
  }
}

// One link at a time, and none while calls are about: it would be in their way.
void ClusterNode::ProbeLinks(Time now) {
  int node = -1;
  double round_trip_s = 0;
  {
    const std::lock_guard lock(mutex_);
    if (now < busy_until_) return;
    const auto views = table_.Look(Now());
    for (size_t i = 1; i < views.size() && node < 0; ++i) {
      if (views[i].suspect || now < nodes_[i]->probe_at) continue;
      node = static_cast<int>(i);
      round_trip_s = views[i].round_trip_s;
      nodes_[i]->probe_at = now + kProbeEvery;
    }
  }
  if (node < 0) return;
  link(node).Probe(
      kProbeBytes, std::chrono::seconds(10), [this, node, round_trip_s](Result<Duration> took) {
        if (!took.ok()) return;
        // What a small message takes is no part of the speed.
        const double seconds = std::max(Seconds(*took) - round_trip_s, Seconds(*took) / 10);
        const std::lock_guard lock(mutex_);
        table_.OnBandwidth(node, static_cast<double>(kProbeBytes) / std::max(seconds, 1e-6));
      });
}

void ClusterNode::Heard(int node, Result<NodeFigures> figures, Time asked) {
  const Time now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    nodes_[static_cast<size_t>(node)]->telling = false;
    if (!figures.ok()) {
      table_.OnLinkFailure(node, Now());
      return;
    }
    table_.OnRoundTrip(node, Seconds(now - asked));
  }
  if (figures->node != NameOf(node)) {
    LogWarning("node '{}' calls itself '{}': it is passed over", NameOf(node), figures->node);
    return;
  }
  // Made at some time between: the earliest is the safe guess.
  Take(node, std::move(*figures), asked);
}

void ClusterNode::Take(int node, NodeFigures figures, Time made) {
  if (node > 0) {
    DescribeUnknown(node, figures);
    // Whom a node of the cluster knows is of it: nobody has an address without a certificate.
    for (const NodeAddress& other : figures.nodes) {
      if (trust_.credentials != nullptr && IndexOf(other.name) < 0) AddPeer(other);
    }
  }
  const std::lock_guard lock(mutex_);
  nodes_[static_cast<size_t>(node)]->nodes_digest = figures.nodes_digest;
  figures.nodes.clear();
  table_.OnFigures(node, std::move(figures), Seconds(made.time_since_epoch()), Now());
}

void ClusterNode::DescribeUnknown(int node, const NodeFigures& figures) {
  for (const ModelFigures& model : figures.models) {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_.load() || described_.contains(model.signature) ||
          !asked_.insert(model.signature).second)
        continue;
    }
    link(node).Describe(model.name, model.version, std::chrono::seconds(5),
                        [this, digest = model.signature](Result<DescribedModel> told) {
                          Described(digest, std::move(told));
                        });
  }
}

void ClusterNode::Described(uint64_t digest, Result<DescribedModel> model) {
  const std::lock_guard lock(mutex_);
  asked_.erase(digest);  // a failure: asked again with the next figures
  if (!model.ok()) return;
  const uint64_t theirs = model->language ? DigestOf(model->info) : DigestOf(model->signature);
  if (theirs != digest) {
    LogWarning("the description of model '{}' is not that of the figures: it is passed over",
               model->name);
    return;
  }
  constexpr size_t kMostKept = 4096;
  if (described_.size() < kMostKept)
    described_.emplace(digest, std::make_shared<DescribedModel>(std::move(*model)));
  Rebuild();
}

void ClusterNode::Rebuild() {
  auto known = std::make_shared<KnownModels>();
  const auto views = table_.Look(Now());
  // The own ones first: where signatures differ, the own one is what callers of this node see.
  for (size_t i = 0; i < views.size(); ++i) {
    for (const ModelFigures& model : views[i].figures.models) {
      auto& entry = (*known)[model.name];
      if (entry && (i == 0 || entry->digest != model.signature)) continue;
      auto one = entry ? std::make_shared<Known>(*entry) : std::make_shared<Known>();
      if (!entry) {
        one->version = model.version;
        one->digest = model.signature;
        const auto described = described_.find(model.signature);
        if (described != described_.end()) {
          one->info = described->second->info;
          one->info.name = model.name;
          if (!described->second->language)
            one->signature =
                std::shared_ptr<const Signature>(described->second, &described->second->signature);
        } else if (i > 0 || model.language) {
          one->digest = i > 0 ? 0 : one->digest;  // not described yet
        }
      }
      one->elsewhere = one->elsewhere || i > 0;
      entry = std::move(one);
    }
  }
  std::erase_if(*known, [](const auto& item) { return item.second->digest == 0; });
  known_ = std::move(known);
}

std::shared_ptr<const ClusterNode::Known> ClusterNode::Find(std::string_view model,
                                                            std::string_view version) const {
  std::shared_ptr<const KnownModels> known;
  {
    const std::lock_guard lock(mutex_);
    known = known_;
  }
  const auto at = known->find(model);
  if (at == known->end() || !at->second->elsewhere) return nullptr;
  if (!version.empty() && version != at->second->version) return nullptr;
  return at->second;
}

std::vector<std::shared_ptr<const ClusterNode::Known>> ClusterNode::Languages() const {
  std::shared_ptr<const KnownModels> known;
  {
    const std::lock_guard lock(mutex_);
    known = known_;
  }
  std::vector<std::shared_ptr<const Known>> languages;
  for (const auto& [name, one] : *known) {
    if (one->elsewhere && !one->signature && !one->info.name.empty()) languages.push_back(one);
  }
  return languages;
}

ReplicaTable::Choice ClusterNode::Choose(const ReplicaTable::Wanted& wanted,
                                         const std::vector<bool>& not_these) {
  calls_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (std::ranges::count(not_these, true) == 0)
    retries_ = std::min(kRetryReserve, retries_ + kRetryShare);
  return table_.Choose(wanted, not_these, Now());
}

void ClusterNode::Ended(const ReplicaTable::Choice& choice) {
  const std::lock_guard lock(mutex_);
  table_.Ended(choice);
}

void ClusterNode::OnLinkFailure(int node) {
  const std::lock_guard lock(mutex_);
  table_.OnLinkFailure(node, Now());
}

bool ClusterNode::TakeRetry() {
  const std::lock_guard lock(mutex_);
  if (retries_ < 1) return false;
  retries_ -= 1;
  return true;
}

std::vector<ReplicaTable::NodeView> ClusterNode::Look() const {
  const std::lock_guard lock(mutex_);
  return table_.Look(Now());
}

}  // namespace evenkeel
