// How many instances each model of a node is to have: as many as the forecast needs, within cores and memory.
//
// Use for: once or twice a second, and when something waits that nobody could run. Not for: which form they have (profiling/policy), when
//   batches start (batching/policy).
// The rules, for a model whose settings leave the number to the plan:
//   need(r)    = ceil(r T / (0.8 n)): at r rows a second in batches of n rows that take T, an instance is planned to be busy four fifths of
//                the time at most. At least 1 where 0.5 rows and more are expected within the horizon, or something waits or runs.
//   most       = min(max, as many as fit the node's cores together, at least 1)
//   up         at once to need(rate): `rate_rps` is forecast for the time at which an instance that is started now is up.
//   down       to need(recent peak), which is never below need(rate): the gap between both keeps it from swinging.
//   silence    the last one stays for `keep_alive` after the last request, then there are min_instances.
// A fixed number stands in the place of need(). `min_instances` hold always, unless memory is short and they are only a default.
// Memory: a start has to leave `headroom_bytes` of what is free, and a quarter more while nothing waits for it. Where there is no
//   room, instances of others go, never of one that has work: first those that are more than need() says, then those of models at
//   rest (no request for a second and a start-up), unless the model's own settings say min_instances; of these the least valuable first. A
//   model for which something waits may take the room of any of them; another one only that of models worth less than itself.
//   The start waits until the memory is free. Where less is free than the headroom, instances go in the same way until it is not.
// Value of a model: its rows a second as forecast, or 1 / time since the last request, whichever is more.
// Contract: PlanInstances() is a pure function of (view, now), one answer a model in the order of the view. All starts of an answer
//   together leave the headroom free, what is already on its way included.
// Units: rows a second, Duration, cores, bytes. Thread-safety: thread-safe (pure).
// Source: A13.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"

namespace evenkeel::policy {

struct InstancesView {
  double rate_rps = 0;       // rows a second, forecast for now + start_up; >= 0
  double peak_rps = 0;       // most rows a second of late, over intervals of 0.5 s and longer; >= 0
  int batch_rows = 1;        // n, of the batch that is aimed at; >= 1
  Duration batch_time{};     // T(n); 0: not known
  Duration start_up{};       // of an instance of the current form; 0: not known
  double cores = 1;          // of an instance; > 0
  int64_t memory_bytes = 0;  // of an instance, as measured or as its shape allows; 0: not known
  int up = 0;                // instances that serve
  int starting = 0;          // on their way: loading, warming, or waiting to be started again
  int successors = 0;        // of both, how many are there beside those whose place they take
  int ending = 0;            // their memory is not free yet
  Time last_request{};       // Time{}: never
  Time
      since{};  // when the model came to serve: silence is counted from here before the first request
  bool waits = false;  // something waits or runs
  // From the settings.
  std::optional<int> fixed;  // as many while it serves; >= 1
  int min_instances = 1;     // >= 0
  int max_instances = 64;    // >= 1
  bool min_pinned =
      false;  // the model's own settings say min_instances: no shortage of memory takes them
  Duration keep_alive = std::chrono::minutes(5);
};

struct NodeRoom {
  double cores = 1;
  int64_t free_bytes = 0;      // that could be used now, without swapping
  int64_t headroom_bytes = 0;  // of it, to be left free
};

struct InstancesPlan {
  int wanted = 0;
  std::string why;       // "310 rows/s need 1.3 instances (64 rows in 165 ms)"
  bool no_room = false;  // something waits, none is there, and no memory for one can be had
  // When this model's answer changes though nothing happens: its keep-alive ends. kNever: it does not.
  Time next = kNever;
};

// max(5 % of the memory, 256 MiB).
int64_t DefaultHeadroom(int64_t memory_bytes);
// The most instances of `model` that fit `cores`, within its own bounds; at least 1.
int MostInstances(const InstancesView& model, double cores);
// Instances that `rows_per_s` keep busy to four fifths, not rounded; 0 where T is not known.
double InstancesNeeded(const InstancesView& model, double rows_per_s);

std::vector<InstancesPlan> PlanInstances(std::span<const InstancesView> models,
                                         const NodeRoom& room, Time now);

}  // namespace evenkeel::policy
