#include "sim/cluster/pipeline_simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <tuple>
#include <utility>

#include "cluster/place.h"
#include "cluster/policy/stage_costs.h"
#include "cluster/policy/stages.h"

namespace evenkeel::sim {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

size_t Index(int i) { return static_cast<size_t>(i); }

Duration ToDuration(double seconds) {
  return Duration(static_cast<int64_t>(std::llround(seconds * 1e9)));
}

struct Sequence {
  double arrived = 0;
  bool counted = false;
  int made = 0;  // tokens of its answer
  int left = 0;  // tokens of its prompt that no step has taken
  double last_token = 0;
};

struct Step {
  size_t sequence = 0;
  int tokens = 1;
  bool gives_token = true;  // not: a piece of a prompt that is not the last
};

// A stage, and its link to the next one.
struct Line {
  Stage stage;
  std::deque<Step> queue;
  std::optional<Step> running;
  double begun = 0, busy = 0;
  std::deque<Step> to_send;  // the first is being sent
  std::deque<Step> sent;     // and not there yet
};

// What a place has in its memory.
struct Held {
  int first = 0, layers = 0;
  bool head = false, tail = false;  // what only the first and the last stage need
};

struct Event {
  enum class Kind : uint8_t { kArrival, kComputed, kSent, kThere, kToken, kNode, kPlan, kReady };
  double at = 0;
  uint64_t order = 0;
  Kind kind = Kind::kArrival;
  size_t what = 0;    // sequence, stage or index of the scenario's event
  uint64_t turn = 0;  // of an earlier turn it is void; not of arrivals and nodes
  bool operator>(const Event& other) const {
    return std::tie(at, order) > std::tie(other.at, other.order);
  }
};

class Pipeline {
 public:
  Pipeline(const PipelineScenario& scenario, const PipelineOptions& options)
      : scenario_(scenario),
        options_(options),
        layered_(LayersOf(scenario.model)),
        places_(PlacesOf(scenario.nodes)),
        arrivals_(scenario.arrivals->Play(options.factor, options.seed)),
        up_(scenario.nodes.size(), true),
        speed_(scenario.nodes.size(), 1),
        held_(places_.size()) {}

  Result<PipelineOutcome> Run() {
    auto plan = Cut();
    if (!plan.ok()) return plan.status();
    planned_ = std::move(*plan);
    Ready();
    Arrive();
    for (size_t i = 0; i < scenario_.events.size(); ++i)
      Push(scenario_.events[i].at_s, Event::Kind::kNode, i);
    while (!events_.empty() && events_.top().at <= options_.seconds) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      Handle(event);
    }
    now_ = options_.seconds;
    if (lines_.empty())
      outcome_.down_s += now_ - down_since_;
    else
      CloseCut();
    outcome_.unanswered = outcome_.arrived - outcome_.answered;
    return std::move(outcome_);
  }

 private:
  void Push(double at, Event::Kind kind, size_t what) {
    events_.push({at, next_order_++, kind, what, turn_});
  }

  void Handle(const Event& event) {
    using Kind = Event::Kind;
    if (event.kind == Kind::kArrival) {
      waiting_.push_back(event.what);
      Admit();
      return Arrive();
    }
    if (event.kind == Kind::kNode) return Change(scenario_.events[event.what]);
    if (event.turn != turn_) return;
    switch (event.kind) {
      case Kind::kComputed: return Computed(event.what);
      case Kind::kSent: return Sent(event.what);
      case Kind::kThere: return There(event.what);
      case Kind::kToken: return Token(event.what);
      case Kind::kPlan: return Plan();
      case Kind::kReady: return Ready();
      case Kind::kArrival:
      case Kind::kNode: break;
    }
  }

  // Sequences

  void Arrive() {
    const auto next = arrivals_->Next();
    if (!next) return;
    Sequence sequence;
    sequence.arrived = Seconds(*next - Time{});
    sequence.counted =
        sequence.arrived >= options_.warm_up_s && sequence.arrived <= options_.seconds;
    outcome_.arrived += sequence.counted ? 1 : 0;
    sequences_.push_back(sequence);
    Push(sequence.arrived, Event::Kind::kArrival, sequences_.size() - 1);
  }

  void Admit() {
    while (!lines_.empty() && !waiting_.empty() && active_.size() < Index(scenario_.in_flight)) {
      const size_t id = waiting_.front();
      waiting_.pop_front();
      active_.insert(id);
      Begin(id);
    }
  }

  // All its tokens so far are a prompt.
  void Begin(size_t id) {
    sequences_[id].left = scenario_.prompt_tokens + sequences_[id].made;
    EnterPiece(id);
  }

  void EnterPiece(size_t id) {
    Sequence& sequence = sequences_[id];
    const int tokens = std::min(sequence.left, scenario_.piece_tokens);
    sequence.left -= tokens;
    Enter(0, {id, tokens, sequence.left == 0});
  }

  void Token(size_t id) {
    Sequence& sequence = sequences_[id];
    const bool counted = now_ >= options_.warm_up_s;
    if (sequence.made == 0) {
      if (sequence.counted) outcome_.first_token.Add(ToDuration(now_ - sequence.arrived));
    } else if (counted) {
      outcome_.inter_token.Add(ToDuration(now_ - sequence.last_token));
    }
    ++sequence.made;
    sequence.last_token = now_;
    outcome_.answer_tokens += counted ? 1 : 0;
    if (sequence.made < scenario_.answer_tokens) return Enter(0, {id, 1, true});
    outcome_.answered += sequence.counted ? 1 : 0;
    active_.erase(id);
    Admit();
  }

  // Stages

  void Enter(size_t at, const Step& step) {
    lines_[at].queue.push_back(step);
    Start(at);
  }

  void Start(size_t at) {
    Line& line = lines_[at];
    if (line.running || line.queue.empty()) return;
    line.running = line.queue.front();
    line.queue.pop_front();
    line.begun = now_;
    const size_t place = Index(line.stage.place);
    const double seconds = line.stage.layers * LayerSecondsOf(line.running->tokens)[place] /
                           speed_[Index(places_[place].node)];
    Push(now_ + seconds, Event::Kind::kComputed, at);
  }

  void Computed(size_t at) {
    Line& line = lines_[at];
    line.busy += Counted(line.begun, now_);
    const Step step = *line.running;
    line.running.reset();
    if (at == 0 && !step.gives_token) EnterPiece(step.sequence);
    if (at + 1 < lines_.size()) {
      line.to_send.push_back(step);
      if (line.to_send.size() == 1) Send(at);
    } else if (step.gives_token) {
      const double back_s = lines_.size() > 1 ? scenario_.link.round_trip_s / 2 : 0;
      Push(now_ + back_s, Event::Kind::kToken, step.sequence);
    }
    Start(at);
  }

  void Send(size_t at) {
    const double bytes =
        static_cast<double>(scenario_.model.boundary_bytes) * lines_[at].to_send.front().tokens;
    Push(now_ + bytes / scenario_.link.bytes_per_s, Event::Kind::kSent, at);
  }

  void Sent(size_t at) {
    Line& line = lines_[at];
    line.sent.push_back(line.to_send.front());
    line.to_send.pop_front();
    Push(now_ + scenario_.link.round_trip_s / 2, Event::Kind::kThere, at);
    if (!line.to_send.empty()) Send(at);
  }

  void There(size_t at) {
    const Step step = lines_[at].sent.front();
    lines_[at].sent.pop_front();
    Enter(at + 1, step);
  }

  const std::vector<double>& LayerSecondsOf(int tokens) {
    const auto known = layer_seconds_.find(tokens);
    if (known != layer_seconds_.end()) return known->second;
    return layer_seconds_.emplace(tokens, LayerSeconds(scenario_.model, tokens, scenario_.nodes))
        .first->second;
  }

  // Of a span, what is counted.
  double Counted(double from, double until) const {
    return std::max(0.0, until - std::max(from, options_.warm_up_s));
  }

  // Cuts

  Result<StagePlan> Cut() const {
    std::vector<NodeState> nodes = scenario_.nodes;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (up_[i]) continue;
      nodes[i].free_memory_bytes = 0;
      nodes[i].free_accelerator_bytes.assign(nodes[i].total.accelerators.size(), 0);
    }
    const Task& model = scenario_.model;
    std::vector<StagePlace> places = StagePlacesFor(model, nodes);
    int whole = -1;
    for (size_t i = 0; i < places.size(); ++i) {
      places[i].layer_s /= speed_[Index(places_[i].node)];
      if (places[i].room < model.memory_bytes || !(places[i].layer_s < kInfinite)) continue;
      if (whole < 0 || places[i].layer_s < places[Index(whole)].layer_s)
        whole = static_cast<int>(i);
    }
    if (whole < 0) return CutIntoStages(layered_, places, HopSeconds(model, scenario_.link));
    StagePlan plan;
    const double seconds = model.layers * places[Index(whole)].layer_s;
    plan.stages.push_back({whole, 0, model.layers, model.memory_bytes, seconds});
    plan.period_s = places[Index(whole)].present_s + seconds;
    plan.latency_s = seconds;
    return plan;
  }

  Held HeldBy(const Stage& stage) const {
    return {stage.first, stage.layers, stage.first == 0,
            stage.first + stage.layers == scenario_.model.layers};
  }

  // Bytes of its stage that a place does not have yet.
  double Lacking(const Stage& stage) const {
    const Held& has = held_[Index(stage.place)];
    const Held wants = HeldBy(stage);
    const int both = std::max(0, std::min(has.first + has.layers, wants.first + wants.layers) -
                                     std::max(has.first, wants.first));
    int64_t bytes = (wants.layers - both) * layered_.layer_bytes;
    if (wants.head && !has.head) bytes += layered_.first_bytes;
    if (wants.tail && !has.tail) bytes += layered_.last_bytes;
    return static_cast<double>(bytes);
  }

  void Plan() {
    planning_ = false;
    auto plan = Cut();
    if (!plan.ok()) {
      outcome_.trouble = plan.status().message();
      return;
    }
    outcome_.trouble.clear();
    double bytes = 0;
    for (const Stage& stage : plan->stages) bytes = std::max(bytes, Lacking(stage));
    planned_ = std::move(*plan);
    Push(now_ + bytes / scenario_.load_bytes_per_s, Event::Kind::kReady, 0);
  }

  void Ready() {
    const StagePlan plan = std::move(*planned_);
    planned_.reset();
    outcome_.down_s += now_ - down_since_;
    CutOutcome cut;
    cut.from_s = now_;
    cut.period_s = plan.period_s;
    cut.latency_s = plan.latency_s;
    for (const Stage& stage : plan.stages) {
      held_[Index(stage.place)] = HeldBy(stage);
      lines_.emplace_back().stage = stage;
      StageOutcome& told = cut.stages.emplace_back();
      told.place = NameOf(places_[Index(stage.place)], scenario_.nodes);
      told.first = stage.first;
      told.layers = stage.layers;
      told.bytes = stage.bytes;
      told.seconds = stage.seconds;
    }
    outcome_.cuts.push_back(std::move(cut));
    for (const size_t id : active_) Begin(id);
    Admit();
  }

  void CloseCut() {
    CutOutcome& cut = outcome_.cuts.back();
    cut.until_s = now_;
    const double counted = Counted(cut.from_s, now_);
    for (size_t at = 0; at < lines_.size(); ++at) {
      Line& line = lines_[at];
      if (line.running) line.busy += Counted(line.begun, now_);
      cut.stages[at].idle = counted > 0 ? 1 - line.busy / counted : 0;
    }
  }

  bool HasStageOf(const std::vector<Stage>& stages, int node) const {
    return std::ranges::any_of(
        stages, [&](const Stage& stage) { return places_[Index(stage.place)].node == node; });
  }

  void Change(const ClusterEvent& event) {
    const size_t node = Index(event.node);
    switch (event.kind) {
      case ClusterEvent::Kind::kSlow: speed_[node] = event.factor; return;
      case ClusterEvent::Kind::kFail: return Fail(event.node);
      case ClusterEvent::Kind::kReturn:
        if (up_[node]) return;
        up_[node] = true;
        if (lines_.empty() && !planned_ && !planning_) PlanSoon();
        return;
    }
  }

  void Fail(int node) {
    if (!up_[Index(node)]) return;
    up_[Index(node)] = false;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (places_[i].node == node) held_[i] = Held{};
    }
    if (planned_) {
      if (!HasStageOf(planned_->stages, node)) return;
      planned_.reset();
      ++turn_;  // it will not be ready
      return PlanSoon();
    }
    std::vector<Stage> stages;
    for (const Line& line : lines_) stages.push_back(line.stage);
    if (!HasStageOf(stages, node)) return;
    CloseCut();
    lines_.clear();
    ++turn_;
    down_since_ = now_;
    for (const size_t id : active_) {
      const Sequence& sequence = sequences_[id];
      outcome_.again_tokens +=
          static_cast<uint64_t>(scenario_.prompt_tokens + sequence.made - sequence.left);
    }
    PlanSoon();
  }

  void PlanSoon() {
    planning_ = true;
    Push(now_ + scenario_.detect_s, Event::Kind::kPlan, 0);
  }

  const PipelineScenario& scenario_;
  const PipelineOptions& options_;
  const LayeredModel layered_;
  const std::vector<Place> places_;
  const std::unique_ptr<Arrivals> arrivals_;
  double now_ = 0;
  uint64_t next_order_ = 0, turn_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<Sequence> sequences_;
  std::deque<size_t> waiting_;
  std::set<size_t> active_;
  std::vector<Line> lines_;           // empty: the model is down
  std::optional<StagePlan> planned_;  // being loaded
  bool planning_ = false;             // a plan will be made
  double down_since_ = 0;
  std::vector<bool> up_;                              // by node
  std::vector<double> speed_;                         // by node; 1: as told
  std::vector<Held> held_;                            // by place
  std::map<int, std::vector<double>> layer_seconds_;  // by tokens; by place
  PipelineOutcome outcome_;
};

}  // namespace

Result<PipelineOutcome> SimulatePipeline(const PipelineScenario& scenario,
                                         const PipelineOptions& options) {
  return Pipeline(scenario, options).Run();
}

}  // namespace evenkeel::sim
