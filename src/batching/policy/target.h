// How many rows a batch should have: the knee, the target at a price of core time, and the price itself.
//
// T is a model's curve, lambda its rows a second, O its objective in seconds, N its knee, K the threads of an instance.
//   Knee    N(slack) = 1 where r(1) <= slack * min r(m) with q = 2, else the least n with r(n) <= slack * min r(m) with q = 3/2, over m <=
//           max_rows; lowered while T(N) > longest (at least 1). r(n) = sum w T(m) / sum w m over n/q <= m <= q n, with w the
//           records of size m (1 to 16), is the time of a row at about n: the least of 64 figures that scatter lies below them
//           all, and a model that gains nothing would look as if it did. The knee proper has a slack of 1.05 and as `longest`
//           a quarter of the shortest objective among the models that share its cores.
//   Target  n(p) = argmin over 1 <= n <= N of  p K T(n)/n + (n - 1)/(2 lambda O),  the least n where several are as good.
//           p K T(n)/n is the price of the core time of a row, in objectives; (n - 1)/(2 lambda) the mean wait of a row for the
//           others of its batch. For T = a + c n it is the economic order quantity, sqrt(2 p K a lambda O), rounded to the
//           better neighbour and cut to [1, N]. n(p) never falls as p rises.
//   Demand  D(p) = sum over the models of lambda K T(n(p))/n(p), in cores. It never rises with p.
//   Price   the least p with D(p) <= cores, found by bisection to one part in 1,000: 0 when D(0) fits, `kPriceMax` when nothing does.
// Units: rows, seconds; p in objectives a core-second. Thread-safety: thread-compatible. Pure.
// Source: "The window, ours". The economic order quantity is Harris's (1913).
#pragma once

#include <span>
#include <vector>

#include "batching/policy/batch_curve.h"

namespace evenkeel::policy {

inline constexpr double kPriceMax = 1e6;

inline constexpr double kKneeSlack = 1.05;

// REQUIRES: max_rows >= 1, slack >= 1, curve not empty.
int Knee(const BatchCurve& curve, int max_rows, Duration longest, double slack = kKneeSlack);

// The corners of a model's trade between core time and waiting: sizes that are the target at some price.
class TargetCurve {
 public:
  TargetCurve() = default;
  // REQUIRES: knee >= 1, rate_rps >= 0, objective > 0.
  TargetCurve(const BatchCurve& curve, int knee, int threads, double rate_rps, Duration objective);

  int TargetAt(double price) const;
  // Cores that the model's rows take when run at TargetAt(price).
  double DemandAt(double price) const;

 private:
  struct Corner {
    double from_price;  // the size is the target from this price on
    int rows;
    double demand;
  };
  const Corner& At(double price) const;

  std::vector<Corner> corners_;  // ascending in price and rows; the first is from price 0
};

double LeastPrice(std::span<const TargetCurve> models, double cores);

}  // namespace evenkeel::policy
