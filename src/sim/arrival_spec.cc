#include "sim/arrival_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel::sim {
namespace {

constexpr std::string_view kKinds[] = {"poisson", "constant", "gamma",  "steps",
                                       "trace",   "counts",   "clients"};
constexpr std::string_view kFileKinds[] = {"trace", "counts", "clients"};

// Cuts `text` at the first `separator` and returns what stood before it.
std::string_view Cut(std::string_view* text, char separator) {
  const size_t end = std::min(text->find(separator), text->size());
  const std::string_view part = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return part;
}

Result<double> Number(std::string_view text, double low) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < low || value > 1e12)
    return InvalidArgument("expected a number of at least {}, got {}", low, Excerpt(text));
  return value;
}

Status SetKey(std::string_view key, std::string_view value, ArrivalSpec* spec) {
  const bool file = std::ranges::find(kFileKinds, spec->kind) != std::end(kFileKinds);
  if (key == "bin" && spec->kind == "counts") {
    const auto bin = ParseDuration(value);
    if (!bin.ok()) return bin.status();
    if (*bin <= Duration::zero()) return InvalidArgument("expected more than 0");
    spec->bin = *bin;
    return Status::Ok();
  }
  std::optional<double>* into = key == "cv" && spec->kind == "gamma" ? &spec->cv
                                : key == "rate" && file              ? &spec->rate
                                : key == "speed" && file             ? &spec->speed
                                                                     : nullptr;
  if (into == nullptr) return InvalidArgument("no such key for '{}'", spec->kind);
  if (*into) return InvalidArgument("given twice");
  const auto number = PositiveNumber(value);
  if (!number.ok()) return number.status();
  *into = *number;
  return Status::Ok();
}

}  // namespace

Result<double> PositiveNumber(std::string_view text) { return Number(text, 1e-9); }

Result<ArrivalSpec> ParseArrivalSpec(std::string_view text) {
  ArrivalSpec spec;
  if (text.find(':') != std::string_view::npos) spec.kind = Cut(&text, ':');
  if (std::ranges::find(kKinds, spec.kind) == std::end(kKinds)) {
    return InvalidArgument("expected KIND:... with a kind of {}, got {}", fmt::join(kKinds, ", "),
                           Excerpt(spec.kind.empty() ? text : std::string_view(spec.kind)));
  }
  spec.argument = Cut(&text, ',');
  if (spec.argument.empty()) return InvalidArgument("{}: expected something after ':'", spec.kind);
  while (!text.empty()) {
    std::string_view value = Cut(&text, ',');
    const std::string_view key = Cut(&value, '=');
    const Status status = SetKey(key, value, &spec);
    if (!status.ok()) return status.Annotate(fmt::format("'{}'", key));
  }
  if (spec.kind == "trace" && spec.rate && spec.speed)
    return InvalidArgument("a trace takes rate or speed, not both");
  return spec;
}

double MeanRate(const std::vector<RateSpan>& spans) {
  double requests = 0, seconds = 0;
  for (const RateSpan& span : spans) {
    requests += span.rate_rps * span.seconds;
    seconds += span.seconds;
  }
  return seconds > 0 ? requests / seconds : 0;
}

Result<std::vector<RateSpan>> ParseSteps(std::string_view text) {
  std::vector<RateSpan> spans;
  while (!text.empty()) {
    std::string_view step = Cut(&text, '/');
    const auto rate = Number(Cut(&step, '@'), 0);
    if (!rate.ok()) return rate.status().Annotate("steps: rate");
    const auto seconds = PositiveNumber(step);
    if (!seconds.ok()) return seconds.status().Annotate("steps: seconds (RATE@SECONDS/...)");
    spans.push_back({*rate, *seconds});
  }
  if (MeanRate(spans) <= 0) return InvalidArgument("steps: no step has a rate above 0");
  return spans;
}

}  // namespace evenkeel::sim
