#include "llm/policy/pooling.h"

#include <cmath>
#include <numeric>

#include "core/format.h"

namespace evenkeel::policy {

Result<PoolingChoice> ChoosePooling(const PoolingFacts& facts) {
  PoolingChoice choice;
  const Pooling by_kind = facts.encoder ? Pooling::kMean : kDecoderPooling;
  choice.pooling = facts.asked.value_or(facts.file.value_or(by_kind));
  choice.generates = !facts.encoder && facts.file.value_or(Pooling::kNone) == Pooling::kNone;
  if (choice.pooling == Pooling::kRank && !facts.head)
    return InvalidArgument(
        "pooling 'rank' needs a classification head with one score, and the file has none");
  return choice;
}

void Pooled::Add(std::span<const float> row) {
  const bool first = sum_.empty();
  if (first || pooling_ == Pooling::kLast) {
    sum_.assign(row.begin(), row.end());
  } else if (pooling_ == Pooling::kMean) {
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(row[i]);
  }
}

// A sum points where the mean does.
Result<std::vector<float>> Pooled::Unit() const {
  const double length = std::sqrt(std::inner_product(sum_.begin(), sum_.end(), sum_.begin(), 0.0));
  if (!std::isfinite(length) || length <= 0)
    return Internal("the engine gave a vector of length {}", length);
  std::vector<float> unit;
  unit.reserve(sum_.size());
  for (const double number : sum_) unit.push_back(static_cast<float>(number / length));
  return unit;
}

}  // namespace evenkeel::policy
