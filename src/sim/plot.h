// Small SVG plots: lines and bars over two axes.
//
// Contract: points need not be finite; those that are not are left out. An empty plot shows its axes. Text is escaped.
// Units: the caller's. Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::sim {

struct Curve {
  std::string label;
  std::vector<std::pair<double, double>> points;  // x ascending
  bool dashed = false;
  int colour = 0;  // index into a palette of eight
};

struct Plot {
  std::string title, x_label, y_label;
  bool log_x = false;
  bool bars = false;  // each point is a bar from 0, else curves are lines
  double mark_x = 0;  // a vertical line, e.g. an objective; 0: none
  double y_max = 0;   // 0: from the points
  std::vector<Curve> curves;
};

std::string Svg(const Plot& plot);
std::string EscapeHtml(std::string_view text);

}  // namespace evenkeel::sim
