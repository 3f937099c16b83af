// Our rule: the cheapest shape and batch that keep the objective at the forecast rate.
//
// Of a row with batch n, mean T and 99th percentile T99 (seconds) on a container of c cores (rounded up: the gate gives out whole ones)
// and m GiB:
//   instances   k = ceil(rate T / (0.8 n))       an instance is planned to be busy four fifths of the time at most
//   busy        u = rate T / (k n)
//   latency     L99 = (n - 1) k / rate + u T99 + T99
//               the first item of a batch waits for n - 1 others of its instance's share, for the batch before (if one runs), and
//               for its own
//   cost        C = (c + w m) T / n,  w = host cores / host GiB
//               core-seconds an item, the memory that is held meanwhile priced so that all of the host's memory costs what all of
//               its cores do; a GPU share counts as that share of all host cores
// Memory is bought only where it pays: a row falls if another ok row of the same cores and batch has less of it and is not slower by
// more than a fifth of its time (what is nearer is noise of the measurement: enough memory is enough).
// A row can be chosen if its outcome is ok, L99 <= objective, and k instances fit the host. The cheapest wins. Costs within 5 % are
// noise: of those rows the smallest batch, then least memory, fewest cores, least cost. Without a forecast (rate 0) every row is
// looked at under 0.7 of the load that one instance of it can carry.
// No row qualifies: the row with the least L99 is named, and met = false.
// Thread-safety: pure. Source: A5 "ours". Differs: the method knows no latency, rate or cost.
#pragma once

#include "profiling/policy/choice.h"
#include "profiling/policy/load_row.h"

namespace evenkeel {

struct HostSize {
  int milli_cores = 1000;
  int64_t memory_bytes = int64_t{1} << 30;
  int gpu_cores = 0;
  int64_t gpu_memory_bytes = 0;
};

struct ObjectiveQuery {
  double objective_us = 50'000;  // p99 of a request, > 0
  double rate_per_s = 0;         // forecast, items; 0: not known
  HostSize host;
  Precision precision = Precision::kF32;
  bool gpu = false;  // the class to choose from
};

// What a row would cost and how it would answer. For explanations and for choosing between classes.
struct RowPrice {
  int64_t instances = 1;
  double busy = 0;
  double latency99_us = 0;
  double core_s_per_item = 0;  // C
};
RowPrice PriceOf(const LoadRow& row, const ObjectiveQuery& query);

Choice SelectByObjective(const LoadRows& rows, const ObjectiveQuery& query);

}  // namespace evenkeel
