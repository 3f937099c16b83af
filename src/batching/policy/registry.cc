#include <algorithm>
#include <array>

#include "batching/policy/policies.h"
#include "core/format.h"

namespace evenkeel::policy {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<NodePolicy> (*make)();
};

constexpr Entry kPolicies[] = {
    {"auto", MakeAuto},     {"method", MakeMethod}, {"none", MakeNone},
    {"greedy", MakeGreedy}, {"fixed", MakeFixed},   {"gated-greedy", MakeGatedGreedy},
    {"cork", MakeCork},     {"oracle", MakeOracle},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kPolicies)> names;
  std::ranges::transform(kPolicies, names.begin(), &Entry::name);
  return names;
}();

}  // namespace

std::span<const std::string_view> NodePolicyNames() { return kNames; }

Result<std::unique_ptr<NodePolicy>> MakeNodePolicy(std::string_view name) {
  for (const Entry& entry : kPolicies) {
    if (entry.name == name) return entry.make();
  }
  return InvalidArgument("expected a policy of {}, got '{}'", fmt::join(kNames, ", "), name);
}

}  // namespace evenkeel::policy
