#include "profile_plot.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kWidth = 560, kHeight = 300, kLeft = 70, kRight = 16, kTop = 34, kBottom = 44;
// Colours that are told apart with any kind of colour vision (Okabe and Ito).
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#000000", "#b0a000"};

std::string Escaped(const std::string& text) {
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
  const char* css;  // class
  const LoadRow* row;
};

// Of shapes that differ in memory alone the curve of least memory that works is drawn as a line, row by row; what was measured with
// more memory as well is drawn thin, so that it can be seen whether memory matters.
std::vector<Line> LinesOf(const LoadRows& rows,
                          const std::function<double(const LoadRow&)>& value) {
  std::map<std::pair<int, int>, std::map<CellShape, std::map<int, const LoadRow*>>> columns;
  for (const LoadRow& row : rows) {
    if (row.outcome != CellOutcome::kOk) continue;
    const CellShape& shape = row.cell.shape;
    columns[{shape.milli_cores, shape.gpu_cores}][shape][row.cell.batch] = &row;
  }
  std::vector<Line> lines, thin;
  for (const auto& [cores, shapes] : columns) {  // memory ascends
    std::map<int, const LoadRow*> least;
    Line line{.name = fmt::format("{:g} {}", cores.first / 1000.0,
                                  cores.first == 1000 ? "core" : "cores"),
              .colour = lines.size(),
              .points = {}};
    if (cores.second > 0) line.name += fmt::format(", {} GPU cores", cores.second);
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

// Powers of ten around lo to hi, with 2 and 5 between where few fit.
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
  return ticks;
}

// A chart with logarithmic axes; batch sizes along x.
class Chart {
 public:
  Chart(std::string title, std::string unit, const std::vector<Line>& lines, double mark = 0)
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
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n"
        "<text class=\"title\" x=\"{}\" y=\"18\">{} <tspan class=\"unit\">{}</tspan></text>\n",
        kWidth, kHeight, Escaped(title), kLeft, Escaped(title), Escaped(unit));
  }

  std::string Draw(const std::vector<Mark>& marks,
                   const std::function<double(const LoadRow&)>& value) {
    if (hi_ <= lo_) return svg_ + "<text x=\"80\" y=\"80\">no rows</text></svg>\n";
    Axes();
    for (const Line& line : lines_) Curve(line);
    if (mark_ > 0) {
      svg_ += fmt::format(
          "<line class=\"mark\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"tick at\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n",
          kLeft, kWidth - kRight, Y(mark_), Y(mark_), kLeft - 6, Y(mark_) + 4, mark_);
    }
    for (const Mark& one : marks) {
      svg_ += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n", one.css,
                          X(one.row->cell.batch), Y(value(*one.row)),
                          std::string_view(one.css) == "chosen" ? 8 : 12);
    }
    return svg_ + "</svg>\n";
  }

 private:
  double X(double batch) const {
    const double share = x_hi_ > 1 ? std::log(batch) / std::log(x_hi_) : 0.5;
    return kLeft + share * (kWidth - kLeft - kRight);
  }
  double Y(double value) const {
    const double share = std::log(value / lo_) / std::log(hi_ / lo_);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }

  void Axes() {
    for (const double tick : Ticks(lo_, hi_)) {
      if (mark_ > 0 && std::abs(Y(tick) - Y(mark_)) < 12)
        continue;  // the mark has a figure of its own
      svg_ += fmt::format(
          "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n",
          kLeft, kWidth - kRight, Y(tick), Y(tick), kLeft - 6, Y(tick) + 4, tick);
    }
    std::map<int, bool> batches;
    for (const Line& line : lines_) {
      for (const Point& point : line.points) batches[point.batch] = true;
    }
    for (const auto& [batch, used] : batches) {
      svg_ += fmt::format(
          "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
          X(batch), kHeight - kBottom + 18, batch);
    }
    svg_ += fmt::format(
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">batch size</text>\n",
        (kLeft + kWidth - kRight) / 2, kHeight - 8);
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

std::string Legend(const std::vector<Line>& lines, double threshold, bool by_method) {
  std::string text = "<p class=\"legend\">";
  bool thin = false;
  for (const Line& line : lines) {
    thin = thin || line.thin;
    if (line.thin) continue;
    text += fmt::format("<span><i style=\"background:{}\"></i>{}</span> ",
                        kColours[line.colour % std::size(kColours)], Escaped(line.name));
  }
  if (thin) text += "<span><i class=\"thin\"></i>with more memory</span> ";
  text += "<span><b></b>chosen (objective)</span> ";
  if (by_method) text += "<span><b class=\"method\"></b>chosen (method)</span> ";
  return text + fmt::format("<span><i class=\"dashed\"></i>threshold {:g}</span></p>\n", threshold);
}

std::string RowsTable(const ProfileReport& report) {
  std::string text =
      "<table><tr><th>shape</th><th>batch</th><th>Batchtime</th><th>p50</th><th>p99</th>"
      "<th>NoBatchtime</th><th>ratio</th><th>items/s</th><th>peak "
      "memory</th><th>outcome</th></tr>\n";
  for (const LoadRow& row : report.table.rows) {
    if (row.implied) continue;
    text += fmt::format("<tr><td>{}</td><td>{}</td>", Escaped(ShapeText(row.cell.shape)),
                        row.cell.batch);
    if (row.outcome == CellOutcome::kOk) {
      text += fmt::format(
          "<td>{:.3f} ms</td><td>{:.3f} ms</td><td>{:.3f} ms</td><td>{:.3f} ms</td><td>{:.2f}</td>"
          "<td>{:.0f}</td>",
          row.batch_us / 1e3, row.p50_us / 1e3, row.p99_us / 1e3, row.no_batch_us / 1e3,
          row.ratio(), row.items_per_s());
    } else {
      text += "<td></td><td></td><td></td><td></td><td></td><td></td>";
    }
    text +=
        fmt::format("<td>{:.0f} MiB</td><td>{}</td></tr>\n",
                    static_cast<double>(row.peak_memory_bytes) / (1 << 20), NameOf(row.outcome));
  }
  return text + "</table>\n";
}

constexpr const char* kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;"
    "color:#222;background:#fff}"
    "figure{display:inline-block;margin:0;width:560px;max-width:100%}svg{width:100%;height:auto}"
    ".title{font-size:15px;font-weight:600}.unit{font-weight:400;fill:#666;font-size:12px}"
    ".tick{font-size:11px;fill:#555}.grid{stroke:#e4e4e4}.mark{stroke:#c00;stroke-dasharray:5 4}"
    ".chosen{fill:none;stroke:#c00;stroke-width:2.5}.tick.at{fill:#c00}"
    ".method{fill:none;stroke:#555;stroke-width:1.5;stroke-dasharray:3 3}"
    ".legend span{margin-right:1.2em;white-space:nowrap}"
    ".legend i{display:inline-block;width:14px;height:4px;margin-right:6px;vertical-align:middle}"
    ".legend b{display:inline-block;width:10px;height:10px;border:2px solid #c00;border-radius:50%;"
    "margin-right:6px;vertical-align:middle}"
    ".legend b.method{border:1.5px dashed #555}.legend i.thin{height:1px;background:#888}"
    ".legend i.dashed{height:0;border-top:2px dashed #c00}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:2px 10px;text-align:right;"
    "border-bottom:1px solid #eee}td:first-child,th:first-child{text-align:left}";

}  // namespace

std::string PlotPage(const ProfileReport& report, double threshold) {
  const LoadRows& rows = report.table.rows;
  std::vector<Mark> marks;
  bool by_method = false;
  for (const NamedChoice& named : report.choices) {
    if (!named.choice.row) continue;
    const bool method = named.rule == "method";
    by_method = by_method || method;
    marks.push_back({method ? "method" : "chosen", &rows[*named.choice.row]});
  }
  const auto chart = [&](const char* title, const char* unit, double mark,
                         const std::function<double(const LoadRow&)>& value) {
    const std::vector<Line> lines = LinesOf(rows, value);
    return "<figure>" + Chart(title, unit, lines, mark).Draw(marks, value) + "</figure>\n";
  };
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}: load "
      "table</title>\n<meta name=\"viewport\" content=\"width=device-width\"><style>{1}</style>"
      "</head>\n<body>\n<h1>{0}</h1>\n<p>{2}<br>{3}; inputs from the {4}; {5} of {6} cells "
      "run{7}.</p>\n",
      Escaped(report.table.key.model), kStyle, Escaped(report.table.key.machine),
      Escaped(report.table.key.setup), Escaped(report.table.inputs),
      report.run_now + report.run_before, report.cells,
      report.run_now + report.run_before < report.cells ? ", the others implied" : "");
  for (const NamedChoice& named : report.choices) {
    page += fmt::format("<p><strong>{}</strong> ({}): {}. {}</p>\n", Escaped(named.rule),
                        Escaped(named.asked), Escaped(ChosenText(report, named.choice)),
                        Escaped(named.choice.why));
  }
  page +=
      Legend(LinesOf(rows, [](const LoadRow& row) { return row.batch_us; }), threshold, by_method);
  page += chart("Throughput", "items a second", 0,
                [](const LoadRow& row) { return row.items_per_s(); });
  page += chart("Batchtime", "ms, mean", 0, [](const LoadRow& row) { return row.batch_us / 1e3; });
  page += chart("Batchtime", "ms, 99th percentile", 0,
                [](const LoadRow& row) { return row.p99_us / 1e3; });
  page += chart("Batchtime / NoBatchtime", "", threshold,
                [](const LoadRow& row) { return row.ratio(); });
  return page + "<h2>Rows that were run</h2>\n" + RowsTable(report) + "</body></html>\n";
}

}  // namespace evenkeel
