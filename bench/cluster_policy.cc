// What the planner and the balancer are worth and cost, as JSON for bench/cluster.py: instances with every step's makespan, plan times, predictions from few
// pairs, moves of the game, and the balance beside its theory.
//
//   cluster_policy instances N | times | prediction N | game N | balance
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "cluster/policy/balance.h"
#include "cluster/policy/factorisation.h"
#include "cluster/policy/measurement_design.h"
#include "cluster/policy/plan.h"
#include "cluster/policy/random_problem.h"
#include "cluster/policy/replicas.h"

namespace {

using namespace evenkeel;
using Json = nlohmann::json;

// Up to 4 nodes and 12 tasks, of all kinds.
PlacementProblem SmallProblem(uint64_t seed) {
  RandomShape shape;
  shape.nodes = 2 + static_cast<int>(seed % 3);
  shape.tasks = 4 + static_cast<int>(seed % 9);
  shape.affinity = seed % 2 == 0 ? 0.2 : 1.0;
  shape.impossible = seed % 4 == 0 ? 0.2 : 0;
  shape.memory = seed % 5 == 0 ? 0.8 : 0;
  return RandomProblem(shape, seed);
}

Json Rows(const Eigen::MatrixXd& matrix) {
  Json rows = Json::array();
  for (int j = 0; j < matrix.rows(); ++j) {
    Json row = Json::array();
    for (int i = 0; i < matrix.cols(); ++i)
      row.push_back(matrix(j, i) < kImpossible ? Json(matrix(j, i)) : Json(nullptr));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json Instances(int count) {
  Json out = Json::array();
  for (int i = 0; i < count; ++i) {
    const PlacementProblem problem = SmallProblem(static_cast<uint64_t>(i));
    const auto plan = MakePlan(problem);
    if (!plan.ok()) {
      out.push_back({{"seconds", Rows(problem.seconds)},
                     {"memory", problem.memory},
                     {"room", problem.room},
                     {"error", plan.status().message()}});
      continue;
    }
    Json steps = Json::object();
    for (const PlanStep& step : plan->steps) steps[step.name] = step.score.makespan_s;
    if (const auto method = MakePlanByMethod(problem); method.ok()) {
      for (const PlanStep& step : method->steps) steps[step.name] = step.score.makespan_s;
      steps["method"] = method->score.makespan_s;
    }
    out.push_back({{"seconds", Rows(problem.seconds)},
                   {"memory", problem.memory},
                   {"room", problem.room},
                   {"makespan_s", plan->score.makespan_s},
                   {"steps", std::move(steps)}});
  }
  return out;
}

double MedianMs(int runs, const std::function<void(int)>& work) {
  std::vector<double> times;
  for (int run = 0; run < runs; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    work(run);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

Json Times() {
  Json out = Json::array();
  for (const auto& [nodes, tasks] : {std::pair{16, 200}, std::pair{64, 2000}}) {
    RandomShape shape;
    shape.nodes = nodes;
    shape.tasks = tasks;
    std::vector<PlacementProblem> problems;
    for (uint64_t seed = 0; seed < 5; ++seed) problems.push_back(RandomProblem(shape, seed));
    const double ms = MedianMs(5, [&](int run) {
      if (!MakePlan(problems[static_cast<size_t>(run)]).ok()) std::abort();
    });
    out.push_back({{"nodes", nodes}, {"tasks", tasks}, {"replicas", 1}, {"ms", ms}});
  }
  // As many tasks, two of each model, which serve somewhere now.
  std::vector<ReplicaProblem> problems;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    RandomShape shape;
    shape.nodes = 16;
    shape.tasks = 100;
    ReplicaProblem problem;
    problem.work = RandomProblem(shape, seed);
    problem.work.room.assign(16, int64_t{1} << 40);
    problem.work.seconds *= 0.02;  // a node's share is some tenths of a second
    problem.least.assign(100, 2);
    for (int model = 0; model < 100; ++model)
      problem.present.push_back({model % 16, (model + 5) % 16});
    problems.push_back(std::move(problem));
  }
  const double ms = MedianMs(5, [&](int run) {
    if (!MakeReplicaPlan(problems[static_cast<size_t>(run)]).ok()) std::abort();
  });
  out.push_back({{"nodes", 16}, {"tasks", 200}, {"replicas", 2}, {"ms", ms}});
  return out;
}

double MedianError(const Eigen::MatrixXd& predicted, const Eigen::MatrixXd& truth,
                   const Eigen::MatrixXd& known) {
  std::vector<double> errors;
  for (int j = 0; j < truth.rows(); ++j) {
    for (int i = 0; i < truth.cols(); ++i) {
      if (known(j, i) == 0) errors.push_back(std::abs(predicted(j, i) / truth(j, i) - 1));
    }
  }
  std::ranges::sort(errors);
  return errors[errors.size() / 2];
}

// 16 nodes, 200 tasks. The roofline misses what nodes and tasks have of their own, what suits whom, and some of what nothing explains.
struct Measurable {
  PlacementProblem truth;
  Eigen::MatrixXd roofline;
  std::mt19937_64 rng;

  explicit Measurable(uint64_t seed) : rng(seed + 99) {
    RandomShape shape;
    shape.nodes = kNodes;
    shape.tasks = kTasks;
    shape.affinity = 0.5;
    shape.noise = 0.08;
    truth = RandomProblem(shape, seed);
    // What the roofline knows: the sizes of tasks and the speeds of nodes, each off by something.
    const LoadModel model = LoadModelOf(truth);
    std::normal_distribution<double> normal;
    Eigen::VectorXd node_off(kNodes), task_off(kTasks);
    for (auto& off : node_off) off = 0.3 * normal(rng);
    for (auto& off : task_off) off = 0.3 * normal(rng);
    roofline.resize(kTasks, kNodes);
    for (int j = 0; j < kTasks; ++j) {
      for (int i = 0; i < kNodes; ++i)
        roofline(j, i) = model.weight_s[static_cast<size_t>(j)] /
                         model.capacity[static_cast<size_t>(i)] *
                         std::exp(node_off[i] + task_off[j]);
    }
  }
  MeasuredPair Measure(int task, int node) {
    std::normal_distribution<double> normal;
    return {task, node, truth.seconds(task, node) * std::exp(0.03 * normal(rng))};
  }
  Placement PlanBy(const Eigen::MatrixXd& believed) const {
    PlacementProblem guess = truth;
    guess.seconds = believed;
    return MakePlan(guess)->placement;
  }
  double MakespanBy(const Eigen::MatrixXd& believed) const {
    return Score(truth, PlanBy(believed)).makespan_s;
  }
  static constexpr int kNodes = 16, kTasks = 200;
  static constexpr int kBudget = kNodes * kTasks / 5;
};

Eigen::MatrixXd KnownOf(const std::vector<MeasuredPair>& measured) {
  Eigen::MatrixXd known = Eigen::MatrixXd::Zero(Measurable::kTasks, Measurable::kNodes);
  for (const MeasuredPair& pair : measured) known(pair.task, pair.node) = 1;
  return known;
}

// A fifth of the pairs, drawn, at least two a task.
std::vector<MeasuredPair> Drawn(Measurable& cluster) {
  std::uniform_real_distribution<double> uniform;
  std::vector<MeasuredPair> measured;
  for (int j = 0; j < Measurable::kTasks; ++j) {
    int taken = 0;
    for (int i = 0; i < Measurable::kNodes; ++i) {
      const bool must = taken < 2 && Measurable::kNodes - i <= 2 - taken;
      if (!must && uniform(cluster.rng) >= 0.2) continue;
      ++taken;
      measured.push_back(cluster.Measure(j, i));
    }
  }
  return measured;
}

// As many, chosen: two a task, then in rounds what the plan would use.
std::vector<MeasuredPair> Chosen(Measurable& cluster) {
  constexpr int kRound = 40;
  std::vector<MeasuredPair> measured;
  for (const TaskOnNode& pair : FirstPairs(cluster.roofline))
    measured.push_back(cluster.Measure(pair.task, pair.node));
  while (true) {
    const Completion costs = Complete(cluster.roofline, measured);
    Holders plan;
    for (const int node : cluster.PlanBy(costs.seconds)) plan.push_back({node});
    const int left = Measurable::kBudget - static_cast<int>(measured.size());
    const auto next = NextPairs(costs, plan, std::min(kRound, left));
    if (next.empty()) return measured;
    for (const TaskOnNode& pair : next) measured.push_back(cluster.Measure(pair.task, pair.node));
  }
}

Json Prediction(int count) {
  Json out = Json::array();
  for (int run = 0; run < count; ++run) {
    Measurable cluster(static_cast<uint64_t>(run));
    const std::vector<MeasuredPair> drawn = Drawn(cluster), chosen = Chosen(cluster);
    const Completion by_drawn = Complete(cluster.roofline, drawn);
    const Completion by_chosen = Complete(cluster.roofline, chosen);
    const Eigen::MatrixXd& truth = cluster.truth.seconds;
    out.push_back({{"rank", by_chosen.rank},
                   {"drawn_pairs", drawn.size()},
                   {"chosen_pairs", chosen.size()},
                   {"drawn_error", MedianError(by_drawn.seconds, truth, KnownOf(drawn))},
                   {"chosen_error", MedianError(by_chosen.seconds, truth, KnownOf(chosen))},
                   {"roofline_error", MedianError(cluster.roofline, truth, KnownOf(drawn))},
                   {"drawn_makespan", cluster.MakespanBy(CarefulCosts(by_drawn))},
                   {"chosen_makespan", cluster.MakespanBy(CarefulCosts(by_chosen))},
                   {"roofline_makespan", cluster.MakespanBy(cluster.roofline)},
                   {"full_makespan", cluster.MakespanBy(truth)}});
  }
  return out;
}

Json Game(int count) {
  double worst = 0;
  bool falls = true;
  int moves = 0;
  std::vector<int> rounds;
  for (uint64_t seed = 0; moves < count; ++seed) {
    RandomShape shape;
    shape.nodes = 2 + static_cast<int>(seed % 15);
    shape.tasks = 10 + static_cast<int>(seed % 191);
    const PlacementProblem problem = RandomProblem(shape, seed);
    std::mt19937_64 rng(seed);
    Placement placement;
    for (int j = 0; j < shape.tasks; ++j)
      placement.push_back(std::uniform_int_distribution<int>(0, shape.nodes - 1)(rng));
    const LoadModel model = LoadModelOf(problem);
    const GameResult result = Settle(problem, placement);
    rounds.push_back(result.rounds);
    double before = Potential(problem, model, placement);
    for (const GameMove& move : result.moves) {
      placement[static_cast<size_t>(move.task)] = move.to;
      const double after = Potential(problem, model, placement);
      const double expected = -model.weight_s[static_cast<size_t>(move.task)] *
                              (move.utility_after - move.utility_before);
      worst = std::max(worst, std::abs(after - before - expected) / std::max(1.0, before));
      falls = falls && after < before;
      before = after;
      ++moves;
    }
  }
  std::ranges::sort(rounds);
  return {{"moves", moves},
          {"worst_error", worst},
          {"always_falls", falls},
          {"median_rounds", rounds[rounds.size() / 2]},
          {"most_rounds", rounds.back()}};
}

Json Balance() {
  double worst_rate = 0, worst_deviation = 0;
  bool rises = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 rng(seed);
    std::uniform_real_distribution<double> uniform(0.2, 2);
    const int nodes = 2 + static_cast<int>(seed % 15);
    BalanceModel model = BalanceModel::Method(nodes, 0.4, 0.3, 0);
    for (int i = 0; i < nodes; ++i) {
      model.capacity[i] = uniform(rng);
      for (int j = 0; j < i; ++j) model.moves(i, j) = model.moves(j, i) = 0.2 * uniform(rng);
    }
    model.arrivals = 0.3 * model.capacity;
    Eigen::VectorXd load(nodes);
    for (auto& l : load) l = 5 * uniform(rng);
    double last = Imbalance(model, load);
    Eigen::VectorXd now = load;
    for (int step = 0; step < 40; ++step) {
      now = Integrate(model, now, 0.1);
      rises = rises || Imbalance(model, now) > last + 1e-12;
      last = Imbalance(model, now);
    }
    const double slowest = RatesOf(model).slowest;
    const double seconds = 0.5 / slowest;
    const Eigen::VectorXd mode = SteadyLoad(model, load) + RatesOf(model).slowest_mode;
    const double rate =
        std::log(Imbalance(model, mode) / Imbalance(model, Integrate(model, mode, seconds))) /
        (2 * seconds);
    worst_rate = std::max(worst_rate, std::abs(rate / slowest - 1));
    for (int i = 0; i < nodes; ++i) model.arrivals[i] = uniform(rng);
    const Eigen::VectorXd steady = SteadyLoad(model, load), end = Integrate(model, load, 100);
    worst_deviation = std::max(worst_deviation,
                               (end - steady).cwiseAbs().maxCoeff() / steady.cwiseAbs().maxCoeff());
  }
  return {{"rises", rises},
          {"worst_rate_error", worst_rate},
          {"worst_deviation_error", worst_deviation}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int count = argc > 2 ? std::atoi(argv[2]) : 0;
  Json out;
  if (what == "instances" && count > 0) {
    out = Instances(count);
  } else if (what == "times") {
    out = Times();
  } else if (what == "prediction" && count > 0) {
    out = Prediction(count);
  } else if (what == "game" && count > 0) {
    out = Game(count);
  } else if (what == "balance") {
    out = Balance();
  } else {
    std::fputs("usage: cluster_policy instances N | times | prediction N | game N | balance\n",
               stderr);
    return 2;
  }
  std::puts(out.dump().c_str());
  return 0;
}
