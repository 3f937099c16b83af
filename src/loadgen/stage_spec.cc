#include "loadgen/stage_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "core/format.h"
#include "core/parse.h"
#include "loadgen/trace_file.h"

namespace evenkeel::loadgen {
namespace {

constexpr int64_t kMaxConcurrency = 100'000;

using Fields = std::map<std::string, std::string, std::less<>>;

Result<Fields> SplitFields(std::string_view text) {
  static constexpr std::string_view kKeys[] = {"name",  "concurrency", "rate",    "arrivals",
                                               "scale", "duration",    "requests"};
  Fields fields;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view field = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t equals = field.find('=');
    const std::string_view key = field.substr(0, equals);
    if (equals == std::string_view::npos ||
        std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys)) {
      return InvalidArgument("stage: expected KEY=VALUE with a key of {}, got '{}'",
                             fmt::join(kKeys, ", "), field);
    }
    if (!fields.emplace(key, field.substr(equals + 1)).second)
      return InvalidArgument("stage: '{}' is given twice", key);
  }
  return fields;
}

Status SetTrace(const std::string& path, double speed, bool has_rate, Stage* stage) {
  Result<std::vector<double>> times = ReadTraceFile(path);
  if (!times.ok()) return times.status();
  std::vector<double> scaled = ScaleTrace(std::move(*times), speed);
  if (has_rate) {
    const double rate_rps = MeanRate(scaled);
    if (rate_rps <= 0)
      return InvalidArgument("stage: '{}' has no two different times, so it has no rate to scale",
                             path);
    scaled = ScaleTrace(std::move(scaled), stage->rate_rps / rate_rps);
  } else {
    stage->rate_rps = std::max(MeanRate(scaled), 1e-9);
  }
  stage->trace_s = std::make_shared<const std::vector<double>>(std::move(scaled));
  return Status::Ok();
}

Status SetArrivals(const Fields& fields, Stage* stage) {
  double scale = 1;
  if (const auto it = fields.find("scale"); it != fields.end()) {
    Result<double> value = ParsePositive(it->second);
    if (!value.ok()) return value.status().Annotate("stage: scale");
    scale = *value;
  }
  const auto it = fields.find("arrivals");
  const std::string kind = it == fields.end() ? "poisson" : it->second;
  if (kind.starts_with("trace:")) {
    stage->arrivals = ArrivalKind::kTrace;
    return SetTrace(kind.substr(6), scale, fields.contains("rate"), stage);
  }
  if (kind != "poisson" && kind != "constant") {
    return InvalidArgument("stage: arrivals: expected poisson, constant or trace:FILE, got '{}'",
                           kind);
  }
  stage->arrivals = kind == "constant" ? ArrivalKind::kConstant : ArrivalKind::kPoisson;
  stage->rate_rps *= scale;
  return Status::Ok();
}

}  // namespace

Result<double> ParsePositive(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value <= 0) {
    return InvalidArgument("expected a number above 0, got '{}'", text);
  }
  return value;
}

Result<Stage> ParseStage(std::string_view text, Duration default_duration) {
  Result<Fields> split = SplitFields(text);
  if (!split.ok()) return split.status();
  const Fields& fields = *split;
  const bool trace = fields.contains("arrivals") && fields.at("arrivals").starts_with("trace:");
  if (fields.contains("concurrency") == (fields.contains("rate") || trace)) {
    return InvalidArgument("stage '{}': give either concurrency (closed loop) or rate (open loop)",
                           text);
  }
  if (fields.contains("concurrency") && (fields.contains("arrivals") || fields.contains("scale"))) {
    return InvalidArgument("stage '{}': arrivals and scale belong to an open loop", text);
  }
  Stage stage;
  if (const auto it = fields.find("name"); it != fields.end()) stage.name = it->second;
  if (const auto it = fields.find("concurrency"); it != fields.end()) {
    Result<int64_t> value = ParseInt(it->second, 1, kMaxConcurrency);
    if (!value.ok()) return value.status().Annotate("stage: concurrency");
    stage.concurrency = static_cast<int>(*value);
  }
  if (const auto it = fields.find("rate"); it != fields.end()) {
    Result<double> value = ParsePositive(it->second);
    if (!value.ok()) return value.status().Annotate("stage: rate");
    stage.rate_rps = *value;
  }
  if (stage.concurrency == 0) EK_RETURN_IF_ERROR(SetArrivals(fields, &stage));
  if (const auto it = fields.find("requests"); it != fields.end()) {
    Result<int64_t> value = ParseInt(it->second, 1, INT64_MAX);
    if (!value.ok()) return value.status().Annotate("stage: requests");
    stage.requests = static_cast<uint64_t>(*value);
  }
  if (const auto it = fields.find("duration"); it != fields.end()) {
    Result<Duration> value = ParseDuration(it->second);
    if (!value.ok()) return value.status().Annotate("stage: duration");
    if (*value <= Duration::zero()) return InvalidArgument("stage: duration: must be above 0");
    stage.duration = *value;
  } else if (stage.requests == 0 && !stage.trace_s) {
    stage.duration = default_duration;
  }
  return stage;
}

}  // namespace evenkeel::loadgen
