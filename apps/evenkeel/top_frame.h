// What `evenkeel top` shows of one interval: the difference of two looks at a server.
//
// Contract: pure. A counter that fell (the model was loaded again, the server started again) counts from 0. A figure that the server does
//   not tell, or that the interval had too little for, is left out (nullopt, ""), never guessed. Models in the order of the server.
// Units: as named; rates over the interval. Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "prometheus_text.h"

namespace evenkeel {

struct TopLook {
  Time at{};
  PrometheusText metrics{""};          // GET /metrics
  nlohmann::ordered_json models_page;  // GET /v2/evenkeel/models
};

struct TopModel {
  std::string name, version, state, policy;
  std::optional<double> objective_ms;
  double requests_per_s = 0;                  // that ended, by any outcome
  double rows_per_s = 0;                      // answered
  std::optional<double> forecast_rows_per_s;  // of the half-second that is open
  std::optional<double> actual_rows_per_s;    // that came in the half-second before
  std::optional<int> knee_rows, target_rows;
  std::optional<double> price;
  std::optional<double> mean_batch_rows;
  std::vector<std::pair<std::string, double>> closed;  // reason and share, largest first
  std::optional<double> p50_ms, p99_ms;  // arrival to answer; straight lines within buckets
  double queue_rows = 0;
  int instances = 0, instances_ready = 0;
  std::vector<std::pair<std::string, int>>
      shapes;        // of ready instances; empty: the server names none
  double cores = 0;  // engine seconds a second on the processor, times the threads of an instance
  double sheds_per_s = 0;
  double errors_per_s = 0;  // sheds and calls that the client gave up not counted
};

struct TopFrame {
  double seconds = 0;
  std::vector<TopModel> models;
  double cores_used = 0;
  std::optional<double> cores;  // that batches may use
  std::optional<double> price;  // the highest of all models
  std::optional<double> daemon_cores;
  double queue_rows = 0;
  size_t models_ready = 0;
  std::string policy;
};

enum class TopOrder { kName, kCores, kRate, kP99, kQueue };

TopFrame MakeFrame(const TopLook& before, const TopLook& now);
void Sort(TopOrder order, TopFrame* frame);
nlohmann::ordered_json ToJson(const TopFrame& frame);

}  // namespace evenkeel
