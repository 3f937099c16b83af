#include "cluster/policy/balance_rule.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {

Result<BalanceRule> BalanceRuleNamed(std::string_view name) {
  if (name == "auto") return BalanceRule::kAuto;
  if (name == "method") return BalanceRule::kMethod;
  if (name == "off") return BalanceRule::kOff;
  return InvalidArgument("expected auto, method or off, got '{}'", name);
}

BalanceModel BalanceFor(BalanceRule rule, const Eigen::VectorXd& capacity,
                        const std::vector<bool>& open, double moves, double period_s,
                        int age_samples) {
  const Eigen::Index count = capacity.size();
  auto model = BalanceModel::Method(static_cast<int>(count), 0, 0, 0);
  if (rule == BalanceRule::kOff) return model;
  if (rule == BalanceRule::kAuto) model.capacity = capacity;
  for (Eigen::Index i = 0; i < count; ++i) {
    for (Eigen::Index j = 0; j < count; ++j) {
      if (i != j && open[static_cast<size_t>(i)] && open[static_cast<size_t>(j)])
        model.moves(i, j) = moves;
    }
  }
  return Damped(std::move(model), period_s, age_samples);
}

}  // namespace evenkeel
