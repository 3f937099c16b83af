#include "cluster/policy/pair_model.h"

#include <algorithm>
#include <utility>

#include "cluster/policy/spread.h"

namespace evenkeel {
namespace {

constexpr int kStarts = 2;
constexpr int kSweeps = 60;
constexpr int kFirstSweeps = 5;                           // before variances are learnt
constexpr double kUsualEffect = 0.1, kUsualNoise = 0.01;  // variances, before anything is known
constexpr double kWeight = 2;                             // of what is usual, in observations
constexpr double kStartNoise = 0.25;                      // of the variance of the values

}  // namespace

PairModel::PairModel(int rows, int columns, const std::vector<Entry>& entries, int rank)
    : rank_(rank) {
  Start(&rows_, rows);
  Start(&columns_, columns);
  noise_ = kUsualNoise;
  if (entries.empty()) return;
  const auto count = static_cast<double>(entries.size());
  double square = 0;
  for (const Entry& entry : entries) {
    mean_ += entry.value / count;
    square += entry.value * entry.value / count;
    rows_.terms[static_cast<size_t>(entry.row)].push_back({entry.column, entry.value});
    columns_.terms[static_cast<size_t>(entry.column)].push_back({entry.row, entry.value});
  }
  const double noise = kUsualNoise + kStartNoise * std::max(0.0, square - mean_ * mean_);
  Run(0, noise);
  for (int start = 1; start < (rank > 0 ? kStarts : 1); ++start) {
    PairModel other = *this;
    other.Run(start, noise);
    if (other.noise_ < noise_) *this = std::move(other);
  }
}

void PairModel::Run(int start, double noise) {
  Start(&rows_, static_cast<int>(rows_.terms.size()));
  Start(&columns_, static_cast<int>(columns_.terms.size()));
  noise_ = noise;
  for (int column = 0; column < columns_.mean.rows(); ++column) {
    for (int k = 1; k <= rank_; ++k) columns_.mean(column, k) = Spread(column + 1000 * start, k);
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    Fit(&rows_, columns_);
    Fit(&columns_, rows_);
    if (sweep < kFirstSweeps) continue;
    Learn(&rows_, /*factors_too=*/false);  // theirs are of size 1: only the product is seen
    Learn(&columns_, /*factors_too=*/true);
    LearnNoise();
  }
}

void PairModel::Start(Side* side, int lines) const {
  side->mean = Eigen::MatrixXd::Zero(lines, rank_ + 1);
  side->covariance.assign(static_cast<size_t>(lines), Square::Zero(rank_ + 1, rank_ + 1));
  side->effect_variance = kUsualEffect;
  side->factor_variance = 1;
  side->terms.resize(static_cast<size_t>(lines));
}

double PairModel::Mean(int row, int column) const {
  return mean_ + rows_.mean(row, 0) + columns_.mean(column, 0) +
         rows_.mean.row(row).tail(rank_).dot(columns_.mean.row(column).tail(rank_));
}

double PairModel::Unsure(int row, int column) const {
  const Square& of_row = rows_.covariance[static_cast<size_t>(row)];
  const Square& of_column = columns_.covariance[static_cast<size_t>(column)];
  Vector u = rows_.mean.row(row), v = columns_.mean.row(column);
  u[0] = v[0] = 1;
  return v.dot(of_row * v) + u.dot(of_column * u) +
         of_row.bottomRightCorner(rank_, rank_)
             .cwiseProduct(of_column.bottomRightCorner(rank_, rank_))
             .sum();
}

double PairModel::Variance(int row, int column) const { return Unsure(row, column) + noise_; }

// Each line by itself: a regression on (1, the other side's factors), which are not known exactly.
void PairModel::Fit(Side* side, const Side& other) const {
  Vector prior = Vector::Constant(rank_ + 1, 1 / side->factor_variance);
  prior[0] = 1 / side->effect_variance;
  for (size_t line = 0; line < side->terms.size(); ++line) {
    Square precision = prior.asDiagonal();
    Vector right = Vector::Zero(rank_ + 1);
    for (const Term& term : side->terms[line]) {
      const Square& covariance = other.covariance[static_cast<size_t>(term.at)];
      Vector features = other.mean.row(term.at);
      features[0] = 1;
      precision += features * features.transpose() / noise_;
      precision.bottomRightCorner(rank_, rank_) +=
          covariance.bottomRightCorner(rank_, rank_) / noise_;
      right += features * ((term.value - mean_ - other.mean(term.at, 0)) / noise_);
      right.tail(rank_) -= covariance.col(0).tail(rank_) / noise_;
    }
    side->covariance[line] = precision.llt().solve(Square::Identity(rank_ + 1, rank_ + 1));
    side->mean.row(static_cast<Eigen::Index>(line)) = (side->covariance[line] * right).transpose();
  }
}

void PairModel::Learn(Side* side, bool factors_too) const {
  double effects = kWeight * kUsualEffect, factors = kWeight * kUsualEffect, lines = kWeight;
  for (size_t line = 0; line < side->terms.size(); ++line) {
    if (side->terms[line].empty()) continue;
    const Vector mean = side->mean.row(static_cast<Eigen::Index>(line));
    const Vector variance = side->covariance[line].diagonal();
    effects += mean[0] * mean[0] + variance[0];
    for (int k = 1; k <= rank_; ++k) factors += mean[k] * mean[k] + variance[k];
    ++lines;
  }
  side->effect_variance = effects / lines;
  if (factors_too && rank_ > 0) side->factor_variance = factors / (lines * rank_);
}

void PairModel::LearnNoise() {
  double sum = kWeight * kUsualNoise, count = kWeight;
  for (size_t line = 0; line < rows_.terms.size(); ++line) {
    const auto row = static_cast<int>(line);
    for (const Term& term : rows_.terms[line]) {
      const double off = term.value - Mean(row, term.at);
      sum += off * off + Unsure(row, term.at);
      ++count;
    }
  }
  noise_ = sum / count;
}

}  // namespace evenkeel
