#include "batching/policy/core_shares.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace evenkeel::policy {
namespace {

double WeightOf(const CoreDemand& model) { return model.weight > 0 ? model.weight : model.wanted; }

double MostOf(const CoreDemand& model) { return std::min(model.wanted, model.most); }

// The level at which the grants take all cores; infinity: everything fits.
double Level(std::span<const CoreDemand> models, double cores) {
  double wanted = 0;
  for (const CoreDemand& model : models) wanted += MostOf(model);
  if (wanted <= cores) return std::numeric_limits<double>::infinity();
  // A model whose grant is below the level of the others is full; each round fills at least one more, or is the last.
  std::vector<bool> full(models.size());
  for (;;) {
    double left = cores, weight = 0;
    for (size_t i = 0; i < models.size(); ++i) {
      if (full[i]) {
        left -= MostOf(models[i]);
      } else {
        weight += WeightOf(models[i]);
      }
    }
    if (weight <= 0) return std::numeric_limits<double>::infinity();
    const double level = std::max(0.0, left) / weight;
    bool more = false;
    for (size_t i = 0; i < models.size(); ++i) {
      if (full[i] || MostOf(models[i]) > level * WeightOf(models[i])) continue;
      full[i] = more = true;
    }
    if (!more) return level;
  }
}

}  // namespace

std::vector<CoreShare> ShareCores(std::span<const CoreDemand> models, double cores) {
  const double level = Level(models, cores);
  std::vector<CoreShare> shares(models.size());
  double granted = 0;
  const auto at_level = [&](const CoreDemand& model) {
    const double weight = WeightOf(model);
    return weight > 0 ? level * weight : 0;
  };
  for (size_t i = 0; i < models.size(); ++i) {
    shares[i].granted = std::min(MostOf(models[i]), at_level(models[i]));
    granted += shares[i].granted;
  }
  for (size_t i = 0; i < models.size(); ++i) {
    const double left = cores - (granted - shares[i].granted);
    const double entitled = std::isinf(level) ? 0 : at_level(models[i]);
    shares[i].counted_on = std::min(models[i].most, std::max({shares[i].granted, entitled, left}));
  }
  return shares;
}

}  // namespace evenkeel::policy
