// Random problems of placement for tests: speeds of nodes, sizes of tasks, what suits whom, noise.
#pragma once

#include <cmath>
#include <random>

#include "cluster/policy/placement.h"

namespace evenkeel {

struct RandomShape {
  int tasks = 12, nodes = 4;
  double affinity = 0.5;  // how much some tasks like some nodes, in nats
  double noise = 0.1;
  double impossible = 0;  // share of pairs
  double memory = 0;      // of all tasks over the room of all nodes; 0: as much as they like
  double edges = 0;       // a task
};

inline PlacementProblem RandomProblem(const RandomShape& shape, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  std::vector<double> speed(static_cast<size_t>(shape.nodes)), taste(speed.size()),
      kind(static_cast<size_t>(shape.tasks)), size(kind.size());
  for (double& s : speed) s = std::exp(0.7 * normal(rng));
  for (double& t : taste) t = normal(rng);
  for (double& k : kind) k = normal(rng);
  for (double& s : size) s = std::exp(0.8 * normal(rng));
  PlacementProblem problem;
  problem.seconds.resize(shape.tasks, shape.nodes);
  for (int j = 0; j < shape.tasks; ++j) {
    for (int i = 0; i < shape.nodes; ++i) {
      const auto a = static_cast<size_t>(i), b = static_cast<size_t>(j);
      problem.seconds(j, i) =
          size[b] / speed[a] *
          std::exp(shape.affinity * taste[a] * kind[b] + shape.noise * normal(rng));
      if (uniform(rng) < shape.impossible && i != j % shape.nodes)
        problem.seconds(j, i) = kImpossible;
    }
  }
  int64_t sum = 0;
  for (int j = 0; j < shape.tasks; ++j) {
    problem.memory.push_back(100 + static_cast<int64_t>(uniform(rng) * 900));
    sum += problem.memory.back();
  }
  const int64_t room =
      shape.memory > 0
          ? static_cast<int64_t>(static_cast<double>(sum) / (shape.memory * shape.nodes))
          : sum;
  problem.room.assign(static_cast<size_t>(shape.nodes), room);
  problem.present_s.assign(static_cast<size_t>(shape.nodes), 0);
  for (int j = 1; j < shape.tasks && shape.edges > 0; ++j) {
    if (uniform(rng) < shape.edges)
      problem.edges.push_back(
          {static_cast<int>(uniform(rng) * j), j, static_cast<int64_t>(uniform(rng) * 1e8)});
  }
  problem.bytes_per_s = Eigen::MatrixXd::Constant(shape.nodes, shape.nodes, 1e8);
  problem.latency_s = Eigen::MatrixXd::Constant(shape.nodes, shape.nodes, 1e-3);
  return problem;
}

}  // namespace evenkeel
