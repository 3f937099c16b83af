#include "sim/arrival_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "core/format.h"

namespace evenkeel::sim {
namespace {

constexpr size_t kMaxLines = 100'000'000;
constexpr double kDefaultWindow = 600;

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.back() == '\r' || s.back() == ' ' || s.back() == '\t'))
    s.remove_suffix(1);
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  return s;
}

std::vector<std::string_view> Fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t end = std::min(line.find(','), line.size());
    fields.push_back(Trim(line.substr(0, end)));
    if (end == line.size()) return fields;
    line.remove_prefix(end + 1);
  }
}

bool IsNumber(std::string_view field, double* value) {
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), *value);
  return error == std::errc() && end == field.data() + field.size();
}

// A table of numbers: the names of the columns (empty: none were given) and a callback a line.
class Reader {
 public:
  Reader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  // `row` gets the fields of each line of data.
  Status ForEach(const std::function<Status(const std::vector<std::string_view>&)>& row) {
    bool first = true;
    for (size_t number = 1; !text_.empty(); ++number) {
      if (number > kMaxLines) return InvalidArgument("{}: more than {} lines", name_, kMaxLines);
      const size_t end = std::min(text_.find('\n'), text_.size());
      const std::string_view line = Trim(text_.substr(0, end));
      text_.remove_prefix(std::min(end + 1, text_.size()));
      if (line.empty() || line.front() == '#') continue;
      const auto fields = Fields(line);
      double value = 0;
      if (std::exchange(first, false) && !IsNumber(fields.front(), &value)) {
        columns_.assign(fields.begin(), fields.end());
        continue;
      }
      const Status status = row(fields);
      if (!status.ok()) return status.Annotate(fmt::format("{}:{}", name_, number));
    }
    return Status::Ok();
  }

  // Index of a named column, or `otherwise` when columns have no names; kNone: it is not there.
  static constexpr size_t kNone = SIZE_MAX;
  size_t Column(std::string_view column, size_t otherwise) const {
    if (columns_.empty()) return otherwise;
    const auto at = std::ranges::find(columns_, column);
    return at == columns_.end() ? kNone : static_cast<size_t>(at - columns_.begin());
  }

 private:
  std::string_view text_, name_;
  std::vector<std::string> columns_;
};

Result<double> NumberAt(const std::vector<std::string_view>& fields, size_t index) {
  double value = 0;
  if (index >= fields.size())
    return InvalidArgument("expected {} columns or more, got {}", index + 1, fields.size());
  if (!IsNumber(fields[index], &value) || !std::isfinite(value))
    return InvalidArgument("expected a number, got '{}'", fields[index].substr(0, 64));
  if (value < 0) return InvalidArgument("expected 0 or more, got {}", fields[index]);
  return value;
}

}  // namespace

Result<std::vector<double>> ParseTimes(std::string_view text, std::string_view name) {
  std::vector<double> times;
  Reader reader(text, name);
  const Status status = reader.ForEach([&](const auto& fields) -> Status {
    const size_t column = reader.Column("t_s", 0);
    if (column == Reader::kNone) return InvalidArgument("the columns have no 't_s'");
    const auto time = NumberAt(fields, column);
    if (!time.ok()) return time.status();
    if (!times.empty() && *time < times.back())
      return InvalidArgument("{} comes after {}: times must ascend", *time, times.back());
    times.push_back(*time);
    return Status::Ok();
  });
  if (!status.ok()) return status;
  if (times.empty()) return InvalidArgument("{}: no arrivals", name);
  const double first = times.front();
  for (double& time : times) time -= first;
  return times;
}

Result<std::vector<RateSpan>> ParseCounts(std::string_view text, std::string_view name,
                                          double bin_seconds) {
  std::vector<RateSpan> spans;
  Reader reader(text, name);
  const Status status = reader.ForEach([&](const auto& fields) -> Status {
    const auto count = NumberAt(fields, fields.size() - 1);
    if (!count.ok()) return count.status();
    spans.push_back({*count / bin_seconds, bin_seconds});
    return Status::Ok();
  });
  if (!status.ok()) return status;
  if (MeanRate(spans) <= 0) return InvalidArgument("{}: no arrivals", name);
  return spans;
}

double MeanRate(const std::vector<ClientWindow>& windows) {
  double requests = 0;
  for (const ClientWindow& w : windows) requests += w.rate_rps * w.seconds;
  const double seconds = windows.empty() ? 0 : windows.back().start_s + windows.back().seconds;
  return seconds > 0 ? requests / seconds : 0;
}

Result<std::vector<ClientWindow>> ParseClients(std::string_view text, std::string_view name,
                                               double speed) {
  std::vector<ClientWindow> windows;
  double least = 0;
  Reader reader(text, name);
  const Status status = reader.ForEach([&](const auto& fields) -> Status {
    const size_t columns[] = {reader.Column("t_s", 0), reader.Column("rate_rps", 2),
                              reader.Column("iat_cv", 3)};
    if (std::ranges::find(columns, Reader::kNone) != std::end(columns))
      return InvalidArgument("expected the columns t_s, rate_rps and iat_cv");
    double values[3];
    for (size_t i = 0; i < 3; ++i) {
      const auto value = NumberAt(fields, columns[i]);
      if (!value.ok()) return value.status();
      values[i] = *value;
    }
    if (!windows.empty() && values[0] < windows.back().start_s)
      return InvalidArgument("{} comes after {}: windows must ascend", values[0],
                             windows.back().start_s);
    if (!windows.empty() && values[0] > windows.back().start_s) {
      const double distance = values[0] - windows.back().start_s;
      least = least == 0 ? distance : std::min(least, distance);
    }
    if (values[1] > 0) windows.push_back({values[0], 0, values[1], values[2]});
    return Status::Ok();
  });
  if (!status.ok()) return status;
  if (windows.empty()) return InvalidArgument("{}: no arrivals", name);
  const double first = windows.front().start_s;
  for (ClientWindow& window : windows) {
    window.start_s = (window.start_s - first) / speed;
    window.seconds = (least > 0 ? least : kDefaultWindow) / speed;
  }
  return windows;
}

}  // namespace evenkeel::sim
