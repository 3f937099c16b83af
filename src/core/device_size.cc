#include "core/device_size.h"

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

Result<DeviceSize> ParseDeviceSize(std::string_view text) {
  const size_t slash = text.find("c/");
  if (slash == std::string_view::npos)
    return InvalidArgument("expected CORESc/MEMORY, as in 16c/4GiB, got {}", Excerpt(text));
  const auto cores = ParseInt(text.substr(0, slash), 1, kMaxDeviceCores);
  if (!cores.ok()) return cores.status().Annotate("cores");
  const auto memory = ParseBytes(text.substr(slash + 2));
  if (!memory.ok()) return memory.status().Annotate("memory");
  if (*memory < kMinDeviceMemory || *memory > kMaxDeviceMemory) {
    return InvalidArgument("memory: expected {} to {}, got {}", FormatBytes(kMinDeviceMemory),
                           FormatBytes(kMaxDeviceMemory), Excerpt(text.substr(slash + 2)));
  }
  return DeviceSize{static_cast<int>(*cores), *memory};
}

std::string FormatDeviceSize(const DeviceSize& size) {
  return fmt::format("{}c/{}", size.cores, FormatBytes(size.memory_bytes));
}

}  // namespace evenkeel
