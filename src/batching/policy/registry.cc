#include <algorithm>
#include <array>

#include "batching/policy/policies.h"
#include "core/format.h"

namespace evenkeel::policy {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<NodePolicy> (*make)(const PolicySettings&);
};

// Of a policy that no setting concerns.
template <std::unique_ptr<NodePolicy> (*make)()>
std::unique_ptr<NodePolicy> Plain(const PolicySettings&) {
  return make();
}

constexpr Entry kPolicies[] = {
    {"auto", MakeAuto},          {"method", MakeMethod},
    {"none", Plain<MakeNone>},   {"greedy", Plain<MakeGreedy>},
    {"fixed", Plain<MakeFixed>}, {"gated-greedy", Plain<MakeGatedGreedy>},
    {"cork", Plain<MakeCork>},   {"oracle", Plain<MakeOracle>},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kPolicies)> names;
  std::ranges::transform(kPolicies, names.begin(), &Entry::name);
  return names;
}();

}  // namespace

std::span<const std::string_view> NodePolicyNames() { return kNames; }

Result<std::unique_ptr<NodePolicy>> MakeNodePolicy(std::string_view name,
                                                   const PolicySettings& settings) {
  for (const Entry& entry : kPolicies) {
    if (entry.name == name) return entry.make(settings);
  }
  return InvalidArgument("expected a policy of {}, got '{}'", fmt::join(kNames, ", "), name);
}

}  // namespace evenkeel::policy
