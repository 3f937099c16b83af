// What a load table is drawn from: its texts, its legend, and four charts as SVG (throughput, mean and 99th percentile of batchtime, the
// ratio against the threshold), by batch size, a line for each shape. How they are laid out is left to the page and the picture.
//
// Contract: texts are as they are, to be escaped by who writes them; `svg` is escaped. Thread-safety: pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "profile_print.h"

namespace evenkeel {

// Of each chart, in user units.
inline constexpr double kChartWidth = 560, kChartHeight = 300;

// CSS of what stands in DrawnChart::svg, and of the legend's marks.
extern const char* const kChartStyle;

struct LegendEntry {
  enum class Sign { kLine, kThinLine, kObjective, kMethod, kThreshold };
  Sign sign;
  std::string text;
  std::string colour;  // of kLine
};

struct DrawnChart {
  std::string title;
  std::string svg;  // elements in a space of kChartWidth x kChartHeight
};

struct PlotContent {
  struct Paragraph {
    std::string lead, text;  // the lead is to stand out
  };
  std::string model;
  std::vector<std::string> facts;  // the machine; what was measured, and with what
  std::vector<Paragraph> choices;  // a rule's answer each, in words
  std::vector<LegendEntry> legend;
  std::vector<DrawnChart> charts;
};

PlotContent ContentOf(const ProfileReport& report, double threshold);

// For text and attributes of HTML and XML. Control characters, which XML cannot hold, become spaces.
std::string Escaped(std::string_view text);

}  // namespace evenkeel
