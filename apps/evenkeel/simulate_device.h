// Accelerators in `evenkeel simulate`: which class a model is of, and which share of the device its instances have.
//
// Thread-safety: main thread only.
#pragma once

#include <vector>

#include "core/status.h"
#include "sim/load_table.h"
#include "sim/simulation.h"
#include "simulate_options.h"

namespace evenkeel {

// Sets class, device instances, and their service from --class, --gpu and --gpu-instances. Without --gpu the shape is chosen from the table:
// for `method` by A6 (the largest batch within the objective, then the least device memory, then the fewest cores), which also sets the
// largest batch; else the one that serves the most items a second within a quarter of the objective. REQUIRES: model->objective is set.
Status SetClass(const SimulateFlags& flags, const sim::ModelTable& table, sim::SimModel* model);

// The shares of all instances together fit --device.
Status CheckDevice(const SimulateFlags& flags, const std::vector<sim::SimModel>& models);

}  // namespace evenkeel
