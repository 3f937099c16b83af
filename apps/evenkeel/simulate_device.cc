#include "simulate_device.h"

#include <algorithm>
#include <map>
#include <string>

#include "containers/device_shares.h"
#include "core/device_size.h"
#include "core/format.h"
#include "core/parse.h"
#include "simulate_method.h"

namespace evenkeel {
namespace {

using sim::GpuKey;
using sim::ModelTable;
using sim::ServiceTimes;

Result<DeviceClass> ClassOf(const SimulateFlags& flags, const ModelTable& table,
                            const std::string& name) {
  const auto text = ValueFor(flags.classes, name);
  if (!text.ok()) return text.status().Annotate("--class");
  const bool cpu = !table.by_cores.empty(), gpu = !table.by_gpu.empty();
  if (text->empty())
    return cpu && gpu ? DeviceClass::kAuto : gpu ? DeviceClass::kGpu : DeviceClass::kCpu;
  const std::map<std::string, DeviceClass> classes = {
      {"cpu", DeviceClass::kCpu}, {"gpu", DeviceClass::kGpu}, {"auto", DeviceClass::kAuto}};
  const auto found = classes.find(*text);
  if (found == classes.end())
    return InvalidArgument("--class {}: expected cpu, gpu or auto, got {}", name, Excerpt(*text));
  if (found->second != DeviceClass::kCpu && !gpu)
    return NotFound("--class {}: its table has no rows of an accelerator", name);
  return found->second;
}

const GpuKey& Fastest(const ModelTable& table, Duration objective) {
  const GpuKey* best = nullptr;
  double most = -1;
  for (const auto& [key, service] : table.by_gpu) {
    double rows_s = 0;
    for (const auto& point : service.curve().points()) {
      const double s = point.mean_ns * 1e-9;
      if (s <= Seconds(objective) / 4) rows_s = std::max(rows_s, point.rows / s);
    }
    if (rows_s <= most) continue;  // no more for more of the device
    most = rows_s;
    best = &key;
  }
  return *best;
}

std::string Names(const ModelTable& table) {
  std::string names;
  for (const auto& [key, service] : table.by_gpu)
    names += (names.empty() ? "" : ", ") + FormatDeviceSize({key.cores, key.memory_bytes});
  return names;
}

DeviceSize SizeOf(const sim::SimModel& model) {
  return {model.device_share.cores, model.device_share.memory_bytes};
}

}  // namespace

Status SetClass(const SimulateFlags& flags, const ModelTable& table, sim::SimModel* model) {
  const auto device = ClassOf(flags, table, model->name);
  if (!device.ok()) return device.status();
  model->device = *device;
  const auto shape = ValueFor(flags.gpu_shapes, model->name);
  if (!shape.ok()) return shape.status().Annotate("--gpu");
  const auto count = ValueFor(flags.gpu_instances, model->name);
  if (!count.ok()) return count.status().Annotate("--gpu-instances");
  if (model->device == DeviceClass::kCpu) {
    if (shape->empty() && count->empty()) return Status::Ok();
    return InvalidArgument("{} is of class cpu: it has no instances on an accelerator",
                           model->name);
  }
  int most = 64;
  if (shape->empty()) {
    model->device_share = flags.policy == "method"
                              ? GpuShapeByMethod(table, model->objective, &most)
                              : Fastest(table, model->objective);
  } else {
    const auto size = ParseDeviceSize(*shape);
    if (!size.ok()) return size.status().Annotate(fmt::format("--gpu {}", model->name));
    model->device_share = {size->cores, size->memory_bytes};
    if (!table.by_gpu.contains(model->device_share))
      return NotFound("--gpu {}: its table has no rows for {}, only for {}", model->name, *shape,
                      Names(table));
  }
  model->device_service = table.by_gpu.at(model->device_share);
  model->device_max_batch = std::min(most, model->device_service.largest_batch());
  if (count->empty()) return Status::Ok();
  const auto number = ParseInt(*count, 1, 1024);
  if (!number.ok()) return number.status().Annotate(fmt::format("--gpu-instances {}", model->name));
  model->device_instances = static_cast<int>(*number);
  return Status::Ok();
}

Status CheckDevice(const SimulateFlags& flags, const std::vector<sim::SimModel>& models) {
  if (flags.device.empty()) return Status::Ok();
  const auto whole = ParseDeviceSize(flags.device);
  if (!whole.ok()) return whole.status().Annotate("--device");
  DeviceShares shares("--device", *whole);
  std::vector<DeviceShare> held;
  for (const sim::SimModel& model : models) {
    for (int i = 0; model.device != DeviceClass::kCpu && i < model.device_instances; ++i) {
      auto share = shares.Take(SizeOf(model));
      if (!share.ok())
        return InvalidArgument("{}: instance {}: {}", model.name, i, share.status().message());
      held.push_back(std::move(*share));
    }
  }
  return Status::Ok();
}

}  // namespace evenkeel
