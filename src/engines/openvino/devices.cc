#include "engines/openvino/devices.h"

#include <exception>
#include <openvino/openvino.hpp>
#include <openvino/runtime/intel_gpu/properties.hpp>

namespace evenkeel {
namespace {

// A property that this device or driver does not have leaves `fallback`.
template <typename T, typename Property>
T Ask(ov::Core& core, const std::string& device, const Property& property, T fallback) {
  try {
    return static_cast<T>(core.get_property(device, property));
  } catch (const std::exception&) {
    return fallback;
  }
}

}  // namespace

std::vector<EngineDevice> OpenVinoDevices() {
  std::vector<EngineDevice> devices;
  try {
    ov::Core core;
    for (const std::string& name : core.get_available_devices()) {
      if (name.starts_with("CPU")) continue;
      EngineDevice& device = devices.emplace_back();
      device.name = name;
      device.full_name = Ask<std::string>(core, name, ov::device::full_name, "");
      device.cores = Ask<int>(core, name, ov::intel_gpu::execution_units_count, 0);
      device.memory_bytes =
          static_cast<int64_t>(Ask<uint64_t>(core, name, ov::intel_gpu::device_total_mem_size, 0));
    }
  } catch (const std::exception&) {
    // No runtime, no devices.
  }
  return devices;
}

}  // namespace evenkeel
