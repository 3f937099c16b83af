#include "server/class_choice.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"

namespace evenkeel {
namespace {

struct Side {
  bool measured = false;
  const LoadRow* row = nullptr;  // chosen
  bool met = false;
  double cost = 0;     // core-seconds an item
  double carries = 0;  // items a second
};

double InstancesOf(const CellShape& shape, const ClassQuery& query) {
  if (shape.gpu()) return query.gpu_instances;
  const double cores = std::ceil(shape.milli_cores / 1000.0);
  return std::max(1.0, std::floor(query.objective.host.milli_cores / 1000.0 / cores));
}

Side SideOf(const ClassQuery& query, bool gpu, const Choice& choice) {
  Side side;
  side.measured = std::ranges::any_of(
      query.rows, [&](const LoadRow& row) { return row.cell.shape.gpu() == gpu; });
  if (!choice.row) return side;
  side.row = &query.rows[*choice.row];
  side.met = choice.met;
  side.cost = PriceOf(*side.row, query.objective).core_s_per_item;
  double fastest = 0;
  for (const LoadRow& row : query.rows) {
    const bool usable = row.outcome == CellOutcome::kOk && row.cell.shape == side.row->cell.shape &&
                        row.cell.precision == side.row->cell.precision;
    if (usable && (2 * row.p99_us <= query.objective.objective_us || row.cell.batch == 1))
      fastest = std::max(fastest, row.items_per_s());
  }
  side.carries = ClassHolding::kMostBusy * fastest * InstancesOf(side.row->cell.shape, query);
  return side;
}

const char* NameOf(bool gpu) { return gpu ? "gpu" : "cpu"; }

}  // namespace

HeldClasses ClassHolding::Wanted(const ClassQuery& query, Time now) {
  choice_ = SelectClass(query.rows, DeviceClass::kAuto, query.objective);
  const Side cpu = SideOf(query, false, choice_->cpu), gpu = SideOf(query, true, choice_->gpu);
  if (!cpu.measured || !gpu.measured)
    return {true, true, fmt::format("{} is not measured", NameOf(cpu.measured))};
  if (!choice_->winner) return {true, true, choice_->why};
  bool on_gpu = *choice_->winner == DeviceClass::kGpu;
  std::string why = choice_->why;
  const bool alone = held_.cpu != held_.gpu;
  // Both could, and the one that is held now costs little more, or was chosen a moment ago.
  if (alone && on_gpu != held_.gpu && cpu.row != nullptr && gpu.row != nullptr) {
    const Side &now_held = held_.gpu ? gpu : cpu, &other = held_.gpu ? cpu : gpu;
    const bool better = now_held.met < other.met || other.cost < (1 - kLeastGain) * now_held.cost;
    if (!better || now - changed_ < kSettle) {
      on_gpu = held_.gpu;
      why = fmt::format("{} stays: {}", NameOf(on_gpu),
                        better ? "it was chosen a moment ago" : "the other costs little less");
    }
  }
  const double carries = (on_gpu ? gpu : cpu).carries;
  if (cpu.met && gpu.met && why == choice_->why) {
    why = fmt::format(
        "both keep the objective; {} costs least an item ({:.3g} against {:.3g} core-µs), and "
        "carries {:.3g} rows/s",
        NameOf(on_gpu), 1e6 * std::min(cpu.cost, gpu.cost), 1e6 * std::max(cpu.cost, gpu.cost),
        carries);
  }
  const bool other_works = (on_gpu ? cpu : gpu).row != nullptr;
  const double rate = query.objective.rate_per_s;
  if (rate > kCalm * carries && other_works) busy_ = now;
  const bool neither = !cpu.met && !gpu.met;
  if (neither && other_works) busy_ = now;
  const bool needs_both =
      neither || rate > carries || (!alone && decided_ && now - busy_ < kSettle);
  if (needs_both && other_works && busy_ != Time{}) {
    return {true, true,
            rate <= carries && neither
                ? std::string("neither keeps the objective")
                : fmt::format("{:.3g} rows/s, and {} alone carries {:.3g}: the faster is "
                              "filled first, the other takes the overflow",
                              rate, NameOf(on_gpu), carries)};
  }
  return {!on_gpu, on_gpu, why};
}

const HeldClasses& ClassHolding::Decide(const ClassQuery& query, Time now) {
  HeldClasses wanted = Wanted(query, now);
  if (!decided_ || wanted.cpu != held_.cpu || wanted.gpu != held_.gpu) changed_ = now;
  // A figure that moves is no news.
  if (!decided_ || wanted.cpu != held_.cpu || wanted.gpu != held_.gpu) held_ = std::move(wanted);
  decided_ = true;
  return held_;
}

}  // namespace evenkeel
