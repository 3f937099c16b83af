#include "profile_chart.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <tuple>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kLeft = 70, kRight = 16, kTop = 34, kBottom = 44;
// Colours that are told apart with any kind of colour vision (Okabe and Ito).
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#000000", "#b0a000"};

using Value = std::function<double(const LoadRow&)>;

struct Point {
  int batch;
  double value;
  bool implied;
};

struct Line {
  std::string name;
  size_t colour = 0;  // the same for shapes that differ in memory alone
  bool thin = false;
  std::vector<Point> points;
};

// A chosen row, and how it is drawn.
struct Mark {
  std::string_view css;  // class
  const LoadRow* row;
};

// A line for each number of cores and precision. Of shapes that differ in memory alone the curve of least memory that works is drawn as
// one, row by row; what was measured with more memory as well is drawn thin, so that it can be seen whether memory matters.
std::vector<Line> LinesOf(const LoadRows& rows, const Value& value) {
  std::map<std::tuple<int, int, Precision>, std::map<CellShape, std::map<int, const LoadRow*>>>
      columns;
  for (const LoadRow& row : rows) {
    if (row.outcome != CellOutcome::kOk) continue;
    const CellShape& shape = row.cell.shape;
    columns[{shape.milli_cores, shape.gpu_cores, row.cell.precision}][shape][row.cell.batch] = &row;
  }
  std::vector<Line> lines, thin;
  for (const auto& [column, shapes] : columns) {  // memory ascends
    const auto [milli_cores, gpu_cores, precision] = column;
    std::map<int, const LoadRow*> least;
    Line line{.name = fmt::format("{:g} {}", milli_cores / 1000.0,
                                  milli_cores == 1000 ? "core" : "cores"),
              .colour = lines.size(),
              .points = {}};
    if (gpu_cores > 0) line.name += fmt::format(", {} GPU cores", gpu_cores);
    if (precision == Precision::kBf16) line.name += ", bf16";
    for (const auto& [shape, by_batch] : shapes) {
      Line more{.name = ShapeText(shape), .colour = lines.size(), .thin = true, .points = {}};
      for (const auto& [batch, row] : by_batch) {
        if (!least.emplace(batch, row).second && !row->implied)
          more.points.push_back({batch, value(*row), false});
      }
      if (!more.points.empty()) thin.push_back(std::move(more));
    }
    for (const auto& [batch, row] : least)
      line.points.push_back({batch, value(*row), row->implied});
    lines.push_back(std::move(line));
  }
  thin.insert(thin.end(), lines.begin(), lines.end());  // thick ones on top
  return thin;
}

// Powers of ten around lo to hi, with 2 and 5 between where few fit; steps of one size where those would be fewer than three.
std::vector<double> Ticks(double lo, double hi) {
  std::vector<double> ticks;
  const bool dense = hi / lo < 300;
  for (int exponent = static_cast<int>(std::floor(std::log10(lo))); std::pow(10, exponent) <= hi;
       ++exponent) {
    for (const double m : {1.0, 2.0, 5.0}) {
      const double tick = m * std::pow(10, exponent);
      if ((m == 1 || dense) && tick >= lo * 0.999 && tick <= hi * 1.001) ticks.push_back(tick);
    }
  }
  if (ticks.size() >= 3) return ticks;
  ticks.clear();
  double step = std::pow(10, std::floor(std::log10((hi - lo) / 3)));
  while ((hi - lo) / step > 6) step *= (hi - lo) / step > 12 ? 5 : 2;
  for (double n = std::ceil(lo / step); n * step <= hi; ++n) ticks.push_back(n * step);
  return ticks;
}

// A chart with logarithmic axes; batch sizes along x.
class Chart {
 public:
  Chart(std::string_view title, std::string_view unit, const std::vector<Line>& lines, double mark)
      : lines_(lines), mark_(mark) {
    for (const Line& line : lines) {
      for (const Point& point : line.points) {
        x_hi_ = std::max(x_hi_, static_cast<double>(point.batch));
        lo_ = std::min(lo_, point.value);
        hi_ = std::max(hi_, point.value);
      }
    }
    if (mark > 0) {
      lo_ = std::min(lo_, mark);
      hi_ = std::max(hi_, mark);
    }
    lo_ *= 0.8;
    hi_ *= 1.25;
    svg_ = fmt::format(
        "<text class=\"title\" x=\"{}\" y=\"18\">{} <tspan class=\"unit\">{}</tspan></text>\n",
        kLeft, Escaped(title), Escaped(unit));
  }

  std::string Draw(const std::vector<Mark>& marks, const Value& value) {
    if (hi_ <= lo_) return svg_ + "<text class=\"unit\" x=\"80\" y=\"80\">no rows</text>\n";
    Axes();
    for (const Line& line : lines_) Curve(line);
    if (mark_ > 0) {
      svg_ += fmt::format(
          "<line class=\"mark\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"tick at\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n",
          kLeft, kChartWidth - kRight, Y(mark_), Y(mark_), kLeft - 6, Y(mark_) + 4, mark_);
    }
    for (const Mark& one : marks) {
      svg_ += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n", one.css,
                          X(one.row->cell.batch), Y(value(*one.row)), one.css == "chosen" ? 8 : 12);
    }
    return svg_;
  }

 private:
  double X(double batch) const {
    const double share = x_hi_ > 1 ? std::log(batch) / std::log(x_hi_) : 0.5;
    return kLeft + share * (kChartWidth - kLeft - kRight);
  }
  double Y(double value) const {
    const double share = std::log(value / lo_) / std::log(hi_ / lo_);
    return kChartHeight - kBottom - share * (kChartHeight - kTop - kBottom);
  }

  void Axes() {
    for (const double tick : Ticks(lo_, hi_)) {
      if (mark_ > 0 && std::abs(Y(tick) - Y(mark_)) < 12)
        continue;  // the mark has a figure of its own
      svg_ += fmt::format(
          "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n",
          kLeft, kChartWidth - kRight, Y(tick), Y(tick), kLeft - 6, Y(tick) + 4, tick);
    }
    std::map<int, bool> batches;
    for (const Line& line : lines_) {
      for (const Point& point : line.points) batches[point.batch] = true;
    }
    constexpr double kFigureWidth = 24;
    double last = -kFigureWidth;
    for (const auto& [batch, used] : batches) {
      if (X(batch) - last < kFigureWidth) continue;
      last = X(batch);
      svg_ += fmt::format(
          "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
          X(batch), kChartHeight - kBottom + 18, batch);
    }
    svg_ += fmt::format(
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">batch size</text>\n",
        (kLeft + kChartWidth - kRight) / 2, kChartHeight - 8);
  }

  void Curve(const Line& line) {
    const char* colour = kColours[line.colour % std::size(kColours)];
    std::string path;
    for (const Point& point : line.points) {
      path +=
          fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : " L", X(point.batch), Y(point.value));
    }
    svg_ += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" {}><title>{}</title></path>\n",
                        path, colour,
                        line.thin ? "stroke-width=\"1\" opacity=\"0.35\"" : "stroke-width=\"2\"",
                        Escaped(line.name));
    if (line.thin) return;
    for (const Point& point : line.points) {
      svg_ += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\" stroke=\"{}\">"
          "<title>{}, batch {}: {:.4g}{}</title></circle>\n",
          X(point.batch), Y(point.value), point.implied ? "#fff" : colour, colour,
          Escaped(line.name), point.batch, point.value, point.implied ? " (implied)" : "");
    }
  }

  const std::vector<Line>& lines_;
  const double mark_;
  double x_hi_ = 1, lo_ = 1e300, hi_ = 0;
  std::string svg_;
};

std::vector<LegendEntry> LegendOf(const LoadRows& rows, const std::vector<Mark>& marks,
                                  double threshold) {
  using Sign = LegendEntry::Sign;
  std::vector<LegendEntry> legend;
  bool thin = false;
  for (const Line& line : LinesOf(rows, [](const LoadRow& row) { return row.batch_us; })) {
    thin = thin || line.thin;
    if (!line.thin)
      legend.push_back({Sign::kLine, line.name, kColours[line.colour % std::size(kColours)]});
  }
  if (thin) legend.push_back({Sign::kThinLine, "with more memory", ""});
  const auto marked = [&](std::string_view css) {
    return std::ranges::any_of(marks, [&](const Mark& one) { return one.css == css; });
  };
  if (marked("chosen")) legend.push_back({Sign::kObjective, "chosen (objective)", ""});
  if (marked("method")) legend.push_back({Sign::kMethod, "chosen (method)", ""});
  legend.push_back({Sign::kThreshold, fmt::format("threshold {:g}", threshold), ""});
  return legend;
}

std::vector<Mark> MarksOf(const ProfileReport& report) {
  std::vector<Mark> marks;
  for (const NamedChoice& named : report.choices) {
    if (!named.choice.row) continue;
    marks.push_back({named.rule.starts_with("method") ? "method" : "chosen",
                     &report.table.rows[*named.choice.row]});
  }
  return marks;
}

std::vector<DrawnChart> ChartsOf(const LoadRows& rows, const std::vector<Mark>& marks,
                                 double threshold) {
  struct Drawing {
    const char *title, *unit;
    double mark;  // a level that is drawn across; 0: none
    Value value;
  };
  const Drawing drawings[] = {
      {"Throughput", "items a second", 0, [](const LoadRow& row) { return row.items_per_s(); }},
      {"Batchtime", "ms, mean", 0, [](const LoadRow& row) { return row.batch_us / 1e3; }},
      {"Batchtime", "ms, 99th percentile", 0, [](const LoadRow& row) { return row.p99_us / 1e3; }},
      {"Batchtime / NoBatchtime", "", threshold, [](const LoadRow& row) { return row.ratio(); }},
  };
  std::vector<DrawnChart> charts;
  for (const Drawing& one : drawings) {
    const std::vector<Line> lines = LinesOf(rows, one.value);
    charts.push_back(
        {one.title, Chart(one.title, one.unit, lines, one.mark).Draw(marks, one.value)});
  }
  return charts;
}

}  // namespace

const char* const kChartStyle =
    ".title{font-size:15px;font-weight:600}.unit{font-weight:400;fill:#666;font-size:12px}"
    ".tick{font-size:11px;fill:#555}.grid{stroke:#e4e4e4}.mark{stroke:#c00;stroke-dasharray:5 4}"
    ".chosen{fill:none;stroke:#c00;stroke-width:2.5}.tick.at{fill:#c00}"
    ".method{fill:none;stroke:#555;stroke-width:1.5;stroke-dasharray:3 3}";

PlotContent ContentOf(const ProfileReport& report, double threshold) {
  const TableKey& key = report.table.key;
  const size_t run = report.run_now + report.run_before;
  PlotContent content;
  content.model = key.model;
  content.facts = {key.machine, fmt::format("{}; inputs from the {}; {} of {} cells run{}.",
                                            key.setup, report.table.inputs, run, report.cells,
                                            run < report.cells ? ", the others implied" : "")};
  for (const NamedChoice& named : report.choices) {
    content.choices.push_back(
        {named.rule, fmt::format("({}): {}. {}", named.asked, ChosenText(report, named.choice),
                                 named.choice.why)});
  }
  if (report.precision) {
    content.choices.push_back(
        {"precision",
         fmt::format("{}: {}.", NameOf(report.precision->precision), report.precision->why)});
  }
  const std::vector<Mark> marks = MarksOf(report);
  content.legend = LegendOf(report.table.rows, marks, threshold);
  content.charts = ChartsOf(report.table.rows, marks, threshold);
  return content;
}

std::string Escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return safe;
}

}  // namespace evenkeel
