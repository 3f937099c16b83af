// What a row of each model takes on each node: as measured while it runs, as predicted, and what measuring says of the predictions (B9 of B3).
//
// Predicted: the work of a row, GFLOP, over the measured speed of a core of the node. The work is taken from the first kLearn measurements of the model wherever it ran and
//   kept from then on, so that a node that becomes slow is not mistaken for a model that became heavy.
// Factor: ln(measured / predicted) of model j on node k is taken apart into a_j + b_k + c_jk. a and b minimise  sum w (y - a_j - b_k)^2 + kModelRidge sum a^2 +
//   kNodeRidge sum b^2, and c = w (y - a - b), where w = n / (n + kHalf) / 2^(age / kHalfLife) of n measurements. A pair that was never measured gets exp(a_j + b_k): what is
//   known of the model elsewhere and of the node's other models, pulled towards 1 the fewer measurements there are. Nodes become slow more easily than models heavy: the ridges.
// Where several versions are told of, those count that answer as the newest does, and on a node the newest of them.
// What was not measured for kForget is forgotten. Nodes that are suspect, or whose speed is not known, say nothing.
// Units: seconds of one core of the node's own. Deterministic. Thread-safety: single-owner. Source: B9; ridge as in policy/factorisation.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/cost_drift.h"
#include "cluster/live/replica_table.h"

namespace evenkeel {

class MeasuredCosts {
 public:
  static constexpr int kLearn = 10;
  static constexpr double kHalf = 5;
  static constexpr double kHalfLife = 3600, kForget = 24 * 3600;
  static constexpr double kModelRidge = 2, kNodeRidge = 0.5;

  struct Drift {
    std::string model, node;
    CostDrift::Change row_s;
  };
  // Takes what is new of the nodes' figures: each measurement once. Which costs have changed for good.
  std::vector<Drift> Look(std::span<const ReplicaTable::NodeView> nodes, double now_s);

  struct Pair {
    double predicted_s = 0;  // of a row
    double factor = 1;       // that corrects it
    double measured_s = 0;   // 0: never, or forgotten
    double noise = 0;        // of a measurement, of its logarithm
    int64_t samples = 0;
    double age_s = 0;  // of the latest
    double best_s() const { return measured_s > 0 ? measured_s : predicted_s * factor; }
  };
  // nullopt: nothing is known of the model, or of the node's speed.
  std::optional<Pair> Of(std::string_view model, const ReplicaTable::NodeView& node,
                         double now_s) const;
  // GFLOP of a row; 0: nothing is known of the model.
  double WorkOf(std::string_view model) const;

 private:
  struct Entry {
    CostDrift cost;
    double at_s = 0;
    uint64_t incarnation = 0, done = 0;  // of the figures that were taken last
    double row_s = 0;
  };
  struct Model {
    uint64_t signature = 0;
    double log_work = 0;
    int64_t learnt = 0;  // measurements in log_work
    double effect = 0;   // a
    std::map<std::string, Entry, std::less<>> on;
  };
  struct Node {
    double log_speed = 0;  // of a core
    double effect = 0;     // b
  };
  void Take(const ReplicaTable::NodeView& node, const ModelFigures& figures, double now_s,
            std::vector<Drift>* drifts);
  void Forget(double now_s);
  void FitEffects(double now_s);
  static double WeightOf(const Entry& entry, double now_s);
  // y of a measured pair.
  static double Residual(const Model& model, const Node& node, const Entry& entry);

  std::map<std::string, Model, std::less<>> models_;
  std::map<std::string, Node, std::less<>> nodes_;
  double fitted_s_ = -1e9;
  bool fresh_ = false;  // something was measured since
};

}  // namespace evenkeel
