#include "cluster/policy/stages.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "core/format.h"
#include "core/human_bytes.h"

namespace evenkeel {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr int kTrials = 60;  // halvings of the period

std::string Human(int64_t bytes) { return HumanBytes(static_cast<double>(bytes)); }

size_t Index(int i) { return static_cast<size_t>(i); }

// How many layers a place can have beside `extra` bytes, done within `period_s`.
int LayersWithin(const LayeredModel& model, const StagePlace& place, int64_t extra, double hop_s,
                 double period_s) {
  if (!(place.layer_s < kInfinite) || place.room < extra) return 0;
  int64_t layers = model.layers;
  if (model.layer_bytes > 0) layers = std::min(layers, (place.room - extra) / model.layer_bytes);
  if (place.layer_s > 0 && period_s < kInfinite) {
    const double time = (period_s - place.present_s - hop_s) / place.layer_s;
    // Before it is a whole number: next to nothing a layer gives more than fit into one.
    const double most = std::min(std::max(0.0, time), static_cast<double>(layers));
    layers = std::min(layers, static_cast<int64_t>(std::floor(most + 1e-9)));
  }
  return static_cast<int>(std::max<int64_t>(layers, 0));
}

// Places of a pipeline in order, and how many layers each could have.
struct Pipeline {
  std::vector<int> places, most;
  int layers = 0;  // that all of them could have
};

// The pipeline of `stages` places, at least two, that could have most layers within the period; with fewer places: there are none such.
Pipeline Widest(const LayeredModel& model, const std::vector<StagePlace>& places, double hop_s,
                int stages, double period_s) {
  std::vector<int> inner, first, last, order;
  for (int i = 0; i < static_cast<int>(places.size()); ++i) {
    const auto layers = [&](int64_t extra) {
      return LayersWithin(model, places[Index(i)], extra, hop_s, period_s);
    };
    inner.push_back(layers(0));
    first.push_back(layers(model.first_bytes));
    last.push_back(layers(model.last_bytes));
    if (inner.back() > 0) order.push_back(i);
  }
  if (static_cast<int>(order.size()) < stages) return {};
  std::ranges::stable_sort(order, std::greater<>(), [&](int i) { return inner[Index(i)]; });
  // sums[n]: of the n places that could have most.
  std::vector<int> sums(1, 0);
  for (const int i : order) sums.push_back(sums.back() + inner[Index(i)]);
  // The ends are tried; between them are those of the others that could have most.
  int best = 0, best_first = -1, best_last = -1;
  for (size_t a = 0; a < order.size(); ++a) {
    for (size_t b = 0; b < order.size(); ++b) {
      const int one = order[a], other = order[b];
      if (a == b || first[Index(one)] == 0 || last[Index(other)] == 0) continue;
      size_t taken = Index(stages - 2);
      int sum = first[Index(one)] + last[Index(other)];
      // An end that is among the first `taken` makes room for one more.
      for (const size_t end : {std::min(a, b), std::max(a, b)}) {
        if (end >= taken) continue;
        ++taken;
        sum -= inner[Index(order[end])];
      }
      sum += sums[taken];
      if (sum <= best) continue;
      best = sum;
      best_first = one;
      best_last = other;
    }
  }
  Pipeline pipeline;
  if (best_first < 0) return pipeline;
  std::vector<int> middle;
  for (const int i : order) {
    if (static_cast<int>(middle.size()) < stages - 2 && i != best_first && i != best_last)
      middle.push_back(i);
  }
  std::ranges::sort(middle);
  const auto add = [&](int place, int most) {
    pipeline.places.push_back(place);
    pipeline.most.push_back(most);
    pipeline.layers += most;
  };
  add(best_first, first[Index(best_first)]);
  for (const int i : middle) add(i, inner[Index(i)]);
  add(best_last, last[Index(best_last)]);
  return pipeline;
}

// What is too much is taken from the slowest places; each keeps one layer.
std::vector<int> Share(const Pipeline& pipeline, const std::vector<StagePlace>& places,
                       int layers) {
  std::vector<int> shares = pipeline.most;
  std::vector<size_t> slowest(shares.size());
  std::iota(slowest.begin(), slowest.end(), size_t{0});
  std::ranges::stable_sort(slowest, std::greater<>(),
                           [&](size_t i) { return places[Index(pipeline.places[i])].layer_s; });
  int surplus = pipeline.layers - layers;
  for (const size_t i : slowest) {
    const int taken = std::min(surplus, shares[i] - 1);
    shares[i] -= taken;
    surplus -= taken;
  }
  return shares;
}

StagePlan PlanOf(const LayeredModel& model, const std::vector<StagePlace>& places, double hop_s,
                 const Pipeline& pipeline) {
  const std::vector<int> shares = Share(pipeline, places, model.layers);
  StagePlan plan;
  int next = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const bool first = i == 0, last = i + 1 == shares.size();
    const StagePlace& place = places[Index(pipeline.places[i])];
    Stage stage;
    stage.place = pipeline.places[i];
    stage.first = next;
    stage.layers = shares[i];
    stage.bytes = shares[i] * model.layer_bytes + (first ? model.first_bytes : 0) +
                  (last ? model.last_bytes : 0);
    stage.seconds = shares[i] * place.layer_s;
    next += shares[i];
    const double sending_s = last ? 0 : hop_s;
    plan.period_s = std::max(plan.period_s, place.present_s + stage.seconds + sending_s);
    plan.latency_s += stage.seconds + sending_s;
    plan.stages.push_back(stage);
  }
  return plan;
}

Status DoesNotFit(const LayeredModel& model, const std::vector<StagePlace>& places) {
  // A sum of whole numbers might be too large for one.
  double free = 0;
  int64_t most = 0;
  for (const StagePlace& place : places) {
    if (!(place.layer_s < kInfinite)) continue;
    free += static_cast<double>(place.room);
    most = std::max(most, place.room);
  }
  if (model.layer_bytes > most)
    return Unavailable("one of its {} layers takes {}, and no node has more than {} free",
                       model.layers, Human(model.layer_bytes), Human(most));
  const double takes = model.layers * static_cast<double>(model.layer_bytes) +
                       static_cast<double>(model.first_bytes) +
                       static_cast<double>(model.last_bytes);
  return Unavailable("cut into its {} layers it takes {}, and all nodes together have {} free",
                     model.layers, HumanBytes(takes), HumanBytes(free));
}

}  // namespace

Result<StagePlan> CutIntoStages(const LayeredModel& model, const std::vector<StagePlace>& places,
                                double hop_s) {
  const int most = std::min(model.layers, static_cast<int>(places.size()));
  int stages = 2;
  while (stages <= most && Widest(model, places, hop_s, stages, kInfinite).layers < model.layers)
    ++stages;
  if (stages > most) return DoesNotFit(model, places);
  double too_short = 0, enough = 0;
  for (const StagePlace& place : places) {
    if (place.layer_s < kInfinite)
      enough = std::max(enough, place.present_s + hop_s + model.layers * place.layer_s);
  }
  for (int trial = 0; trial < kTrials; ++trial) {
    const double middle = (too_short + enough) / 2;
    const bool fits = Widest(model, places, hop_s, stages, middle).layers >= model.layers;
    (fits ? enough : too_short) = middle;
  }
  return PlanOf(model, places, hop_s, Widest(model, places, hop_s, stages, enough));
}

}  // namespace evenkeel
