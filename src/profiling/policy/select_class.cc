#include "profiling/policy/select_class.h"

#include <fmt/format.h>

namespace evenkeel {
namespace {

struct Side {
  DeviceClass device;
  const char* name;
  bool runs = false, met = false;
  double cost = 0, items_per_s = 0;
};

Side SideOf(DeviceClass device, const LoadRows& rows, const Choice& choice,
            const ObjectiveQuery& query) {
  Side side{device, device == DeviceClass::kGpu ? "gpu" : "cpu"};
  side.runs = choice.row.has_value();
  if (!side.runs) return side;
  const LoadRow& row = rows[*choice.row];
  side.met = choice.met;
  side.cost = PriceOf(row, query).core_s_per_item;
  side.items_per_s = row.items_per_s();
  return side;
}

}  // namespace

ClassChoice SelectClass(const LoadRows& rows, DeviceClass wanted, ObjectiveQuery query) {
  ClassChoice choice;
  if (wanted != DeviceClass::kAuto) {
    query.gpu = wanted == DeviceClass::kGpu;
    (query.gpu ? choice.gpu : choice.cpu) = SelectByObjective(rows, query);
    choice.order = {wanted};
    choice.winner = wanted;
    choice.why = fmt::format("the manifest says {}", query.gpu ? "gpu" : "cpu");
    return choice;
  }
  query.gpu = false;
  choice.cpu = SelectByObjective(rows, query);
  const Side cpu = SideOf(DeviceClass::kCpu, rows, choice.cpu, query);
  query.gpu = true;
  choice.gpu = SelectByObjective(rows, query);
  const Side gpu = SideOf(DeviceClass::kGpu, rows, choice.gpu, query);
  if (!cpu.runs || !gpu.runs) {
    const Side& only = cpu.runs ? cpu : gpu;
    if (only.runs) {
      choice.order = {only.device};
      choice.winner = only.device;
    }
    choice.why = only.runs ? fmt::format("only {} has a row that works", only.name)
                           : std::string("no row of either class works");
    return choice;
  }
  if (cpu.met != gpu.met) {
    const Side& only = cpu.met ? cpu : gpu;
    choice.order = {only.device};
    choice.winner = only.device;
    choice.why = fmt::format("only {} keeps the objective", only.name);
    return choice;
  }
  const Side& cheaper = gpu.cost < cpu.cost ? gpu : cpu;
  const bool gpu_faster = gpu.items_per_s > cpu.items_per_s;
  choice.order = gpu_faster ? std::vector{DeviceClass::kGpu, DeviceClass::kCpu}
                            : std::vector{DeviceClass::kCpu, DeviceClass::kGpu};
  choice.winner = cheaper.device;
  choice.why = fmt::format(
      "{} keep the objective; {} costs least an item ({:.3g} against {:.3g} "
      "core-µs), {} is faster and filled first, the other takes the overflow",
      cpu.met ? "both" : "neither can", cheaper.name, 1e6 * std::min(cpu.cost, gpu.cost),
      1e6 * std::max(cpu.cost, gpu.cost), gpu_faster ? "gpu" : "cpu");
  return choice;
}

}  // namespace evenkeel
