// How many cores each model can count on while the node's models want more than there are.
//
// Use for: admission. A row is worth accepting if the cores its model can count on answer it in time; what its own queue
//   needs at full speed says nothing once others take turns on the same cores.
// Model i wants d_i cores, has the weight w_i (what it is used to) and can use at most m_i (its instances' threads). It is granted
//     g_i = min(d_i, m_i, theta w_i),  theta the largest with sum g_i <= cores  (weighted max-min fairness, by water filling)
//   and can count on
//     s_i = min(m_i, max(g_i, theta w_i, cores - sum of the others' g)),  without theta w_i where everything fits.
// So while everything fits each model may use what the others leave; when all rates rise together each keeps its proportion; and a
//   model that is flooded alone does not take from those that want what they always wanted.
// Contract: sum g_i <= cores (to rounding); s_i >= g_i >= 0; s_i > 0 where m_i, w_i > 0 and cores > 0. A d_i above 0 with w_i = 0
//   counts as w_i = d_i. Pure. Units: cores. Thread-safety: thread-safe.
// Source: ours; max-min fairness by water filling is Bertsekas and Gallager, Data Networks, sec. 6.5.
#pragma once

#include <span>
#include <vector>

namespace evenkeel::policy {

struct CoreDemand {
  double wanted = 0;  // d: rows a second x core time of a row
  double weight = 0;  // w
  double most = 0;    // m
};

struct CoreShare {
  double granted = 0;     // g
  double counted_on = 0;  // s
};

std::vector<CoreShare> ShareCores(std::span<const CoreDemand> models, double cores);

}  // namespace evenkeel::policy
