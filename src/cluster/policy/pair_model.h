// What few pairs of a row and a column say of all others, with how sure that is: the model behind the completion of the cost matrix (B5).
//
//   y_jk = m + a_j + b_k + u_j . v_k + noise,  all normal about 0, u and v of `rank` numbers.
//
// Of every line its effect and factors are known as a mean and a covariance, those of rows and of columns fitted by turns (variational Bayes), and
// the variances of effects, factors and noise are learnt with them: how much is shrunk is what the data ask for. It starts with much noise, which falls: with little
//   from the start, it settles on factors that explain the first lines and nothing else. Of `kStarts` starts the one that leaves least noise stands.
// Contract: a pair of lines of which nothing was seen has mean m. Deterministic. Cost: O(entries x rank^2) a sweep. Thread-safety: values.
// Source: Lim and Teh, Variational Bayesian approach to movie rating prediction (2007); effects of lines and the falling noise are ours.
#pragma once

#include <Eigen/Dense>

#include <vector>

namespace evenkeel {

class PairModel {
 public:
  static constexpr int kMostRank = 3;

  struct Entry {
    int row, column;
    double value;
  };

  // REQUIRES: entries within rows x columns, each pair at most once; 0 <= rank <= kMostRank.
  PairModel(int rows, int columns, const std::vector<Entry>& entries, int rank);

  double Mean(int row, int column) const;
  // Of one measurement: what is not known of the lines, and the noise.
  double Variance(int row, int column) const;
  Eigen::MatrixXd row_factors() const { return rows_.mean.rightCols(rank_); }
  Eigen::MatrixXd column_factors() const { return columns_.mean.rightCols(rank_); }

 private:
  // An effect, then factors.
  using Vector = Eigen::Matrix<double, Eigen::Dynamic, 1, 0, kMostRank + 1, 1>;
  using Square =
      Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, 0, kMostRank + 1, kMostRank + 1>;
  struct Term {
    int at;  // on the other side
    double value;
  };
  struct Side {
    Eigen::MatrixXd mean;            // lines x (1 + rank)
    std::vector<Square> covariance;  // by line
    double effect_variance = 0, factor_variance = 0;
    std::vector<std::vector<Term>> terms;  // by line
  };

  void Run(int start, double noise);
  void Start(Side* side, int lines) const;
  void Fit(Side* side, const Side& other) const;
  void Learn(Side* side, bool factors_too) const;
  void LearnNoise();
  double Unsure(int row, int column) const;

  int rank_;
  double mean_ = 0, noise_ = 0;
  Side rows_, columns_;
};

}  // namespace evenkeel
