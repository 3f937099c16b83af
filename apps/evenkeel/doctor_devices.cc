// The check of `evenkeel doctor` on accelerators: what OpenVINO sees, and whether one is emulated.
#include <chrono>

#include "core/format.h"
#include "doctor_checks.h"
#include "engines/device_list.h"
#include "figures.h"

namespace evenkeel {
namespace {

constexpr Duration kPatience = std::chrono::seconds(5);

std::string TextOf(const EngineDevice& device) {
  std::string text = device.name;
  if (!device.full_name.empty()) text += " " + device.full_name;
  if (device.cores > 0) text += fmt::format(", {} cores", device.cores);
  if (device.memory_bytes > 0) text += ", " + HumanBytes(static_cast<double>(device.memory_bytes));
  return text;
}

}  // namespace

Check CheckAccelerators(const Settings& settings, const std::string& libexec) {
  if (const auto emulated = settings.emulated_gpu("emulated_gpu")) {
    return {"accelerators", Verdict::kWarn,
            fmt::format("EMULATED, for tests only: {}", FormatEmulatedGpu(*emulated)),
            "take the setting emulated_gpu away to serve on what there is"};
  }
  const auto devices = ListDevices(libexec + "/evenkeel-worker-openvino", kPatience);
  if (!devices.ok())
    return {"accelerators", Verdict::kWarn, devices.status().message(),
            "see the check 'engine openvino'"};
  if (devices->empty())
    return {"accelerators", Verdict::kPass, "OpenVINO sees the CPU only: class gpu is refused", {}};
  std::string text;
  for (const EngineDevice& device : *devices) text += (text.empty() ? "" : "; ") + TextOf(device);
  return {"accelerators", Verdict::kPass, text, {}};
}

}  // namespace evenkeel
