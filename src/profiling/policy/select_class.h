// Which class of containers a model's batches go to: CPU, GPU, or both with overflow.
//
// Contract: `cpu` and `gpu` are fixed before the sweep; no batch ever leaves its class, whatever the tables say. `auto` takes the class
//   that meets the objective at the forecast rate at the least cost an item (core-seconds; a GPU share counted as in
//   select_objective.h): `winner`, where instances are started. A model may hold instances of both; then the faster class (more
//   items a second of its chosen row) is filled first and the other takes the overflow: `order`. A class that cannot keep the
//   objective takes no overflow from one that does: its answers would come too late.
//   A class without a single ok row takes no part.
// Thread-safety: pure. Source: A2 (CPU-type and GPU-type tasks). Differs: `auto` measures instead of asking.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/model_config.h"
#include "profiling/policy/select_objective.h"

namespace evenkeel {

struct ClassChoice {
  // Filled in this order: the second takes what the first cannot. DeviceClass::kCpu and kGpu only; empty: nothing can run.
  std::vector<DeviceClass> order;
  std::optional<DeviceClass> winner;
  std::string why;
  Choice cpu, gpu;  // of select_objective, where that class was looked at

  bool Allows(DeviceClass device) const {
    for (const DeviceClass one : order) {
      if (one == device) return true;
    }
    return false;
  }
};

// `query.gpu` is ignored: both are asked.
ClassChoice SelectClass(const LoadRows& rows, DeviceClass wanted, ObjectiveQuery query);

}  // namespace evenkeel
