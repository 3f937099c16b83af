#include "prometheus_text.h"

#include <charconv>
#include <optional>

namespace evenkeel {
namespace {

std::string_view SkipBlanks(std::string_view text) {
  const size_t at = text.find_first_not_of(" \t");
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

// Takes `"..."` off the front of `rest`.
std::optional<std::string> TakeQuoted(std::string_view* rest) {
  if (!rest->starts_with('"')) return std::nullopt;
  std::string text;
  for (size_t i = 1; i < rest->size(); ++i) {
    char c = (*rest)[i];
    if (c == '"') {
      rest->remove_prefix(i + 1);
      return text;
    }
    if (c == '\\' && i + 1 < rest->size()) {
      c = (*rest)[++i];
      if (c == 'n') c = '\n';
    }
    text += c;
  }
  return std::nullopt;
}

// Takes `{name="value",...}` off the front of `rest`.
std::optional<PrometheusLabels> TakeLabels(std::string_view* rest) {
  PrometheusLabels labels;
  if (!rest->starts_with('{')) return labels;
  rest->remove_prefix(1);
  while (!rest->starts_with('}')) {
    const size_t equal = rest->find('=');
    if (equal == std::string_view::npos) return std::nullopt;
    const std::string name(SkipBlanks(rest->substr(0, equal)));
    rest->remove_prefix(equal + 1);
    auto value = TakeQuoted(rest);
    if (!value) return std::nullopt;
    labels[name] = std::move(*value);
    if (rest->starts_with(',')) rest->remove_prefix(1);
  }
  rest->remove_prefix(1);
  return labels;
}

}  // namespace

PrometheusText::PrometheusText(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    ReadLine(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
}

void PrometheusText::ReadLine(std::string_view line) {
  line = SkipBlanks(line);
  if (line.empty() || line.front() == '#') return;
  const size_t end = line.find_first_of("{ \t");
  if (end == 0 || end == std::string_view::npos) return;
  const std::string_view name = line.substr(0, end);
  std::string_view rest = line.substr(end);
  auto labels = TakeLabels(&rest);
  if (!labels) return;
  rest = SkipBlanks(rest);
  double value = 0;
  const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (read.ec != std::errc()) return;
  metrics_[std::string(name)][std::move(*labels)] = value;
}

const std::map<PrometheusLabels, double>& PrometheusText::Of(std::string_view metric) const {
  static const std::map<PrometheusLabels, double> kNone;
  const auto found = metrics_.find(metric);
  return found == metrics_.end() ? kNone : found->second;
}

}  // namespace evenkeel
