#include "core/parse.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>

#include "core/format.h"

namespace evenkeel {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

// Largest first: Format*() takes the first that divides.
constexpr std::array<Unit, 6> kTimeUnits = {{{"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"ns", 1}}};
constexpr std::array<Unit, 5> kBinaryUnits = {{{"TiB", int64_t{1} << 40},
                                               {"GiB", int64_t{1} << 30},
                                               {"MiB", int64_t{1} << 20},
                                               {"KiB", int64_t{1} << 10},
                                               {"B", 1}}};
constexpr std::array<Unit, 5> kDecimalUnits = {{{"TB", 1'000'000'000'000},
                                                {"GB", 1'000'000'000},
                                                {"MB", 1'000'000},
                                                {"kB", 1'000},
                                                {"KB", 1'000}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

enum class Scaled : uint8_t { kOk, kMalformed, kTooLarge, kNotWhole };

// `number` ("12", "1.5") times `factor`, exactly: floating point would turn 0.1s into 99999999 ns.
Scaled Scale(std::string_view number, int64_t factor, int64_t* out) {
  const size_t dot = number.find('.');
  const std::string_view whole = number.substr(0, dot);
  std::string_view fraction = dot == std::string_view::npos ? "" : number.substr(dot + 1);
  if (whole.empty() || (dot != std::string_view::npos && fraction.empty()))
    return Scaled::kMalformed;
  if (!std::ranges::all_of(whole, IsDigit) || !std::ranges::all_of(fraction, IsDigit)) {
    return Scaled::kMalformed;
  }
  int64_t value = 0;
  for (char c : whole) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, c - '0', &value)) {
      return Scaled::kTooLarge;
    }
  }
  if (__builtin_mul_overflow(value, factor, &value)) return Scaled::kTooLarge;

  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  int64_t rest = factor;  // what one unit of the digit to the left is worth; factors have few
                          // powers of ten or two
  int64_t digits = 0;
  int64_t scale = 1;
  for (char c : fraction) {
    if (scale > std::numeric_limits<int64_t>::max() / 100) return Scaled::kNotWhole;
    digits = digits * 10 + (c - '0');
    scale *= 10;
  }
  const int64_t common = std::gcd(rest, scale);
  rest /= common;
  scale /= common;
  if (digits % scale != 0) return Scaled::kNotWhole;
  int64_t part = 0;
  if (__builtin_mul_overflow(digits / scale, rest, &part) ||
      __builtin_add_overflow(value, part, &value)) {
    return Scaled::kTooLarge;
  }
  *out = value;
  return Scaled::kOk;
}

template <size_t N>
std::optional<int64_t> FactorOf(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

template <size_t N>
std::string FormatScaled(const std::array<Unit, N>& units, int64_t value) {
  for (const Unit& unit : units) {
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  }
  return {};
}

Result<int64_t> Finish(Scaled outcome, int64_t value, std::string_view text, std::string_view what,
                       std::string_view smallest) {
  switch (outcome) {
    case Scaled::kOk: return value;
    case Scaled::kTooLarge: return InvalidArgument("{} {} is too large", what, Excerpt(text));
    case Scaled::kNotWhole:
      return InvalidArgument("{} {} is not a whole number of {}", what, Excerpt(text), smallest);
    case Scaled::kMalformed: break;
  }
  return InvalidArgument("expected a {}, got {}", what, Excerpt(text));
}

std::pair<std::string_view, std::string_view> SplitUnit(std::string_view text) {
  const auto at = std::ranges::find_if_not(text, [](char c) { return IsDigit(c) || c == '.'; });
  const auto length = static_cast<size_t>(at - text.begin());
  return {text.substr(0, length), text.substr(length)};
}

}  // namespace

Result<int64_t> ParseInt(std::string_view text, int64_t lo, int64_t hi) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool malformed =
      text.empty() || error == std::errc::invalid_argument || end != text.data() + text.size();
  if (malformed) {
    return InvalidArgument("expected a whole number from {} to {}, got {}", lo, hi, Excerpt(text));
  }
  if (error == std::errc::result_out_of_range || value < lo || value > hi) {
    return InvalidArgument("expected a number from {} to {}, got {}", lo, hi, Excerpt(text));
  }
  return value;
}

Result<double> ParseNumber(std::string_view text, double lo, double hi) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  // Words ("inf", "nan") and signs are none.
  const bool digit = !text.empty() && text.front() >= '0' && text.front() <= '9';
  if (whole && digit && value >= lo && value <= hi) return value;
  return InvalidArgument("expected a number from {} to {}, got {}", lo, hi, Excerpt(text));
}

Result<Duration> ParseDuration(std::string_view text) {
  constexpr std::string_view kWhat = "duration such as '2ms', '500us' or '1.5s'";
  const auto [number, unit] = SplitUnit(text);
  std::optional<int64_t> factor = FactorOf(kTimeUnits, unit);
  if (unit == "\xc2\xb5s" || unit == "\xce\xbcs") factor = 1'000;  // micro sign, Greek mu
  if (unit.empty() && number == "0") factor = 1;
  int64_t ns = 0;
  const Scaled outcome = factor ? Scale(number, *factor, &ns) : Scaled::kMalformed;
  const Result<int64_t> result =
      Finish(outcome, ns, text, outcome == Scaled::kMalformed ? kWhat : "duration", "nanoseconds");
  if (!result.ok()) return result.status();
  return Duration(*result);
}

std::string FormatDuration(Duration d) {
  return d.count() == 0 ? "0s" : FormatScaled(kTimeUnits, d.count());
}

Result<int64_t> ParseBytes(std::string_view text) {
  constexpr std::string_view kWhat = "size such as '256MiB', '64KiB' or '1000000'";
  const auto [number, unit] = SplitUnit(text);
  std::optional<int64_t> factor = unit.empty() ? 1 : FactorOf(kBinaryUnits, unit);
  if (!factor) factor = FactorOf(kDecimalUnits, unit);
  int64_t bytes = 0;
  const Scaled outcome = factor ? Scale(number, *factor, &bytes) : Scaled::kMalformed;
  return Finish(outcome, bytes, text, outcome == Scaled::kMalformed ? kWhat : "size", "bytes");
}

std::string FormatBytes(int64_t bytes) {
  return bytes == 0 ? "0B" : FormatScaled(kBinaryUnits, bytes);
}

bool IsUtf8(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = byte(i);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || text.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    }
    if (lead == 0xe0 && byte(i + 1) < 0xa0) return false;  // overlong
    if (lead == 0xed && byte(i + 1) > 0x9f) return false;  // surrogate
    if (lead == 0xf0 && byte(i + 1) < 0x90) return false;  // overlong
    if (lead == 0xf4 && byte(i + 1) > 0x8f) return false;  // past U+10FFFF
    i += length;
  }
  return true;
}

std::string Excerpt(std::string_view text, size_t limit) {
  std::string out = "'";
  for (char c : text.substr(0, limit)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  return out + (text.size() > limit ? "...'" : "'");
}

}  // namespace evenkeel
