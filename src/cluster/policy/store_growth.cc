#include "cluster/policy/store_growth.h"

#include <algorithm>

namespace evenkeel {

StoreStep StoreGrowth::OfLearner(const StoreMember& learner, const std::vector<StoreSite>& sites,
                                 Time now) {
  if (learner.id != learner_) {
    learner_ = learner.id;
    learner_since_ = now;
  }
  const auto site = std::ranges::find(sites, learner.peer_url, &StoreSite::peer_url);
  StoreStep step;
  step.member = learner.id;
  step.node = site != sites.end() ? site->node : learner.name;
  if (now - learner_since_ > options_.patience) {
    step.what = StoreStep::What::kRemove;
    passed_over_[learner.peer_url] = now + options_.rest;
  } else if (!learner.name.empty()) {
    // Refused until it has caught up: tried again then.
    step.what = StoreStep::What::kPromote;
  }
  return step;
}

StoreStep StoreGrowth::Next(const std::vector<StoreMember>& members,
                            const std::vector<StoreSite>& sites, Time now) {
  const auto learner = std::ranges::find(members, true, &StoreMember::learner);
  if (learner != members.end()) return OfLearner(*learner, sites, now);
  learner_ = 0;
  StoreStep step;
  if (members.size() >= options_.members || sites.size() < options_.members) return step;
  for (const StoreMember& voter : members) {
    if (std::ranges::find(sites, voter.peer_url, &StoreSite::peer_url) == sites.end()) return step;
  }
  for (const StoreSite& site : sites) {
    const auto until = passed_over_.find(site.peer_url);
    if (until != passed_over_.end() && now < until->second) continue;
    if (std::ranges::find(members, site.peer_url, &StoreMember::peer_url) != members.end())
      continue;
    step.what = StoreStep::What::kAdd;
    step.node = site.node;
    step.peer_url = site.peer_url;
    return step;
  }
  return step;
}

}  // namespace evenkeel
