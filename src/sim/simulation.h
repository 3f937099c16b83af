// Plays arrivals against load tables in virtual time, with the daemon's own policy objects.
//
// What is modelled: a queue a model (one lane, requests of equal rows that stay together), instances of k threads, service times drawn
//   from the load table; more running threads than cores share them evenly (processor sharing). Refusals and deadlines follow
//   batching/dispatcher.cc: a request is refused when its answer is predicted later than its deadline, or than ten
//   objectives where it has none; rows with a deadline ride in batches of a quarter of their time; rows that can no longer
//   be answered in time leave before compute is spent. T(b) is learned as the daemon learns it: a run of each size at first,
//   then what is served. On the same trace the same decisions come at the same times as in the daemon (same_decisions_test.cc).
//   Instances on an accelerator have times of their own, take the host cores that they are said to, and nothing slows them down: their
//   shares of the device are apart. Not modelled: network, copying, the daemon's own CPU time, deaths of workers; padding to warm
//   sizes; a full batch that lies ready behind a running one while no other model has work.
// Contract: deterministic by (models, options). Requests that arrive in [warm_up, length) are counted; those still open at the
//   end are played to their end. At least 300,000 requests a second of wall time (bench/batching_policy.cc).
// Units: virtual Time from Time{} on. Thread-safety: thread-compatible. Blocks while it computes.
// Source: requirements A8 to A11; docs/batching_policy.md.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "batching/policy/node_policy.h"
#include "core/clock.h"
#include "core/status.h"
#include "sim/arrivals.h"
#include "sim/latency_counts.h"
#include "sim/load_table.h"

namespace evenkeel::sim {

struct SimModel {
  std::string name;
  DeviceClass device = DeviceClass::kCpu;  // kAuto: instances of both classes
  ServiceTimes service;                    // on its threads; not with kGpu
  ServiceTimes device_service;             // on its share of an accelerator; not with kCpu
  GpuKey device_share;                     // of each instance there
  std::shared_ptr<const ArrivalProcess> arrivals;
  Duration objective{};      // > 0
  int threads = 1;           // of an instance
  int instances = 1;         // on the processor; none with kGpu
  int device_instances = 1;  // on an accelerator; none with kCpu
  int device_cores = 0;      // of the host, that a batch there keeps busy
  int max_batch = 64;
  int device_max_batch = 64;
  int rows = 1;                      // of a request; <= max_batch
  Duration max_delay{};              // `fixed` only
  std::vector<int> preferred_sizes;  // `fixed` only, ascending
  int best_batch =
      0;  // `method` only: Y_batch of the load table, whose T_batch is `service`'s; 0: there is none
};

struct SimOptions {
  int cores = 2;
  Duration length = std::chrono::seconds(30);
  Duration warm_up = std::chrono::seconds(2);
  uint64_t seed = 1;
  double factor = 1;       // on every rate
  bool deadlines = false;  // each request has its objective as deadline
  bool save_power = false;
  Duration overhead{};  // that each batch holds its cores for beyond its service time
  Duration
      front{};  // that a client waits beside queue and service: the request read, the answer written
  int64_t max_queue_rows = 10'000;
  int plot_bins = 0;          // points of a series; 0: none
  bool list_batches = false;  // in the report
};

struct SeriesPoint {
  double arrived_rps = 0, forecast_rps = 0, cores = 0;
};

struct ForecastError {
  Duration interval{};
  double mae = 0, last_value_mae = 0;  // items
  int64_t intervals = 0;
  std::string followed;
};

struct ModelOutcome {
  std::string name;
  Duration objective{};
  uint64_t arrived = 0;  // requests in the measured time, all of the following add up to it
  uint64_t within = 0, late = 0, shed = 0, expired = 0;
  LatencyCounts latency, wait;      // of answered ones; wait: arrival to start
  std::map<int, uint64_t> batches;  // by rows
  std::array<uint64_t, kCloseReasonCount> reasons{};
  double core_seconds = 0;    // by batches that started in the measured time
  GpuKey device_share;        // of an instance on an accelerator
  double device_seconds = 0;  // the same on an accelerator, an instance counted as one
  uint64_t device_rows = 0;   // of rows_run, those that ran there
  uint64_t rows_run = 0;
  policy::ModelOutlook outlook;  // at the end
  std::array<ForecastError, policy::Aggregator::kLevels> forecast{};
  std::vector<SeriesPoint> series;

  double Goodput() const {
    return arrived == 0 ? 1 : static_cast<double>(within) / static_cast<double>(arrived);
  }
};

// A batch as it was started, warm-up included.
struct SimBatch {
  Time at{};
  int model = 0;
  int rows = 0;
  CloseReason reason = CloseReason::kIdle;
};

struct SimReport {
  std::string policy;
  std::vector<ModelOutcome> models;
  double measured_s = 0;
  double mean_cores = 0;          // busy, over the measured time
  uint64_t requests = 0;          // played, warm-up included
  double decisions = 0;           // calls of Decide()
  std::vector<SimBatch> batches;  // if they were to be listed
};

// REQUIRES: at least one model; `policy` fresh.
SimReport Simulate(const std::vector<SimModel>& models, policy::NodePolicy& policy,
                   const SimOptions& options);

}  // namespace evenkeel::sim
