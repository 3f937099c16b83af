#include "cluster/policy/replicas.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "cluster/policy/partition.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kAlike = 0.01;  // of the level: plans that are as good
constexpr double kSame = 1e-9;
// Seconds of the level that nobody notices: models that are not called cost next to nothing, of which a hundredth is no reason to move one.
constexpr double kNothing = 1e-6;
constexpr int kSharingRounds = 300;
// Of the trials of the plan with the least replicas, those of what is looked at beside it.
constexpr int64_t kPartOfTrials = 8;
constexpr std::string_view kAsItServes = "as it serves";

size_t Index(int i) { return static_cast<size_t>(i); }

using Counts = std::vector<int>;  // replicas by model

// By server that can run the model: the least seconds there.
std::map<int, double> Servers(const PlacementProblem& problem, int model) {
  std::map<int, double> servers;
  for (int node = 0; node < problem.nodes(); ++node) {
    if (!problem.possible(model, node) || problem.memory[Index(model)] > problem.room[Index(node)])
      continue;
    const auto [at, fresh] = servers.emplace(problem.host_of(node), problem.seconds(model, node));
    if (!fresh) at->second = std::min(at->second, problem.seconds(model, node));
  }
  return servers;
}

// Replicas as tasks.
struct Tasks {
  PlacementProblem problem;
  std::vector<int> model_of;
};

Tasks TasksOf(const PlacementProblem& work, const Counts& counts) {
  Tasks tasks;
  tasks.problem.room = work.room;
  tasks.problem.present_s = work.present_s;
  tasks.problem.host = work.host;
  for (int model = 0; model < work.tasks(); ++model)
    tasks.model_of.insert(tasks.model_of.end(), Index(counts[Index(model)]), model);
  const auto count = static_cast<Eigen::Index>(tasks.model_of.size());
  tasks.problem.seconds.resize(count, work.nodes());
  for (Eigen::Index task = 0; task < count; ++task) {
    const int model = tasks.model_of[static_cast<size_t>(task)];
    tasks.problem.seconds.row(task) =
        work.seconds.row(model) / static_cast<double>(counts[Index(model)]);
    tasks.problem.memory.push_back(work.memory[Index(model)]);
  }
  // Else nothing is to be kept apart, and the placement is looked for as ever.
  if (std::ranges::any_of(counts, [](int one) { return one > 1; }))
    tasks.problem.replica_of = tasks.model_of;
  return tasks;
}

Holders PlacesOf(const Tasks& tasks, const Placement& placement, int models) {
  Holders places(Index(models));
  for (size_t task = 0; task < placement.size(); ++task)
    places[Index(tasks.model_of[task])].push_back(placement[task]);
  for (auto& one : places) std::ranges::sort(one);
  return places;
}

Placement PlacementOf(const Holders& places) {
  Placement placement;
  for (const auto& one : places) placement.insert(placement.end(), one.begin(), one.end());
  return placement;
}

struct Candidate {
  std::string name;
  Holders places;
  SharedWork shares;
  PlacementScore score;
};

Candidate Weighed(const PlacementProblem& work, std::string name, Holders places,
                  SharedWork shares) {
  Candidate one{std::move(name), std::move(places), std::move(shares), {}};
  one.score = {one.shares.makespan_s(), one.shares.TotalSeconds(work)};
  return one;
}

class Planner {
 public:
  Planner(const ReplicaProblem& problem, const ReplicaOptions& options)
      : problem_(problem), work_(problem.work), options_(options) {
    SeePresent();
  }
  Result<ReplicaPlan> Run();

 private:
  void SeePresent();
  Counts LeastCounts() const;
  Counts CountsForLoad(const Counts& least) const;
  Counts NoMoreThanNow(const Counts& counts) const;
  Counts NoFewerThanNow(const Counts& counts) const;
  Result<Candidate> Solve(const Counts& counts, int64_t trials, ReplicaPlan* told) const;
  std::optional<Holders> Kept(const Counts& counts) const;
  Candidate WeighedKept(Holders places) const;
  Candidate Best(const Counts& counts, std::vector<Candidate> all) const;
  std::vector<Candidate> FromPresent(const Counts& counts) const;
  int Brings(const Holders& places) const;
  Candidate Shared(std::string name, Holders places) const {
    SharedWork parts = InEqualParts(work_, places);
    return Weighed(work_, std::move(name), places,
                   options_.method ? std::move(parts)
                                   : ShareOut(work_, places, std::move(parts), kSharingRounds));
  }

  const ReplicaProblem& problem_;
  const PlacementProblem& work_;
  const ReplicaOptions& options_;
  Holders present_;  // that can be; empty: not known
  std::optional<SharedWork> present_shares_;
};

void Planner::SeePresent() {
  for (int model = 0; model < work_.tasks() && !problem_.present.empty(); ++model) {
    std::vector<int> places, servers;
    for (const int place : problem_.present[Index(model)]) {
      const int server = work_.host_of(place);
      if (!work_.possible(model, place) || std::ranges::count(servers, server) > 0) continue;
      places.push_back(place);
      servers.push_back(server);
    }
    present_.push_back(std::move(places));
  }
  const bool all = std::ranges::none_of(present_, [](const auto& on) { return on.empty(); });
  if (!present_.empty() && all)
    present_shares_ = ShareOut(work_, present_, AtTheirBest(work_, present_), kSharingRounds);
}

Counts Planner::LeastCounts() const {
  Counts counts;
  for (int model = 0; model < work_.tasks(); ++model) {
    const int least = problem_.least.empty() ? 1 : problem_.least[Index(model)];
    const auto servers = static_cast<int>(Servers(work_, model).size());
    counts.push_back(std::clamp(least, 1, std::max(1, servers)));
  }
  return counts;
}

Counts Planner::CountsForLoad(const Counts& least) const {
  Counts counts = least;
  for (int model = 0; model < work_.tasks(); ++model) {
    int& count = counts[Index(model)];
    const int wanted = ReplicasForLoad(work_, model, options_.carry_s);
    const int most = problem_.most.empty() ? wanted : problem_.most[Index(model)];
    count = std::max(count, std::min(wanted, most));
  }
  return counts;
}

Counts Planner::NoMoreThanNow(const Counts& counts) const {
  Counts fewer = counts;
  for (size_t model = 0; model < fewer.size(); ++model) {
    const int now = present_.empty() ? 1 : static_cast<int>(present_[model].size());
    fewer[model] = std::min(fewer[model], std::max(1, now));
  }
  return fewer;
}

Counts Planner::NoFewerThanNow(const Counts& counts) const {
  Counts more = counts;
  for (size_t model = 0; model < present_.size(); ++model)
    more[model] = std::max(more[model], static_cast<int>(present_[model].size()));
  return more;
}

Result<Candidate> Planner::Solve(const Counts& counts, int64_t trials, ReplicaPlan* told) const {
  const Tasks tasks = TasksOf(work_, counts);
  PlanOptions how = options_.plan;
  how.improve.most_trials = trials;
  auto plan = options_.method ? MakePlanByMethod(tasks.problem, how) : MakePlan(tasks.problem, how);
  if (!plan.ok()) return plan.status();
  if (told != nullptr) {
    for (const PlanStep& step : plan->steps)
      told->steps.push_back(
          {step.name, PlacesOf(tasks, step.placement, work_.tasks()), step.score});
    told->game = std::move(plan->game);
    told->model_of = tasks.model_of;
  }
  return Shared("shared out", PlacesOf(tasks, plan->placement, work_.tasks()));
}

// What serves now, with what is missing added where it is done soonest, and without the slowest where fewer are wanted. Nothing: that does not fit.
std::optional<Holders> Planner::Kept(const Counts& counts) const {
  if (present_.empty()) return std::nullopt;
  Holders places = present_;
  std::vector<int64_t> room = work_.room;
  std::vector<double> levels = work_.present_s;
  for (int model = 0; model < work_.tasks(); ++model) {
    auto& on = places[Index(model)];
    std::ranges::stable_sort(on, {}, [&](int node) { return work_.seconds(model, node); });
    on.resize(std::min(on.size(), Index(counts[Index(model)])));
    for (const int node : on) {
      room[Index(node)] -= work_.memory[Index(model)];
      levels[Index(node)] += work_.seconds(model, node) / static_cast<double>(on.size());
    }
  }
  if (std::ranges::any_of(room, [](int64_t bytes) { return bytes < 0; })) return std::nullopt;
  for (int model = 0; model < work_.tasks(); ++model) {
    auto& on = places[Index(model)];
    while (std::ssize(on) < counts[Index(model)]) {
      const auto apart = [&](int node) {
        return std::ranges::none_of(
            on, [&](int other) { return work_.host_of(other) == work_.host_of(node); });
      };
      int best = -1;
      double soonest = kImpossible;
      for (int node = 0; node < work_.nodes(); ++node) {
        if (!work_.possible(model, node) || work_.memory[Index(model)] > room[Index(node)] ||
            !apart(node))
          continue;
        const double then = levels[Index(node)] + work_.seconds(model, node) / counts[Index(model)];
        if (!(then < soonest)) continue;
        best = node;
        soonest = then;
      }
      if (best < 0) return std::nullopt;
      on.push_back(best);
      room[Index(best)] -= work_.memory[Index(model)];
      levels[Index(best)] = soonest;
    }
    std::ranges::sort(on);
  }
  return places;
}

// Shared out from the present shares where nothing goes, so that it is not above the present level.
Candidate Planner::WeighedKept(Holders places) const {
  bool all = present_shares_.has_value();
  for (size_t model = 0; model < places.size(); ++model) {
    all = all && std::ranges::all_of(present_[model], [&](int node) {
            return std::ranges::find(places[model], node) != places[model].end();
          });
  }
  if (!all) return Shared(std::string(kAsItServes), std::move(places));
  SharedWork shares = ShareOut(work_, places, *present_shares_, kSharingRounds);
  return Weighed(work_, std::string(kAsItServes), std::move(places), std::move(shares));
}

std::vector<Candidate> Planner::FromPresent(const Counts& counts) const {
  std::vector<Candidate> all;
  if (options_.method) return all;
  auto kept = Kept(counts);
  if (!kept) return all;
  const Tasks tasks = TasksOf(work_, counts);
  if (!tasks.problem.replica_of.empty()) {
    ImproveOptions how = options_.plan.improve;
    how.most_trials /= kPartOfTrials;
    all.push_back(
        Shared("as it serves, improved",
               PlacesOf(tasks, Improve(tasks.problem, PlacementOf(*kept), how), work_.tasks())));
  }
  all.push_back(WeighedKept(*std::move(kept)));
  return all;
}

int Planner::Brings(const Holders& places) const {
  if (present_.empty()) return 0;
  int brings = 0;
  for (size_t model = 0; model < places.size(); ++model) {
    brings += static_cast<int>(std::ranges::count_if(places[model], [&](int node) {
      return std::ranges::find(present_[model], node) == present_[model].end();
    }));
  }
  return brings;
}

// REQUIRES: there is one. Of those that bring as few the last: what serves now.
Candidate Planner::Best(const Counts& counts, std::vector<Candidate> all) const {
  const auto kept = std::ranges::find(all, kAsItServes, &Candidate::name);
  const bool single = std::ranges::all_of(counts, [](int count) { return count == 1; }) &&
                      std::ranges::all_of(present_, [](const auto& on) { return on.size() < 2; });
  if (single) {
    const bool better = kept != all.end() && kept->score < all.front().score;
    return std::move(better ? *kept : all.front());
  }
  double least = kImpossible;
  for (const Candidate& one : all) least = std::min(least, one.score.makespan_s);
  double bound = least + std::max(kAlike * least, kNothing);
  if (kept != all.end()) bound = std::min(bound, kept->score.makespan_s * (1 + kSame));
  Candidate* best = nullptr;
  for (Candidate& one : all) {
    if (one.score.makespan_s > bound) continue;
    if (best == nullptr || Brings(one.places) <= Brings(best->places)) best = &one;
  }
  return std::move(*best);
}

Result<ReplicaPlan> Planner::Run() {
  ReplicaPlan plan;
  if (present_shares_) plan.present_s = present_shares_->makespan_s();
  Counts counts = LeastCounts();
  if (options_.only_add) {
    auto kept = Kept(NoFewerThanNow(counts));
    if (!kept) return Unavailable("beside what serves now there is no room for what is missing");
    Candidate one = WeighedKept(*std::move(kept));
    plan.steps.push_back({one.name, one.places, one.score});
    plan.places = std::move(one.places);
    plan.shares = std::move(one.shares);
    plan.score = one.score;
    return plan;
  }
  // With replicas more than one placement is looked for, in about the time of one.
  int64_t trials = options_.plan.improve.most_trials;
  if (std::ranges::any_of(counts, [](int count) { return count > 1; })) trials /= 2;
  auto solved = Solve(counts, trials, &plan);
  // What serves, with what is missing added, may fit where nothing was found anew.
  if (solved.status().code() == Code::kUnavailable && (options_.method || !Kept(counts))) {
    counts = NoMoreThanNow(counts);
    plan.steps.clear();
    solved = Solve(counts, trials, &plan);
  }
  std::vector<Candidate> all;
  if (solved.ok()) all.push_back(*std::move(solved));
  for (Candidate& one : FromPresent(counts)) all.push_back(std::move(one));
  if (all.empty()) return solved.status();
  const auto tell = [&plan](const Candidate& one, const char* name) {
    plan.steps.push_back({name, one.places, one.score});
  };
  for (const Candidate& one : all) tell(one, one.name.c_str());
  Candidate best = Best(counts, std::move(all));

  const Counts more = options_.method ? counts : CountsForLoad(counts);
  if (more != counts) {
    std::vector<Candidate> grown;
    if (auto one = Solve(more, trials / kPartOfTrials, nullptr); one.ok())
      grown.push_back(*std::move(one));
    for (Candidate& one : FromPresent(more)) grown.push_back(std::move(one));
    if (!grown.empty()) {
      Candidate one = Best(more, std::move(grown));
      tell(one, "more replicas");
      if (one.score.makespan_s < (1 - options_.least_fall) * best.score.makespan_s)
        best = std::move(one);
    }
  }
  plan.places = std::move(best.places);
  plan.shares = std::move(best.shares);
  plan.score = best.score;
  return plan;
}

Status Check(const ReplicaProblem& problem) {
  EK_RETURN_IF_ERROR(CheckProblem(problem.work));
  const auto models = Index(problem.work.tasks());
  if (!problem.work.edges.empty() || !problem.work.replica_of.empty())
    return InvalidArgument("models with replicas: expected no edges and no tasks of one model");
  for (const auto* counts : {&problem.least, &problem.most}) {
    if (!counts->empty() && counts->size() != models)
      return InvalidArgument("{} models, but the replicas of {}", models, counts->size());
    for (const int count : *counts) {
      if (count < 1) return InvalidArgument("replicas: expected at least 1, got {}", count);
    }
  }
  if (!problem.present.empty() && problem.present.size() != models)
    return InvalidArgument("{} models, but the places of {}", models, problem.present.size());
  for (const auto& places : problem.present) {
    for (const int place : places) {
      if (place < 0 || place >= problem.work.nodes())
        return InvalidArgument("places: expected 0 to {}, got {}", problem.work.nodes() - 1, place);
    }
  }
  return Status::Ok();
}

}  // namespace

int ReplicasForLoad(const PlacementProblem& problem, int model, double carry_s) {
  std::vector<double> fastest;
  for (const auto& [_, seconds] : Servers(problem, model)) fastest.push_back(seconds);
  std::ranges::sort(fastest);
  double speed = 0;  // of the model's work, by those that were taken
  int count = 0;
  for (const double seconds : fastest) {
    ++count;
    speed += 1 / seconds;
    if (1 / speed <= carry_s) break;
  }
  return std::max(1, count);
}

Result<ReplicaPlan> MakeReplicaPlan(const ReplicaProblem& problem, const ReplicaOptions& options) {
  EK_RETURN_IF_ERROR(Check(problem));
  return Planner(problem, options).Run();
}

}  // namespace evenkeel
