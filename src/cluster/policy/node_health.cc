#include "cluster/policy/node_health.h"

#include <algorithm>

namespace evenkeel {

std::string_view NameOf(Health health) {
  switch (health) {
    case Health::kAlive: return "alive";
    case Health::kSuspect: return "suspect";
    case Health::kDead: return "dead";
  }
  return "dead";
}

void NodeHealth::Failures::Add(bool failed, Time now) {
  if (!failed) {
    count = 0;
    return;
  }
  if (count++ == 0) first = now;
  last = now;
}

void NodeHealth::OnLease(bool held, Time now) {
  At(now);
  lease_held_ = held;
  Judge(now);
}

void NodeHealth::OnProbe(bool answered, Time now) {
  At(now);
  probe_.Add(!answered, now);
  if (answered) data_.Add(false, now);
  Judge(now);
}

void NodeHealth::OnDataPath(bool worked, Time now) {
  At(now);
  data_.Add(!worked, now);
  Judge(now);
}

Health NodeHealth::Signs() const {
  if (data_failed() || (!lease_held_ && probe_failed())) return Health::kDead;
  if (!lease_held_ || probe_failed() || data_.count > 0) return Health::kSuspect;
  return Health::kAlive;
}

void NodeHealth::Judge(Time now) {
  const Health signs = Signs();
  if (signs == Health::kAlive) {
    if (health_ != Health::kAlive && good_since_ == kNever) good_since_ = now;
    return;
  }
  good_since_ = kNever;
  if (health_ == Health::kAlive) {
    const bool again = alive_since_ != Time{} && now - alive_since_ < options_.forgive;
    hold_ = again ? std::min(2 * hold_, options_.longest_hold) : options_.first_hold;
  }
  health_ = std::max(health_, signs);  // worse only; what is dead stays so until it is alive
}

Health NodeHealth::At(Time now) {
  if (health_ != Health::kAlive && good_since_ != kNever && now - good_since_ >= hold_) {
    health_ = Health::kAlive;
    good_since_ = kNever;
    alive_since_ = now;
  }
  return health_;
}

Time NodeHealth::NextChange() const {
  return health_ != Health::kAlive && good_since_ != kNever ? good_since_ + hold_ : kNever;
}

std::string_view NodeHealth::why() const {
  if (health_ == Health::kAlive) return "";
  if (data_failed()) return "data path failed";
  if (!lease_held_ && probe_failed()) return "lease gone, probe failed";
  if (!lease_held_) return "lease gone";
  if (probe_failed()) return "probe failed";
  if (data_.count > 0) return "a call failed";
  return "recovering";
}

}  // namespace evenkeel
