#include "profiling/policy/select_objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "profiling/policy/sieve.h"

namespace evenkeel {
namespace {

constexpr double kMostBusy = 0.8;
constexpr double kBusyWithoutForecast = 0.7;
constexpr double kCostNoise = 1.05;
constexpr double kMemoryGain = 0.2;
constexpr double kGiB = 1024.0 * 1024 * 1024;

// Cores that a batch keeps from others: the node's gate gives out whole ones, to a container of half a core too.
double CoresTaken(const CellShape& shape) { return std::ceil(shape.milli_cores / 1000.0); }

// Cores that the shape is worth, its memory and its part of a GPU included.
double WorthOf(const CellShape& shape, const HostSize& host) {
  const double host_cores = host.milli_cores / 1000.0;
  const double per_gib = host_cores / (static_cast<double>(host.memory_bytes) / kGiB);
  double worth = CoresTaken(shape) + per_gib * static_cast<double>(shape.memory_bytes) / kGiB;
  if (shape.gpu() && host.gpu_cores > 0)
    worth += host_cores * shape.gpu_cores / static_cast<double>(host.gpu_cores);
  return worth;
}

// `row` has more memory than `other`, and little or nothing to show for it.
bool MakesNeedless(const LoadRow& other, const LoadRow& row) {
  const CellShape &a = other.cell.shape, &b = row.cell.shape;
  return a.milli_cores == b.milli_cores && a.gpu_cores == b.gpu_cores &&
         other.cell.batch == row.cell.batch && a.memory_bytes <= b.memory_bytes &&
         a.gpu_memory_bytes <= b.gpu_memory_bytes && a != b &&
         row.batch_us >= (1 - kMemoryGain) * other.batch_us;
}

bool FitsHost(const LoadRow& row, int64_t instances, const HostSize& host) {
  const CellShape& shape = row.cell.shape;
  const auto fits = [&](double one, double all) {
    return one * static_cast<double>(instances) <= all;
  };
  if (!fits(CoresTaken(shape), std::max(1.0, host.milli_cores / 1000.0))) return false;
  if (!fits(static_cast<double>(shape.memory_bytes), static_cast<double>(host.memory_bytes)))
    return false;
  if (!shape.gpu()) return true;
  return fits(shape.gpu_cores, host.gpu_cores) && fits(static_cast<double>(shape.gpu_memory_bytes),
                                                       static_cast<double>(host.gpu_memory_bytes));
}

}  // namespace

RowPrice PriceOf(const LoadRow& row, const ObjectiveQuery& query) {
  RowPrice price;
  const double n = row.cell.batch;
  const double t = row.batch_us * 1e-6;
  const double t99 = row.p99_us * 1e-6;
  const double rate = query.rate_per_s > 0 ? query.rate_per_s : kBusyWithoutForecast * n / t;
  price.instances = std::max<int64_t>(
      1, static_cast<int64_t>(std::min(1e9, std::ceil(rate * t / (kMostBusy * n)))));
  const auto k = static_cast<double>(price.instances);
  price.busy = rate * t / (k * n);
  price.latency99_us = ((n - 1) * k / rate + price.busy * t99 + t99) * 1e6;
  price.core_s_per_item = WorthOf(row.cell.shape, query.host) * t / n;
  return price;
}

Choice SelectByObjective(const LoadRows& rows, const ObjectiveQuery& query) {
  Choice choice;
  Sieve sieve(rows, &choice);
  const auto price = [&](const LoadRow& row) { return PriceOf(row, query); };
  const auto latency = [&](const LoadRow& row) { return price(row).latency99_us; };
  const auto cost = [&](const LoadRow& row) { return price(row).core_s_per_item; };
  sieve.Apply(fmt::format("{} rows in {}", query.gpu ? "GPU" : "CPU", NameOf(query.precision)),
              [&](const LoadRow& row) {
                return row.cell.shape.gpu() == query.gpu && row.cell.precision == query.precision;
              });
  sieve.Apply("outcome ok", [](const LoadRow& row) {
    return row.outcome == CellOutcome::kOk && row.batch_us > 0;
  });
  sieve.Apply("memory that makes a batch faster by a fifth, or the least", [&](const LoadRow& row) {
    return std::ranges::none_of(sieve.left(),
                                [&](size_t i) { return MakesNeedless(rows[i], row); });
  });
  const std::vector<size_t> possible = sieve.left();
  const std::string load = query.rate_per_s > 0
                               ? fmt::format("at {:g} items/s", query.rate_per_s)
                               : fmt::format("at {:g} of its capacity", kBusyWithoutForecast);
  sieve.Apply(fmt::format("p99 within {:g} ms {}", query.objective_us / 1e3, load),
              [&](const LoadRow& row) { return latency(row) <= query.objective_us; });
  sieve.Apply("as many instances as that takes fit this host",
              [&](const LoadRow& row) { return FitsHost(row, price(row).instances, query.host); });
  if (sieve.empty()) {
    choice.met = false;
    for (const size_t i : possible) {
      if (!choice.row || latency(rows[i]) < latency(rows[*choice.row])) choice.row = i;
    }
    choice.why = choice.row ? "no row keeps the objective here; this one comes closest"
                            : "no row of this class was measured successfully";
    return choice;
  }
  double cheapest = std::numeric_limits<double>::infinity();
  for (const size_t i : sieve.left()) cheapest = std::min(cheapest, cost(rows[i]));
  sieve.Apply("cost within 5 % of the least",
              [&](const LoadRow& row) { return cost(row) <= kCostNoise * cheapest; });
  sieve.Least("smallest batch", [](const LoadRow& row) { return row.cell.batch; });
  sieve.Least("least memory", [](const LoadRow& row) { return row.cell.shape.memory_bytes; });
  sieve.Least("fewest cores", [](const LoadRow& row) { return row.cell.shape.milli_cores; });
  sieve.Least("least cost", cost);
  sieve.Win();
  const LoadRow& won = rows[*choice.row];
  choice.why =
      fmt::format("{:.3g} core-µs an item, p99 {:.3g} ms {}{}", cost(won) * 1e6, latency(won) / 1e3,
                  load, won.cell.batch == 1 ? "; batching gains nothing worth its wait" : "");
  return choice;
}

}  // namespace evenkeel
