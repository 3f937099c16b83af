#include "core/emulated_gpu.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr std::string_view kExample = "16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB";

// Takes what stands before the next comma off the front.
std::string_view NextPart(std::string_view* rest) {
  const size_t comma = rest->find(',');
  const std::string_view part = rest->substr(0, comma);
  *rest = comma == std::string_view::npos ? std::string_view{} : rest->substr(comma + 1);
  return part;
}

Status ReadTime(std::string_view text, Duration* out) {
  const auto value = ParseDuration(text);
  if (!value.ok()) return value.status();
  if (*value > std::chrono::hours(1))
    return InvalidArgument("expected at most 1h, got {}", Excerpt(text));
  *out = *value;
  return Status::Ok();
}

Status ReadBytes(std::string_view text, int64_t* out) {
  const auto value = ParseBytes(text);
  if (!value.ok()) return value.status();
  if (*value > kMaxDeviceMemory)
    return InvalidArgument("expected at most {}, got {}", FormatBytes(kMaxDeviceMemory),
                           Excerpt(text));
  *out = *value;
  return Status::Ok();
}

Status ReadShare(std::string_view text, double* out) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0 && value <= 1))
    return InvalidArgument("expected a number of 0 to 1, got {}", Excerpt(text));
  *out = value;
  return Status::Ok();
}

Status ReadField(std::string_view key, std::string_view text, EmulatedGpu* gpu) {
  if (key == "a") return ReadTime(text, &gpu->a);
  if (key == "c") return ReadTime(text, &gpu->c);
  if (key == "m0") return ReadBytes(text, &gpu->m0_bytes);
  if (key == "m1") return ReadBytes(text, &gpu->m1_bytes);
  if (key == "serial") return ReadShare(text, &gpu->serial);
  if (key == "host") {
    const auto cores = ParseInt(text, 0, 1);
    if (!cores.ok()) return cores.status();
    gpu->host_cores = static_cast<int>(*cores);
    return Status::Ok();
  }
  return InvalidArgument("expected one of a, c, m0, m1, serial, host");
}

}  // namespace

Result<EmulatedGpu> ParseEmulatedGpu(std::string_view text) {
  EmulatedGpu gpu;
  std::string_view rest = text;
  const auto size = ParseDeviceSize(NextPart(&rest));
  if (!size.ok()) return size.status();
  gpu.size = *size;
  std::set<std::string_view> seen;
  while (!rest.empty()) {
    const std::string_view part = NextPart(&rest);
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    if (equals == std::string_view::npos)
      return InvalidArgument("expected KEY=VALUE, as in {}, got {}", kExample, Excerpt(part));
    if (!seen.insert(key).second) return InvalidArgument("{} is given twice", Excerpt(key));
    EK_RETURN_IF_ERROR(ReadField(key, part.substr(equals + 1), &gpu).Annotate(Excerpt(key)));
  }
  if (text.ends_with(',')) return InvalidArgument("expected nothing after {}", Excerpt(text));
  if (gpu.a + gpu.c <= Duration::zero())
    return InvalidArgument("expected a or c of more than 0, as in {}", kExample);
  return gpu;
}

std::string FormatEmulatedGpu(const EmulatedGpu& gpu) {
  return fmt::format("{},a={},c={},m0={},m1={},serial={},host={}", FormatDeviceSize(gpu.size),
                     FormatDuration(gpu.a), FormatDuration(gpu.c), FormatBytes(gpu.m0_bytes),
                     FormatBytes(gpu.m1_bytes), gpu.serial, gpu.host_cores);
}

int64_t EmulatedShare::Needs(int64_t rows) const {
  int64_t all = 0;
  if (__builtin_mul_overflow(m1_bytes, rows, &all) || __builtin_add_overflow(all, m0_bytes, &all))
    return std::numeric_limits<int64_t>::max();
  return all;
}

EmulatedShare ShareOf(const EmulatedGpu& gpu, const DeviceSize& share) {
  EK_CHECK(share.cores >= 1 && share.cores <= gpu.size.cores);
  const double slower = gpu.serial + (1 - gpu.serial) * gpu.size.cores / share.cores;
  const auto on_these = [slower](Duration d) {
    return Duration(std::llround(static_cast<double>(d.count()) * slower));
  };
  return {on_these(gpu.a), on_these(gpu.c),    gpu.m0_bytes,
          gpu.m1_bytes,    share.memory_bytes, share.cores};
}

}  // namespace evenkeel
