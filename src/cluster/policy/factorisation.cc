#include "cluster/policy/factorisation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace evenkeel {
namespace {

constexpr int kFolds = 5;
constexpr int kSweeps = 30;
constexpr double kEarned = 0.97;  // of the error with fewer factors: more have to earn it
constexpr std::array<double, 4> kShrinkages = {0.03, 0.1, 0.3, 1.0};
constexpr std::array<int, 4> kRanks = {0, 1, 2, 3};

struct Entry {
  int row, column;
  double value;
};

// A number in (-0.5, 0.5) that looks random and is always the same for (i, j).
double Spread(int i, int j) {
  const double x = std::sin(12.9898 * (i + 1) + 78.233 * (j + 1)) * 43758.5453;
  return x - std::floor(x) - 0.5;
}

// mean + row effects + column effects + u v^T.
struct Model {
  double mean = 0;
  Eigen::VectorXd rows, columns;
  Eigen::MatrixXd u, v;

  double at(int row, int column) const {
    double value = mean + rows[row] + columns[column];
    if (u.cols() > 0) value += u.row(row).dot(v.row(column));
    return value;
  }
};

using ByLine = std::vector<std::vector<const Entry*>>;

// One side's effect and factors, the other side's held: a ridge regression of (1, factors of the other side) a line.
void FitSide(const ByLine& lines, bool of_rows, double shrinkage, Model* model) {
  const auto rank = static_cast<int>(model->u.cols());
  Eigen::VectorXd& effects = of_rows ? model->rows : model->columns;
  Eigen::MatrixXd& own = of_rows ? model->u : model->v;
  const Eigen::VectorXd& other_effects = of_rows ? model->columns : model->rows;
  const Eigen::MatrixXd& other = of_rows ? model->v : model->u;
  for (size_t line = 0; line < lines.size(); ++line) {
    Eigen::MatrixXd normal = shrinkage * Eigen::MatrixXd::Identity(rank + 1, rank + 1);
    Eigen::VectorXd right = Eigen::VectorXd::Zero(rank + 1);
    Eigen::VectorXd features(rank + 1);
    features[0] = 1;
    for (const Entry* const entry : lines[line]) {
      const int at = of_rows ? entry->column : entry->row;
      features.tail(rank) = other.row(at).transpose();
      normal.noalias() += features * features.transpose();
      right += features * (entry->value - model->mean - other_effects[at]);
    }
    const Eigen::VectorXd solution = normal.ldlt().solve(right);
    effects[static_cast<int>(line)] = solution[0];
    own.row(static_cast<int>(line)) = solution.tail(rank).transpose();
  }
}

Model Fit(int rows, int columns, const std::vector<Entry>& entries, int rank, double shrinkage) {
  Model model;
  model.rows = Eigen::VectorXd::Zero(rows);
  model.columns = Eigen::VectorXd::Zero(columns);
  model.u = Eigen::MatrixXd::Zero(rows, rank);
  model.v = Eigen::MatrixXd(columns, rank);
  for (int column = 0; column < columns; ++column) {
    for (int k = 0; k < rank; ++k) model.v(column, k) = Spread(column, k);
  }
  if (entries.empty()) return model;
  ByLine by_row(static_cast<size_t>(rows)), by_column(static_cast<size_t>(columns));
  for (const Entry& entry : entries) {
    model.mean += entry.value / static_cast<double>(entries.size());
    by_row[static_cast<size_t>(entry.row)].push_back(&entry);
    by_column[static_cast<size_t>(entry.column)].push_back(&entry);
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    FitSide(by_row, /*of_rows=*/true, shrinkage, &model);
    FitSide(by_column, /*of_rows=*/false, shrinkage, &model);
  }
  return model;
}

double LeftOutError(int rows, int columns, const std::vector<Entry>& entries, int rank,
                    double shrinkage) {
  double sum = 0;
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<Entry> kept, out;
    for (size_t i = 0; i < entries.size(); ++i)
      (static_cast<int>(i % kFolds) == fold ? out : kept).push_back(entries[i]);
    const Model model = Fit(rows, columns, kept, rank, shrinkage);
    for (const Entry& entry : out) sum += std::abs(entry.value - model.at(entry.row, entry.column));
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
  out.shrinkage = kShrinkages.back();
  const bool can_choose = entries.size() >= 2 * kFolds;
  if (can_choose) {
    out.left_out_error = std::numeric_limits<double>::infinity();
    for (const int rank : kRanks) {
      if (rank >= std::min(rows, columns)) continue;
      for (const double shrinkage : kShrinkages) {
        const double error = LeftOutError(rows, columns, entries, rank, shrinkage);
        if (error >= (rank > out.rank ? kEarned : 1.0) * out.left_out_error) continue;
        out.left_out_error = error;
        out.rank = rank;
        out.shrinkage = shrinkage;
      }
    }
  }
  const Model model = Fit(rows, columns, entries, out.rank, out.shrinkage);
  out.seconds = roofline;
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column)
      out.seconds(row, column) = roofline(row, column) * std::exp(model.at(row, column));
  }
  for (const Entry& entry : entries)
    out.seconds(entry.row, entry.column) =
        roofline(entry.row, entry.column) * std::exp(entry.value);
  out.factors_of_tasks = model.u;
  out.factors_of_nodes = model.v;
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
