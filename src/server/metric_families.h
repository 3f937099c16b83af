// Families of Prometheus metrics, put together at scrape time.
// Thread-safety: thread-compatible.
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/histogram.h"

namespace evenkeel {

using MetricLabels = std::vector<prometheus::ClientMetric::Label>;

class MetricFamilies {
 public:
  prometheus::MetricFamily& Add(std::string name, std::string help, prometheus::MetricType type) {
    families_.push_back({std::move(name), std::move(help), type, {}});
    return families_.back();
  }

  static void Value(prometheus::MetricFamily& family, MetricLabels labels, double value) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    (family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        value;
    family.metric.push_back(std::move(metric));
  }

  static void Value(prometheus::MetricFamily& family, MetricLabels labels,
                    const Histogram& histogram) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram.sample_count = histogram.total();
    metric.histogram.sample_sum = histogram.sum();
    uint64_t below = 0;
    for (size_t i = 0; i < histogram.counts().size(); ++i) {
      below += histogram.counts()[i];
      const double bound = i < histogram.bounds().size() ? histogram.bounds()[i]
                                                         : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({below, bound});
    }
    family.metric.push_back(std::move(metric));
  }

  std::string Render() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace evenkeel
