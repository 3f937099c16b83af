#include "cluster/policy/balance.h"

#include <algorithm>
#include <boost/numeric/odeint.hpp>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

// dL/dt = A + M L: the derivative is affine.
Eigen::MatrixXd Linear(const BalanceModel& model) {
  const Eigen::Index n = model.capacity.size();
  Eigen::MatrixXd linear = -(model.gamma + model.kappa) * Eigen::MatrixXd::Identity(n, n);
  linear += model.kappa / model.capacity.sum() * model.capacity * Eigen::RowVectorXd::Ones(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < n; ++j) {
      if (i == j) continue;
      linear(i, j) += model.moves(i, j) / model.capacity[j];
      linear(i, i) -= model.moves(i, j) / model.capacity[i];
    }
  }
  return linear;
}

}  // namespace

BalanceModel BalanceModel::Method(int nodes, double gamma, double kappa, double moves) {
  return {Eigen::VectorXd::Zero(nodes), Eigen::VectorXd::Ones(nodes), gamma, kappa,
          Eigen::MatrixXd::Constant(nodes, nodes, moves)};
}

Status CheckModel(const BalanceModel& model) {
  const Eigen::Index n = model.capacity.size();
  if (n == 0 || model.arrivals.size() != n || model.moves.rows() != n || model.moves.cols() != n)
    return InvalidArgument("{} nodes, but arrivals of {} and moves of {} x {}", n,
                           model.arrivals.size(), model.moves.rows(), model.moves.cols());
  if (!(model.gamma >= 0) || !(model.kappa >= 0))
    return InvalidArgument("expected gamma and kappa of at least 0, got {} and {}", model.gamma,
                           model.kappa);
  for (Eigen::Index i = 0; i < n; ++i) {
    if (!(model.capacity[i] > 0) || !(model.arrivals[i] >= 0))
      return InvalidArgument(
          "node {}: expected a capacity above 0 and arrivals of at least 0, got {} and {}", i,
          model.capacity[i], model.arrivals[i]);
    for (Eigen::Index j = 0; j < n; ++j) {
      if (!(model.moves(i, j) >= 0) || model.moves(i, j) != model.moves(j, i))
        return InvalidArgument(
            "moves between nodes {} and {}: expected the same both ways, at least 0, got {} and {}",
            i, j, model.moves(i, j), model.moves(j, i));
    }
  }
  return Status::Ok();
}

Eigen::VectorXd Derivative(const BalanceModel& model, const Eigen::VectorXd& load) {
  const Eigen::VectorXd level = load.cwiseQuotient(model.capacity);
  const double mean = load.sum() / model.capacity.sum();
  Eigen::VectorXd out =
      model.arrivals - model.gamma * load + model.kappa * (mean * model.capacity - load);
  for (Eigen::Index i = 0; i < load.size(); ++i) {
    for (Eigen::Index j = 0; j < load.size(); ++j)
      if (i != j) out[i] += model.moves(i, j) * (level[j] - level[i]);
  }
  return out;
}

Eigen::VectorXd Integrate(const BalanceModel& model, const Eigen::VectorXd& load, double seconds) {
  namespace odeint = boost::numeric::odeint;
  using State = std::vector<double>;
  State state(load.data(), load.data() + load.size());
  const Eigen::MatrixXd linear = Linear(model);
  const auto system = [&](const State& now, State& change, double /*t*/) {
    const Eigen::Map<const Eigen::VectorXd> at(now.data(), load.size());
    Eigen::Map<Eigen::VectorXd>(change.data(), load.size()) = model.arrivals + linear * at;
  };
  if (seconds > 0) {
    const double first = std::min(seconds, 0.1 / std::max(1e-6, linear.cwiseAbs().maxCoeff()));
    odeint::integrate_adaptive(
        odeint::make_controlled(1e-10, 1e-10, odeint::runge_kutta_dopri5<State>()), system, state,
        0.0, seconds, first);
  }
  return Eigen::Map<const Eigen::VectorXd>(state.data(), load.size());
}

Eigen::VectorXd SteadyLoad(const BalanceModel& model, const Eigen::VectorXd& load) {
  if (model.gamma > 0) return Linear(model).partialPivLu().solve(-model.arrivals);
  return load.sum() / model.capacity.sum() * model.capacity;
}

double Imbalance(const BalanceModel& model, const Eigen::VectorXd& load) {
  const double mean = load.sum() / model.capacity.sum();
  const Eigen::VectorXd off = (load.cwiseQuotient(model.capacity).array() - mean).matrix();
  return 0.5 * model.capacity.dot(off.cwiseProduct(off));
}

ModeRates RatesOf(const BalanceModel& model) {
  // In x = L / sqrt(C) the matrix is symmetric, and the balanced mode is sqrt(C).
  const Eigen::VectorXd root = model.capacity.cwiseSqrt();
  const Eigen::MatrixXd symmetric =
      root.cwiseInverse().asDiagonal() * Linear(model) * root.asDiagonal();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
  // Ascending: the last is the balanced mode, which decays by gamma alone.
  const Eigen::Index n = root.size();
  if (n < 2) return {};
  return {-solver.eigenvalues()[n - 2], -solver.eigenvalues()[0],
          root.cwiseProduct(solver.eigenvectors().col(n - 2))};
}

double StableBound(int age_samples) {
  return 2 * std::sin(std::numbers::pi / (2 * (2 * age_samples + 1)));
}

double SmoothBound(int age_samples) {
  if (age_samples == 0) return 1;
  const double d = age_samples;
  return std::pow(d / (d + 1), d) / (d + 1);
}

BalanceModel Damped(BalanceModel model, double period_s, int age_samples) {
  BalanceModel undecayed = model;
  undecayed.gamma = 0;
  const double fastest = RatesOf(undecayed).fastest;
  const double most = SmoothBound(age_samples) / period_s;
  if (fastest <= most) return model;
  model.kappa *= most / fastest;
  model.moves *= most / fastest;
  return model;
}

Eigen::MatrixXd Flows(const BalanceModel& model, const Eigen::VectorXd& load) {
  const Eigen::VectorXd level = load.cwiseQuotient(model.capacity);
  Eigen::MatrixXd flows = Eigen::MatrixXd::Zero(load.size(), load.size());
  for (Eigen::Index i = 0; i < load.size(); ++i) {
    for (Eigen::Index j = 0; j < load.size(); ++j)
      if (i != j) flows(i, j) = model.moves(i, j) * (level[i] - level[j]);
  }
  return flows;
}

}  // namespace evenkeel
