#include "cluster/policy/factorisation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cluster/policy/pair_model.h"
#include "cluster/policy/spread.h"

namespace evenkeel {
namespace {

constexpr int kFolds = 5;
constexpr double kEarned = 0.97;  // of the error with fewer factors: more have to earn it

using Entry = PairModel::Entry;

double LeftOutError(int rows, int columns, const std::vector<Entry>& entries, int rank) {
  double sum = 0;
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<Entry> kept, out;
    for (size_t i = 0; i < entries.size(); ++i)
      (static_cast<int>(i % kFolds) == fold ? out : kept).push_back(entries[i]);
    const PairModel model(rows, columns, kept, rank);
    for (const Entry& entry : out)
      sum += std::abs(entry.value - model.Mean(entry.row, entry.column));
  }
  return sum / static_cast<double>(entries.size());
}

// Pairs measured more than once count once, with their mean; in an order that folds go across.
std::vector<Entry> EntriesOf(const Eigen::MatrixXd& roofline,
                             const std::vector<MeasuredPair>& measured) {
  const auto infinite = std::numeric_limits<double>::infinity();
  Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(roofline.rows(), roofline.cols());
  Eigen::MatrixXd count = sum;
  for (const MeasuredPair& pair : measured) {
    if (roofline(pair.task, pair.node) == infinite) continue;
    sum(pair.task, pair.node) += std::log(pair.seconds / roofline(pair.task, pair.node));
    count(pair.task, pair.node) += 1;
  }
  std::vector<Entry> entries;
  for (int row = 0; row < roofline.rows(); ++row) {
    for (int column = 0; column < roofline.cols(); ++column) {
      if (count(row, column) > 0)
        entries.push_back({row, column, sum(row, column) / count(row, column)});
    }
  }
  std::ranges::stable_sort(entries, [](const Entry& a, const Entry& b) {
    return Spread(a.row, a.column) < Spread(b.row, b.column);
  });
  return entries;
}

}  // namespace

Completion Complete(const Eigen::MatrixXd& roofline, const std::vector<MeasuredPair>& measured) {
  const auto rows = static_cast<int>(roofline.rows()), columns = static_cast<int>(roofline.cols());
  const std::vector<Entry> entries = EntriesOf(roofline, measured);
  Completion out;
  out.seconds = roofline;
  out.deviation = Eigen::MatrixXd::Zero(rows, columns);
  out.factors_of_tasks = Eigen::MatrixXd(rows, 0);
  out.factors_of_nodes = Eigen::MatrixXd(columns, 0);
  if (entries.empty()) return out;
  if (entries.size() >= 2 * kFolds) {
    out.left_out_error = std::numeric_limits<double>::infinity();
    for (int rank = 0; rank <= std::min({PairModel::kMostRank, rows - 1, columns - 1}); ++rank) {
      const double error = LeftOutError(rows, columns, entries, rank);
      if (error >= (rank > out.rank ? kEarned : 1.0) * out.left_out_error) continue;
      out.left_out_error = error;
      out.rank = rank;
    }
  }
  const PairModel model(rows, columns, entries, out.rank);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const double variance = model.Variance(row, column);
      out.seconds(row, column) *= std::exp(model.Mean(row, column) + variance / 2);
      out.deviation(row, column) = std::sqrt(variance);
    }
  }
  for (const Entry& entry : entries) {
    out.seconds(entry.row, entry.column) =
        roofline(entry.row, entry.column) * std::exp(entry.value);
    out.deviation(entry.row, entry.column) = 0;
  }
  out.factors_of_tasks = model.row_factors();
  out.factors_of_nodes = model.column_factors();
  return out;
}

NonNegativeFactors FactoriseNonNegative(const Eigen::MatrixXd& costs, int rank, int most_rounds) {
  constexpr double kTiny = 1e-12;
  const Eigen::MatrixXd mask =
      costs.unaryExpr([](double c) { return std::isfinite(c) ? 1.0 : 0.0; });
  const Eigen::MatrixXd v = costs.unaryExpr([](double c) { return std::isfinite(c) ? c : 0.0; });
  const double size = v.norm();
  const double start = std::sqrt(std::max(v.mean(), kTiny) / rank);
  NonNegativeFactors out;
  out.tasks = Eigen::MatrixXd(costs.rows(), rank);
  out.nodes = Eigen::MatrixXd(rank, costs.cols());
  for (int k = 0; k < rank; ++k) {
    for (int row = 0; row < costs.rows(); ++row) out.tasks(row, k) = start * (1 + Spread(row, k));
    for (int column = 0; column < costs.cols(); ++column)
      out.nodes(k, column) = start * (1 + Spread(k, column + 1000));
  }
  double last = std::numeric_limits<double>::infinity();
  for (; out.rounds < most_rounds; ++out.rounds) {
    Eigen::MatrixXd product = mask.cwiseProduct(out.tasks * out.nodes);
    out.nodes = out.nodes.cwiseProduct(
        ((out.tasks.transpose() * v).array() / ((out.tasks.transpose() * product).array() + kTiny))
            .matrix());
    product = mask.cwiseProduct(out.tasks * out.nodes);
    out.tasks = out.tasks.cwiseProduct(
        ((v * out.nodes.transpose()).array() / ((product * out.nodes.transpose()).array() + kTiny))
            .matrix());
    const double error = (v - mask.cwiseProduct(out.tasks * out.nodes)).norm();
    out.error = size > 0 ? error / size : 0;
    if (last - error < 1e-6 * size) break;
    last = error;
  }
  return out;
}

}  // namespace evenkeel
