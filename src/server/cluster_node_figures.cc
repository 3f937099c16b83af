// The part of ClusterNode that tells the others how this node is, hears how they are, and looks once a tick what follows from that.
#include <algorithm>
#include <utility>

#include "cluster/live/tell_pace.h"
#include "core/format.h"
#include "core/log.h"
#include "server/cluster_node.h"
#include "server/own_figures.h"

namespace evenkeel {

void ClusterNode::FiguresChanged() {
  loop_.Post([this] {
    if (stopped_.load()) return;
    {
      const std::lock_guard lock(mutex_);
      graphs_at_ = {};
    }
    Take(0, Figures(), clock_.Now());
    TellAll();
  });
}

double ClusterNode::MeasuredLink(int node) const {
  const std::lock_guard lock(mutex_);
  return table_.bandwidth(node);
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
  figures.graphs = OwnGraphs();
  models_->HideLeaving(&figures);
  figures.wishes = wishes_.All();
  if (options_.membership.add) options_.membership.add(&figures);
  const std::lock_guard lock(mutex_);
  figures.sequence = ++sequence_;
  return figures;
}

// What instances here are to leave free is not for other nodes' models either. 0 is "not known", not "none".
int64_t ClusterNode::ReadFreeMemory() const {
  const auto& spare = registry_.context().spare_memory;
  const auto read = spare ? spare() : memory_.Read().free_bytes;
  return read ? std::max<int64_t>(1, *read) : 0;
}

int64_t ClusterNode::FreeMemory() {
  const Time now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    if (now < memory_at_) return free_memory_bytes_;
    memory_at_ = now + kMemoryEvery;
  }
  const int64_t free_bytes = ReadFreeMemory();
  const std::lock_guard lock(mutex_);
  return free_memory_bytes_ = free_bytes;
}

// Each of their steps is looked up, which is too much for every message.
std::vector<ModelFigures> ClusterNode::OwnGraphs() {
  const Time now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    if (now < graphs_at_) return graphs_;
    graphs_at_ = now + kGraphsEvery;
  }
  auto graphs = GraphsOf(registry_);
  const std::lock_guard lock(mutex_);
  return graphs_ = std::move(graphs);
}

NodeFigures ClusterNode::FiguresFor(const NodeFigures& theirs) {
  NodeFigures figures = Figures();
  if (theirs.nodes_digest != figures.nodes_digest) figures.nodes = Nodes();
  if (const int node = IndexOf(theirs.node); node > 0) {
    figures.link_bytes_s = MeasuredLink(node);
    const std::lock_guard lock(mutex_);
    nodes_[static_cast<size_t>(node)]->told.MarkAnswer(theirs, &figures);
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
  const bool misnamed = figures->node != NameOf(node);
  {
    const std::lock_guard lock(mutex_);
    Node& one = *nodes_[static_cast<size_t>(node)];
    const bool said = std::exchange(one.misnamed, misnamed);
    if (misnamed) {
      if (!said)
        LogWarning("node '{}' calls itself '{}': it is passed over", NameOf(node), figures->node);
      return;
    }
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

}  // namespace evenkeel
