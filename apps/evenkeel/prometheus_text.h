// Prometheus text exposition, as far as the verbs need it: values by name and labels.
//
// Contract: lines that are no sample (comments, damage, timestamps after the value) are passed over; of samples with equal name and
//   labels the last counts. Not for: exemplars, escapes beyond \\ \" \n.
// Thread-safety: values.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace evenkeel {

using PrometheusLabels = std::map<std::string, std::string>;

class PrometheusText {
 public:
  explicit PrometheusText(std::string_view text);

  // Samples of one metric by their labels; none: empty.
  const std::map<PrometheusLabels, double>& Of(std::string_view metric) const;

 private:
  void ReadLine(std::string_view line);

  std::map<std::string, std::map<PrometheusLabels, double>, std::less<>> metrics_;
};

}  // namespace evenkeel
