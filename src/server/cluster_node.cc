#include "server/cluster_node.h"

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "cluster/link/infer_message.h"
#include "cluster/live/tell_pace.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "server/own_figures.h"

namespace evenkeel {
namespace {

uint64_t RandomNumber() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Where one version of a model is kept among the known ones; no name has that character.
std::string VersionKey(std::string_view model, std::string_view version) {
  return fmt::format("{}\n{}", model, version);
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
      balance_(registry, events_),
      feedback_(events_, options.replan_auto),
      wishes_(options.state.empty() ? "" : options.state + "/replicas.json"),
      table_(options.route, RandomNumber(), {}),
      known_(std::make_shared<KnownModels>()) {
  nodes_.reserve(kMostNodes);
  free_memory_bytes_ = memory_.Read().free_bytes.value_or(0);
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

void ClusterNode::StartModels() {
  const auto link_to = [this](const std::string& name) { return LinkToModels(name); };
  models_ = std::make_unique<NodeModels>(
      NodeModelsOptions{options_.name, options_.models, options_.state, options_.copy_rate_bytes_s},
      registry_, events_, clock_,
      NodeModels::Cluster{[this] { return Look(); }, link_to, [this] { FiguresChanged(); }});
  deploys_ = std::make_unique<ClusterDeploys>(
      ClusterDeploys::Cluster{[this] { return Look(); }, link_to,
                              [this](const std::string& model, int replicas) {
                                wishes_.Ask(model, replicas);
                                FiguresChanged();
                              }},
      *models_, events_, clock_);
  PlanRunner::Cluster cluster;
  cluster.look = [this] { return Look(); };
  cluster.deploy = [this](DeployRequest request, PlanRunner::Done done) {
    deploys_->Deploy(std::move(request), std::move(done));
  };
  cluster.undeploy = [this](UndeployRequest request, PlanRunner::Done done) {
    deploys_->Undeploy(std::move(request), std::move(done));
  };
  cluster.deploys = [this] { return deploys_->Describe(); };
  runner_ = std::make_unique<PlanRunner>(std::move(cluster), events_);
  feedback_.set_apply([this](const nlohmann::json& plan) { runner_->Run(plan); });
}

void ClusterNode::FiguresChanged() {
  loop_.Post([this] {
    if (stopped_.load()) return;
    Take(0, Figures(), clock_.Now());
    TellAll();
  });
}

void ClusterNode::StartStates() {
  StateExchange::Node node;
  node.link = [this](std::string_view name) -> std::optional<StateExchange::Link> {
    const int index = IndexOf(name);
    if (index <= 0) return std::nullopt;
    const auto view = Look()[static_cast<size_t>(index)];
    // From there to here, which may be another speed than the way back.
    return StateExchange::Link{&link(index), view.round_trip_s, view.figures.link_bytes_s};
  };
  node.list = [this](std::string model, std::function<void(Result<ModelListing>)> done) {
    models_->ListModel(std::move(model), std::move(done));
  };
  node.elsewhere = [this](std::string_view model) { return Find(model, {}) != nullptr; };
  states_ = std::make_shared<StateExchange>(registry_, events_, std::move(node));
}

double ClusterNode::MeasuredLink(int node) const {
  const std::lock_guard lock(mutex_);
  return table_.bandwidth(node);
}

std::unique_ptr<ModelLink> ClusterNode::LinkToModels(const std::string& node) const {
  const int index = IndexOf(node);
  if (index <= 0) return nullptr;
  LinkClientOptions link;
  link.address = nodes_[static_cast<size_t>(index)]->address.address;
  link.credentials = trust_.credentials;
  link.node = node;
  return std::make_unique<ModelLink>(link);
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

NodeFigures ClusterNode::Figures() {
  NodeFigures figures;
  figures.node = nodes_[0]->address.name;
  if (trust_.credentials != nullptr) figures.nodes_digest = DigestOf(Nodes());
  figures.incarnation = incarnation_;
  figures.cores = std::max(1, CoresOfBatches(registry_.context()));
  figures.software = EVENKEEL_VERSION;
  figures.draining = draining_.load();
  figures.resources = resources_;
  figures.free_memory_bytes = FreeMemory();
  figures.busy_cores = busy_cores_.load();
  figures.moving = std::max(0, moving_.load());
  figures.moved_lately = balance_.moved().lately;
  AddOwnModels(registry_, clock_.Now(), &figures);
  models_->HideLeaving(&figures);
  figures.wishes = wishes_.All();
  if (options_.membership.add) options_.membership.add(&figures);
  const std::lock_guard lock(mutex_);
  figures.sequence = ++sequence_;
  return figures;
}

int64_t ClusterNode::FreeMemory() {
  const Time now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    if (now < memory_at_) return free_memory_bytes_;
    memory_at_ = now + kMemoryEvery;
  }
  const int64_t free_bytes = memory_.Read().free_bytes.value_or(0);
  const std::lock_guard lock(mutex_);
  return free_memory_bytes_ = free_bytes;
}

NodeFigures ClusterNode::FiguresFor(const NodeFigures& theirs) {
  NodeFigures figures = Figures();
  if (theirs.nodes_digest != figures.nodes_digest) figures.nodes = Nodes();
  if (const int node = IndexOf(theirs.node); node > 0) {
    figures.link_bytes_s = MeasuredLink(node);
    const std::lock_guard lock(mutex_);
    nodes_[static_cast<size_t>(node)]->told.Mark(&figures);
  }
  return figures;
}

void ClusterNode::OnFigures(const NodeFigures& theirs) {
  const int node = IndexOf(theirs.node);
  // Who is not of the cluster may ask, but says nothing that counts.
  if (node > 0 && !IsStranger(node, theirs)) Take(node, theirs, clock_.Now(), /*answered=*/false);
}

// A copy of a node's folder makes two servers of one name: the one that answers at the node's address is the node.
bool ClusterNode::IsStranger(int node, const NodeFigures& theirs) {
  constexpr int kTellAt = 4;  // a node that restarts tells before it was asked, once or twice
  {
    const std::lock_guard lock(mutex_);
    Node& one = *nodes_[static_cast<size_t>(node)];
    if (one.incarnation == 0 || one.incarnation == theirs.incarnation) return false;
    if (++one.strangers != kTellAt) return true;
  }
  LogWarning("another server calls itself '{}' than the one at {}: what it tells is passed over",
             theirs.node, nodes_[static_cast<size_t>(node)]->address.address);
  events_.Note(fmt::format("figures of another server '{}' are passed over", theirs.node),
               "two servers have the same name and certificate: was a node's folder copied?");
  return true;
}

// What runs at this moment, as a mean over the last dozen looks.
void ClusterNode::LookAtCores() {
  const NodeScheduler* const cores = registry_.context().node;
  if (cores == nullptr) return;
  constexpr double kNew = 0.15;
  const double before = busy_cores_.load();
  busy_cores_.store(before + kNew * (cores->LoadNow().busy_cores - before));
}

void ClusterNode::Tick() {
  const Time now = clock_.Now();
  LookAtCores();
  Take(0, Figures(), now);
  std::vector<int> silent;
  std::vector<ClusterHealth::Change> changes;
  std::optional<HeldLeases> leases;
  if (options_.membership.leases) leases = options_.membership.leases();
  bool frozen = false;
  {
    const std::lock_guard lock(mutex_);
    const uint64_t calls = calls_.load(std::memory_order_relaxed);
    if (calls != calls_seen_) busy_until_ = now + std::chrono::seconds(2);
    calls_seen_ = calls;
    const auto views = table_.Look(Now());
    changes = LookAtHealth(views, leases);
    frozen = health_.frozen();
    for (size_t i = 1; i < views.size(); ++i) {
      const bool suspect = views[i].suspect && views[i].known;
      bool& was_suspect = nodes_[i]->was_suspect;
      if (suspect && !was_suspect && !views[i].figures.draining) {
        LogWarning("node '{}' is suspect: its figures are {:.1f} s old", views[i].name,
                   views[i].age_s);
      }
      if (!suspect && was_suspect && views[i].known) LogInfo("node '{}' is there", views[i].name);
      was_suspect = views[i].suspect;
      // One late answer makes a node suspect: it gets nothing new, and what it has goes on. Where the link broke, its calls have ended already. Only
      // silence has to be given up, whenever the call was sent and whatever the node did before.
      const bool lost =
          views[i].gone || (views[i].known && views[i].silent_s > ReplicaTable::kStale);
      if (!lost || views[i].outstanding == 0 || now < nodes_[i]->give_up_at) continue;
      nodes_[i]->give_up_at = now + std::chrono::seconds(3);
      silent.push_back(static_cast<int>(i));
    }
    Rebuild();
  }
  // What waits for a node that says nothing is tried elsewhere. Not under the mutex: ends come inside.
  for (const int node : silent) link(node).GiveUpAll();
  for (ClusterHealth::Change& change : changes)
    events_.Note(std::move(change.what), std::move(change.why));
  TellAll(/*news=*/false);
  // Not under the mutex: the calls are routed anew inside.
  if (balance_.Due(now) && !frozen) balance_.Balance(now, Look());
  if (feedback_.Due(now) && !frozen) feedback_.Look(now, Look());
  ProbeLinks(now);
  bool busy = false;
  {
    const std::lock_guard lock(mutex_);
    busy = now < busy_until_;
    resting_ = !busy;
  }
  if (!busy) states_->Prepare();
  if (tick_) tick_->Set(now + (busy ? kActive : kRest));
}

bool ClusterNode::WorkAnywhere(const std::vector<ReplicaTable::NodeView>& views) {
  return std::ranges::any_of(views, [](const ReplicaTable::NodeView& view) {
    if (view.gone) return false;
    // What a lost node had to do last is nobody's work.
    return view.outstanding > 0 ||
           (!view.suspect && (view.figures.backlog_s > 0 || view.figures.moving > 0));
  });
}

// `news`: all are to hear of it; else who is due.
void ClusterNode::TellAll(bool news) {
  const auto views = Look();
  bool work = WorkAnywhere(views);
  {
    const std::lock_guard lock(mutex_);
    work = work || clock_.Now() < busy_until_;
  }
  NodeFigures own = Figures();
  for (size_t i = 1; i < size(); ++i) {
    const bool connected = link(static_cast<int>(i)).connected();
    {
      const std::lock_guard lock(mutex_);
      Node& node = *nodes_[i];
      if (node.gone.load()) continue;
      // A node that came a moment ago has no view yet.
      TellPace::Peer peer{.connected = connected, .news = node.news || news};
      if (i < views.size()) {
        peer.known = views[i].known;
        peer.suspect = views[i].suspect;
        peer.silent_s = views[i].silent_s;
      }
      if (!TellPace::Due(peer, work, Seconds(kRest))) continue;
      // Whoever is being told now hears of what is new the next time.
      node.news = node.telling && peer.news;
      if (node.telling) continue;
      node.telling = true;
      own.nodes = node.nodes_digest == own.nodes_digest ? std::vector<NodeAddress>() : Nodes();
      node.told.Mark(&own);
    }
    const Time asked = clock_.Now();
    const int node = static_cast<int>(i);
    own.link_bytes_s = MeasuredLink(node);
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
  {
    const std::lock_guard lock(mutex_);
    Node& one = *nodes_[static_cast<size_t>(node)];
    if (std::exchange(one.incarnation, figures->incarnation) != figures->incarnation)
      one.strangers = 0;
  }
  // Made at some time between: the earliest is the safe guess.
  Take(node, std::move(*figures), asked);
}

void ClusterNode::Take(int node, NodeFigures figures, Time made, bool answered) {
  if (node > 0) {
    if (options_.membership.hear) options_.membership.hear(figures);
    // Without certificates anybody may call in another's name; who was called has at least its address.
    if (trust_.credentials != nullptr || answered) wishes_.Hear(figures.wishes);
    DescribeUnknown(node, figures);
    // Whom a node of the cluster knows is of it: nobody has an address without a certificate.
    for (const NodeAddress& other : figures.nodes) {
      if (trust_.credentials != nullptr && IndexOf(other.name) < 0) AddPeer(other);
    }
  }
  const std::lock_guard lock(mutex_);
  Node& one = *nodes_[static_cast<size_t>(node)];
  one.nodes_digest = figures.nodes_digest;
  if (node > 0) one.told.Complete(&figures);
  figures.nodes.clear();
  table_.OnFigures(node, std::move(figures), Seconds(made.time_since_epoch()), Now(), answered);
}

void ClusterNode::DescribeUnknown(int node, const NodeFigures& figures) {
  for (const ModelFigures& model : figures.models) {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_.load() || described_.contains(model.signature) ||
          clock_.Now() < asked_[model.signature])
        continue;
      asked_[model.signature] = kNever;  // an answer is awaited
    }
    link(node).Describe(model.name, model.version, std::chrono::seconds(5),
                        [this, digest = model.signature](Result<DescribedModel> told) {
                          Described(digest, std::move(told));
                        });
  }
}

void ClusterNode::Described(uint64_t digest, Result<DescribedModel> model) {
  const std::lock_guard lock(mutex_);
  constexpr size_t kMostKept = 4096;
  // What another version means by it, or what there is no place for, would be the same with the next figures.
  constexpr Duration kAskAgain = std::chrono::seconds(10);
  if (asked_.size() > kMostKept) asked_.clear();
  asked_.erase(digest);  // a failure: asked again with the next figures
  if (!model.ok()) return;
  const uint64_t theirs = model->language ? DigestOf(model->info) : DigestOf(model->signature);
  if (theirs != digest) {
    LogWarning("the description of model {} is not that of the figures: it is passed over",
               Excerpt(model->name, 128));
    asked_[digest] = clock_.Now() + kAskAgain;
    return;
  }
  if (described_.size() < kMostKept) {
    described_.emplace(digest, std::make_shared<DescribedModel>(std::move(*model)));
  } else {
    asked_[digest] = clock_.Now() + kAskAgain;
  }
  Rebuild();
}

void ClusterNode::Rebuild() {
  auto known = std::make_shared<KnownModels>();
  const auto views = table_.Look(Now());
  // The own ones first: where signatures differ, the own one is what callers of this node see.
  const auto note = [&](size_t i, const ModelFigures& model, const std::string& asked) {
    auto& entry = (*known)[asked.empty() ? model.name : VersionKey(model.name, asked)];
    if (entry && (i == 0 || entry->digest != model.signature)) return;
    auto one = entry ? std::make_shared<Known>(*entry) : std::make_shared<Known>();
    if (!entry) {
      one->version = model.version;
      one->asked = asked;
      one->digest = model.signature;
      const auto described = described_.find(model.signature);
      if (described != described_.end()) {
        one->info = described->second->info;
        one->info.name = model.name;
        if (!described->second->language)
          one->signature =
              std::shared_ptr<const Signature>(described->second, &described->second->signature);
      } else if (i > 0) {
        one->digest = 0;  // not described yet
      }
    }
    one->elsewhere = one->elsewhere || i > 0;
    entry = std::move(one);
  };
  for (size_t i = 0; i < views.size(); ++i) {
    // Versions ascend: the newest comes first, for it is what a call without one means.
    const auto& models = views[i].figures.models;
    for (auto model = models.rbegin(); model != models.rend(); ++model) {
      note(i, *model, "");
      if (!model->version.empty()) note(i, *model, model->version);
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
  const auto at = version.empty() ? known->find(model) : known->find(VersionKey(model, version));
  if (at == known->end() || !at->second->elsewhere) return nullptr;
  return at->second;
}

bool ClusterNode::MayStillCome(std::string_view model) const {
  constexpr Duration kFirst = std::chrono::seconds(10);
  if (Find(model, {})) return false;  // it is the version that nobody has
  const bool young = clock_.Now() < started_ + kFirst;
  const auto views = Look();
  return std::any_of(views.begin() + 1, views.end(), [&](const ReplicaTable::NodeView& view) {
    if (view.gone) return false;
    const auto& models = view.figures.models;
    return view.known ? std::ranges::find(models, model, &ModelFigures::name) != models.end()
                      : young;
  });
}

std::vector<std::shared_ptr<const ClusterNode::Known>> ClusterNode::Languages() const {
  std::shared_ptr<const KnownModels> known;
  {
    const std::lock_guard lock(mutex_);
    known = known_;
  }
  std::vector<std::shared_ptr<const Known>> languages;
  for (const auto& [name, one] : *known) {
    if (one->elsewhere && one->asked.empty() && !one->signature && !one->info.name.empty())
      languages.push_back(one);
  }
  return languages;
}

ReplicaTable::Choice ClusterNode::Choose(const ReplicaTable::Wanted& wanted,
                                         const std::vector<bool>& not_these) {
  calls_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (stopped_.load()) return {};
  if (std::exchange(resting_, false)) {
    // What others tell is up to kRestS old: they are asked now, and not at the end of the rest.
    loop_.Post([this] {
      if (!stopped_.load() && tick_) tick_->Set(clock_.Now());
    });
  }
  if (std::ranges::count(not_these, true) == 0)
    retries_ = std::min(kRetryReserve, retries_ + kRetryShare);
  return table_.Choose(wanted, not_these, Now());
}

void ClusterNode::Ended(const ReplicaTable::Choice& choice) {
  const std::lock_guard lock(mutex_);
  table_.Ended(choice);
  if (stopped_.load()) ended_.notify_all();
}

std::vector<ClusterHealth::Change> ClusterNode::LookAtHealth(
    const std::vector<ReplicaTable::NodeView>& views, const std::optional<HeldLeases>& leases) {
  auto changes = health_.Look(views, leases ? &*leases : nullptr, clock_.Now());
  for (size_t i = 1; i < views.size(); ++i) {
    const bool no_lease = leases && leases->settled && !leases->nodes.contains(views[i].name) &&
                          health_.Of(views[i].name) != Health::kAlive;
    table_.OnDoubt(static_cast<int>(i), no_lease);
  }
  return changes;
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

int ClusterNode::CallsElsewhere() const {
  int calls = 0;
  const auto views = Look();
  for (size_t i = 1; i < views.size(); ++i) calls += views[i].outstanding;
  return calls;
}

void ClusterNode::OnLinkFailure(int node) {
  const std::lock_guard lock(mutex_);
  health_.OnLinkFailure(NameOf(node), clock_.Now());
  table_.OnLinkFailure(node, Now());
}

bool ClusterNode::TakeRetry() {
  const std::lock_guard lock(mutex_);
  if (retries_ < 1) {
    ++retries_refused_;
    return false;
  }
  retries_ -= 1;
  ++retries_taken_;
  return true;
}

ClusterNode::Counts ClusterNode::counts() const {
  const std::lock_guard lock(mutex_);
  return {balance_.moved(), std::max(0, moving_.load()), retries_taken_, retries_refused_};
}

std::vector<ReplicaTable::NodeView> ClusterNode::Look() const {
  const std::lock_guard lock(mutex_);
  return table_.Look(Now());
}

}  // namespace evenkeel
