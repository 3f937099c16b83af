#include "sim/cluster/cluster_simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

#include "cluster/policy/balance.h"
#include "cluster/policy/mass_loss.h"
#include "cluster/policy/moves.h"
#include "cluster/policy/node_health.h"
#include "sim/random.h"

namespace evenkeel::sim {
namespace {

constexpr size_t kCandidates = 4;  // queued requests of a node that may move, the youngest
constexpr double kMoves = 0.5;     // of the balance: 1/s times capacity, before it is damped

struct Request {
  double arrived = 0, work = 0;
  int gateway = 0, node = -1;
  int sent_to = -1;  // by its gateway; it may have been moved since
};

struct Node {
  double capacity = 1, slow = 1;
  bool up = true;
  double up_since = 0;
  // As the gateways see it: its link broke, and no figures came since; and what they make of all its signs.
  bool broken = false;
  NodeHealth health;
  std::deque<size_t> queue;
  std::optional<size_t> running;
  double begun = 0;       // of the running one
  double done_of_it = 0;  // work of it that was done before `begun`
  uint64_t turn = 0;      // finishes of an earlier turn are void
  double busy = 0;
  double queued_work = 0;  // of the queue
  std::deque<double>
      figures;  // load at the end of each period, the oldest that is still seen first

  double speed() const { return capacity * slow; }
};

struct Event {
  enum class Kind : uint8_t { kArrival, kDeliver, kFinish, kTick, kNode, kDetect };
  double at = 0;
  uint64_t order = 0;
  Kind kind = Kind::kArrival;
  size_t what = 0;    // request, node or index of the scenario's event
  uint64_t turn = 0;  // kFinish
  bool operator>(const Event& other) const {
    return std::tie(at, order) > std::tie(other.at, other.order);
  }
};

class Simulation {
 public:
  Simulation(const ClusterScenario& scenario, const ClusterOptions& options)
      : scenario_(scenario),
        options_(options),
        arrivals_(scenario.arrivals->Play(options.factor, options.seed)),
        random_(options.seed, 17) {
    for (const ClusterNode& one : scenario.nodes) {
      Node node;
      node.capacity = one.capacity;
      node.figures.assign(static_cast<size_t>(scenario.age) + 1, 0);
      nodes_.push_back(std::move(node));
      routers_.emplace_back(options.rule, options.seed + routers_.size());
    }
    const size_t count = nodes_.size();
    for (size_t gateway = 0; gateway < count; ++gateway) {
      auto& row = backlogs_.emplace_back();
      for (const ClusterNode& one : scenario.nodes) row.emplace_back(one.capacity);
    }
    outstanding_.assign(count, std::vector<double>(count, 0));
    carried_ =
        Eigen::MatrixXd::Zero(static_cast<Eigen::Index>(count), static_cast<Eigen::Index>(count));
    outcome_.utilisation.assign(count, 0);
  }

  ClusterOutcome Run() {
    Arrive();
    for (size_t i = 0; i < scenario_.events.size(); ++i)
      Push(scenario_.events[i].at_s, Event::Kind::kNode, i);
    Push(scenario_.period_s, Event::Kind::kTick, 0);
    while (!events_.empty() && events_.top().at <= options_.seconds) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      SampleLevels();
      Handle(event);
    }
    now_ = options_.seconds;
    SampleLevels();
    for (size_t node = 0; node < nodes_.size(); ++node) {
      if (nodes_[node].running) nodes_[node].busy += now_ - nodes_[node].begun;
      outcome_.utilisation[node] = nodes_[node].busy / options_.seconds;
    }
    outcome_.unanswered = outcome_.arrived - outcome_.answered;
    return std::move(outcome_);
  }

 private:
  void Push(double at, Event::Kind kind, size_t what, uint64_t turn = 0) {
    events_.push({at, next_order_++, kind, what, turn});
  }

  void Handle(const Event& event) {
    switch (event.kind) {
      case Event::Kind::kArrival: {
        Route(event.what);
        return Arrive();
      }
      case Event::Kind::kDeliver: return Deliver(event.what);
      case Event::Kind::kFinish: return Finish(event.what, event.turn);
      case Event::Kind::kTick: return Tick();
      case Event::Kind::kNode: return Change(scenario_.events[event.what]);
      case Event::Kind::kDetect: return Detect(event.what);
    }
  }

  // The next request that arrives.
  void Arrive() {
    const auto next = arrivals_->Next();
    if (!next) return;
    const double at = Seconds(*next - Time{});
    Request request;
    request.arrived = at;
    request.work = scenario_.work_s;
    if (scenario_.work_cv > 0) {
      const double variance = std::log(1 + scenario_.work_cv * scenario_.work_cv);
      request.work *= std::exp(std::sqrt(variance) * random_.Normal() - variance / 2);
    }
    request.gateway = static_cast<int>(random_.Uniform() * static_cast<double>(nodes_.size()));
    const bool counted = at >= options_.warm_up_s && at <= options_.seconds;
    outcome_.arrived += counted ? 1 : 0;
    size_t id = requests_.size();
    if (free_.empty()) {
      requests_.push_back(request);
    } else {
      id = free_.back();
      free_.pop_back();
      requests_[id] = request;
    }
    Push(at, Event::Kind::kArrival, id);
  }

  double LoadOf(const Node& node) const {
    double load = node.queued_work;
    if (node.running)
      load += std::max(0.0, requests_[*node.running].work - node.done_of_it -
                                (now_ - node.begun) * node.speed());
    return load;
  }

  Time Now() const {
    return Time(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(now_)));
  }
  bool Doubtful(Node& node) const { return node.health.At(Now()) != Health::kAlive; }
  // Nobody is suspect to itself.
  bool IsSuspect(size_t node, size_t gateway, bool doubt_counts) {
    if (node == gateway) return !nodes_[node].up;
    return nodes_[node].broken || (doubt_counts && Doubtful(nodes_[node]));
  }

  void Route(size_t id) {
    Request& request = requests_[id];
    // A gateway that is down is left by its clients for the next one.
    for (size_t i = 0; i < nodes_.size() && !nodes_[static_cast<size_t>(request.gateway)].up; ++i)
      request.gateway = (request.gateway + 1) % static_cast<int>(nodes_.size());
    const auto gateway = static_cast<size_t>(request.gateway);
    views_.resize(nodes_.size());
    for (size_t node = 0; node < nodes_.size(); ++node) {
      ReplicaView& view = views_[node];
      view.capacity = nodes_[node].capacity;
      view.load_s = nodes_[node].figures.front();
      view.backlog_s = node == gateway ? LoadOf(nodes_[node]) : backlogs_[gateway][node].At(now_);
      view.outstanding_s = outstanding_[gateway][node];
      view.service_s = scenario_.work_s / nodes_[node].capacity;
      view.forward_s = node == gateway ? 0 : scenario_.forward_s;
      view.suspect = IsSuspect(node, gateway, /*doubt_counts=*/true);
    }
    int chosen = routers_[gateway].Choose(views_);
    if (chosen < 0) {
      // Who may be back gets work where no other can take it.
      for (size_t node = 0; node < nodes_.size(); ++node)
        views_[node].suspect = IsSuspect(node, gateway, /*doubt_counts=*/false);
      chosen = routers_[gateway].Choose(views_);
    }
    if (chosen < 0) return;  // nobody is left: it stays unanswered
    const auto to = static_cast<size_t>(chosen);
    backlogs_[gateway][to].OnSent(scenario_.work_s, now_, static_cast<double>(nodes_.size()));
    outstanding_[gateway][to] += scenario_.work_s;
    request.node = request.sent_to = chosen;
    Push(now_ + views_[to].forward_s / 2, Event::Kind::kDeliver, id);
  }

  void Deliver(size_t id) {
    Node& node = nodes_[static_cast<size_t>(requests_[id].node)];
    if (!node.up) return lost_.push_back(id);
    node.queue.push_back(id);
    node.queued_work += requests_[id].work;
    Begin(node);
  }

  void Begin(Node& node) {
    if (!node.up || node.running || node.queue.empty()) return;
    const size_t id = node.queue.front();
    node.queue.pop_front();
    node.queued_work = node.queue.empty() ? 0 : node.queued_work - requests_[id].work;
    node.running = id;
    node.done_of_it = 0;
    Resume(node);
  }
  void Resume(Node& node) {
    node.begun = now_;
    const double left = requests_[*node.running].work - node.done_of_it;
    Push(now_ + left / node.speed(), Event::Kind::kFinish,
         static_cast<size_t>(&node - nodes_.data()), ++node.turn);
  }
  void Pause(Node& node) {
    if (!node.running) return;
    node.busy += now_ - node.begun;
    node.done_of_it += (now_ - node.begun) * node.speed();
    ++node.turn;
  }

  void Finish(size_t at, uint64_t turn) {
    Node& node = nodes_[at];
    if (node.turn != turn || !node.running) return;
    const Request request = requests_[*node.running];
    node.busy += now_ - node.begun;
    NotOutstanding(request);
    // An answer says how loaded its node is.
    const auto gateway = static_cast<size_t>(request.gateway);
    free_.push_back(*node.running);
    node.running.reset();
    backlogs_[gateway][at].OnFigures(LoadOf(node), now_, now_, static_cast<double>(nodes_.size()));
    if (request.arrived >= options_.warm_up_s) {
      const double back = static_cast<size_t>(request.gateway) == at ? 0 : scenario_.forward_s / 2;
      const double latency = now_ + back - request.arrived;
      ++outcome_.answered;
      outcome_.within += latency <= scenario_.objective_s ? 1 : 0;
      outcome_.latency.Add(Duration(static_cast<int64_t>(latency * 1e9)));
    }
    Begin(node);
  }

  // Answered, or known to be lost.
  void NotOutstanding(const Request& request) {
    double& sum =
        outstanding_[static_cast<size_t>(request.gateway)][static_cast<size_t>(request.sent_to)];
    sum = std::max(0.0, sum - scenario_.work_s);
  }

  void Tick() {
    const double made = now_ - scenario_.age * scenario_.period_s;
    LookAtHealth(made);
    for (Node& node : nodes_) {
      if (!node.up) continue;  // the last ones stay
      node.figures.pop_front();
      node.figures.push_back(LoadOf(node));
    }
    for (auto& row : backlogs_) {
      for (size_t node = 0; node < nodes_.size(); ++node) {
        if (IsHeard(nodes_[node], made))
          row[node].OnFigures(nodes_[node].figures.front(), std::max(0.0, made), now_,
                              static_cast<double>(nodes_.size()));
      }
    }
    outcome_.frozen_s += loss_.frozen() ? scenario_.period_s : 0;
    if (scenario_.balance != BalanceRule::kOff && !loss_.frozen()) Balance();
    Push(now_ + scenario_.period_s, Event::Kind::kTick, 0);
  }

  // Whether figures that it made then, of this life, come now. Before the first ones could have come nobody is missed.
  static bool IsHeard(const Node& node, double made) {
    return node.up && (made <= 0 || node.up_since <= made);
  }

  // Figures are the probes, as they are between daemons. `made`: when those were that come now.
  void LookAtHealth(double made) {
    std::vector<NodePresence> presence;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = nodes_[i];
      const bool heard = IsHeard(node, made);
      node.health.OnProbe(heard, Now());
      if (heard) node.broken = false;
      presence.push_back({scenario_.nodes[i].name, !Doubtful(node)});
    }
    loss_.Observe(presence, Now());
  }

  void Balance() {
    std::vector<int> up;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = nodes_[i];
      if (node.up && !node.broken && !Doubtful(node)) up.push_back(static_cast<int>(i));
    }
    const auto count = static_cast<Eigen::Index>(up.size());
    if (count < 2) return;
    MoveSnapshot snapshot;
    snapshot.load.resize(count);
    snapshot.capacity.resize(count);
    for (Eigen::Index i = 0; i < count; ++i) {
      const Node& node = nodes_[static_cast<size_t>(up[static_cast<size_t>(i)])];
      snapshot.load[i] = node.figures.front();
      snapshot.capacity[i] = node.capacity;
    }
    snapshot.room.assign(up.size(), std::numeric_limits<int64_t>::max());
    snapshot.period_s = scenario_.period_s;
    snapshot.hysteresis_s = 2 * scenario_.work_s;
    if (balanced_.size() != count || balanced_ != snapshot.capacity) {
      balanced_ = snapshot.capacity;
      model_ = BalanceFor(scenario_.balance, balanced_, std::vector<bool>(up.size(), true), kMoves,
                          scenario_.period_s, scenario_.age);
      carried_ = Eigen::MatrixXd::Zero(count, count);
    }
    snapshot.flows = Flows(model_, snapshot.load);
    for (size_t i = 0; i < up.size(); ++i) {
      const Node& node = nodes_[static_cast<size_t>(up[i])];
      for (size_t k = 0; k < std::min(kCandidates, node.queue.size()); ++k) {
        const size_t id = node.queue[node.queue.size() - 1 - k];
        snapshot.items.push_back({id, static_cast<int>(i), MovableKind::kQueued, requests_[id].work,
                                  0, std::vector<double>(up.size(), scenario_.move_s)});
      }
    }
    for (const Move& move : PlanMoves(snapshot, &carried_)) {
      Node& from = nodes_[static_cast<size_t>(up[static_cast<size_t>(move.from)])];
      const auto at = std::ranges::find(from.queue, move.id);
      if (at == from.queue.end()) continue;  // begun meanwhile
      from.queued_work -= requests_[move.id].work;
      from.queue.erase(at);
      if (from.queue.empty()) from.queued_work = 0;
      requests_[move.id].node = up[static_cast<size_t>(move.to)];
      ++outcome_.moved;
      Push(now_ + scenario_.move_s, Event::Kind::kDeliver, move.id);
    }
  }

  void Change(const ClusterEvent& event) {
    const auto at = static_cast<size_t>(event.node);
    Node& node = nodes_[at];
    switch (event.kind) {
      case ClusterEvent::Kind::kSlow:
        Pause(node);
        node.slow = event.factor;
        if (node.running) Resume(node);
        return;
      case ClusterEvent::Kind::kFail:
        if (!node.up) return;
        Pause(node);
        node.up = false;
        if (node.running) lost_.push_back(*node.running);
        lost_.insert(lost_.end(), node.queue.begin(), node.queue.end());
        node.running.reset();
        node.queue.clear();
        node.queued_work = 0;
        Push(now_ + scenario_.detect_s, Event::Kind::kDetect, at);
        return;
      case ClusterEvent::Kind::kReturn:
        if (node.up) return;
        node.up = true;
        node.up_since = now_;
        std::ranges::fill(node.figures, 0);
        return;
    }
  }

  // The others know by now: what was lost there goes elsewhere.
  void Detect(size_t at) {
    if (!nodes_[at].up) {
      nodes_[at].broken = true;
      nodes_[at].health.OnDataPath(false, Now());
    }
    std::vector<size_t> again;
    std::erase_if(lost_, [&](size_t id) {
      const bool here = static_cast<size_t>(requests_[id].node) == at;
      if (here) again.push_back(id);
      return here;
    });
    for (const size_t id : again) {
      ++outcome_.retried;
      NotOutstanding(requests_[id]);
      Route(id);
    }
    // What is sent to it until its gateways know is found out in its turn.
    if (!nodes_[at].up && now_ < options_.seconds)
      Push(now_ + scenario_.detect_s, Event::Kind::kDetect, at);
  }

  void SampleLevels() {
    if (options_.plot_bins <= 0) return;
    const double span = options_.seconds / options_.plot_bins;
    while (static_cast<double>(outcome_.levels.size()) * span <= now_ &&
           outcome_.levels.size() < static_cast<size_t>(options_.plot_bins)) {
      std::vector<double> levels;
      for (const Node& node : nodes_) levels.push_back(LoadOf(node) / node.speed());
      outcome_.levels.push_back(std::move(levels));
    }
  }

  const ClusterScenario& scenario_;
  const ClusterOptions& options_;
  std::unique_ptr<Arrivals> arrivals_;
  Random random_;
  std::vector<Node> nodes_;
  std::vector<Router> routers_;  // a gateway
  std::vector<Request> requests_;
  std::vector<size_t> free_;  // of them, answered ones
  std::vector<size_t> lost_;
  MassLoss loss_;
  std::vector<std::vector<Backlog>> backlogs_;    // by gateway and node
  std::vector<std::vector<double>> outstanding_;  // likewise
  std::vector<ReplicaView> views_;
  Eigen::VectorXd balanced_;  // capacities that the model is of
  BalanceModel model_;
  Eigen::MatrixXd carried_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t next_order_ = 0;
  double now_ = 0;
  ClusterOutcome outcome_;
};

}  // namespace

ClusterOutcome SimulateCluster(const ClusterScenario& scenario, const ClusterOptions& options) {
  return Simulation(scenario, options).Run();
}

}  // namespace evenkeel::sim
