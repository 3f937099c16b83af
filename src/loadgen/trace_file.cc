#include "loadgen/trace_file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>

#include "core/format.h"

namespace evenkeel::loadgen {
namespace {

constexpr size_t kMaxTraceBytes = 4ull << 30;
constexpr size_t kMaxArrivals = 100'000'000;

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.back() == '\r' || s.back() == ' ' || s.back() == '\t'))
    s.remove_suffix(1);
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  return s;
}

bool ParseNumber(std::string_view s, double* value) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), *value);
  return error == std::errc() && end == s.data() + s.size();
}

// Field `index` of a CSV line, without its quotes; false when the line has fewer. Fields with
// doubled quotes keep them: no number has any.
bool Field(std::string_view line, size_t index, std::string_view* field) {
  size_t at = 0;
  for (size_t i = 0;; ++i) {
    size_t end = at;
    bool quoted = false;
    while (end < line.size() && (quoted || line[end] != ',')) quoted ^= line[end++] == '"';
    if (i == index) {
      *field = Trim(line.substr(at, end - at));
      if (field->size() >= 2 && field->front() == '"' && field->back() == '"')
        *field = field->substr(1, field->size() - 2);
      return true;
    }
    if (end >= line.size()) return false;
    at = end + 1;
  }
}

// A time must be one, and not before `last`: a trace out of order is more often a mistake (of column, of unit, of joining files) than
// meant, and sorting would hide it.
Status CheckTime(double value, std::string_view field, double last) {
  if (!std::isfinite(value)) return InvalidArgument("expected a finite number, got '{}'", field);
  if (value < 0) return InvalidArgument("expected 0 or more seconds, got {}", field);
  if (value < last) return InvalidArgument("{} comes after {}: times must ascend", field, last);
  return Status::Ok();
}

}  // namespace

Result<std::string> ReadFileMaybeGzip(const std::string& path, size_t max_bytes) {
  // gzread passes bytes through unchanged when the file is not gzip.
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) return NotFound("cannot open '{}': {}", path, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const int n = gzread(file.get(), buffer, sizeof buffer);
    if (n < 0) return InvalidArgument("cannot read '{}': damaged gzip data, or not a file", path);
    if (n == 0) break;
    if (text.size() + static_cast<size_t>(n) > max_bytes)
      return TooLarge("'{}' is larger than {} bytes", path, max_bytes);
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

Result<std::vector<double>> ParseTrace(std::string_view text, std::string_view name) {
  std::vector<double> times;
  size_t column = 0;
  size_t line_number = 0;
  bool first = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.empty() || line.front() == '#') continue;
    std::string_view field;
    double value = 0;
    if (std::exchange(first, false) && !(Field(line, 0, &field) && ParseNumber(field, &value))) {
      for (column = 0; Field(line, column, &field) && field != "t_s"; ++column) {
      }
      if (!Field(line, column, &field))
        return InvalidArgument("{}:{}: no column 't_s' in '{}'", name, line_number,
                               line.substr(0, 200));
      continue;
    }
    if (!Field(line, column, &field) || !ParseNumber(field, &value)) {
      return InvalidArgument("{}:{}: expected a number of seconds in column {}, got '{}'", name,
                             line_number, column + 1, line.substr(0, 80));
    }
    const Status time = CheckTime(value, field.substr(0, 80), times.empty() ? 0 : times.back());
    if (!time.ok()) return time.Annotate(fmt::format("{}:{}", name, line_number));
    if (times.size() == kMaxArrivals)
      return TooLarge("{}: more than {} arrivals", name, kMaxArrivals);
    times.push_back(value);
  }
  if (times.empty()) return InvalidArgument("{}: no arrivals", name);
  return times;
}

Result<std::vector<double>> ReadTraceFile(const std::string& path) {
  Result<std::string> text = ReadFileMaybeGzip(path, kMaxTraceBytes);
  if (!text.ok()) return text.status();
  return ParseTrace(*text, path);
}

}  // namespace evenkeel::loadgen
