#include "profile_plot.h"

#include "core/format.h"
#include "profile_chart.h"

namespace evenkeel {
namespace {

using Sign = LegendEntry::Sign;

std::string SignHtml(const LegendEntry& entry) {
  switch (entry.sign) {
    case Sign::kLine: return fmt::format("<i style=\"background:{}\"></i>", entry.colour);
    case Sign::kThinLine: return "<i class=\"thin\"></i>";
    case Sign::kObjective: return "<b></b>";
    case Sign::kMethod: return "<b class=\"method\"></b>";
    case Sign::kThreshold: return "<i class=\"dashed\"></i>";
  }
  return {};
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

constexpr const char* kPageStyle =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;"
    "color:#222;background:#fff}"
    "figure{display:inline-block;margin:0;width:560px;max-width:100%}svg{width:100%;height:auto}"
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
  const PlotContent content = ContentOf(report, threshold);
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}: load "
      "table</title>\n<meta name=\"viewport\" content=\"width=device-width\"><style>{1}{2}</style>"
      "</head>\n<body>\n<h1>{0}</h1>\n<p>",
      Escaped(content.model), kPageStyle, kChartStyle);
  for (const std::string& fact : content.facts)
    page += (&fact == &content.facts.front() ? "" : "<br>") + Escaped(fact);
  page += "</p>\n";
  for (const auto& [lead, text] : content.choices)
    page += fmt::format("<p><strong>{}</strong> {}</p>\n", Escaped(lead), Escaped(text));
  page += "<p class=\"legend\">";
  for (const LegendEntry& entry : content.legend)
    page += fmt::format("<span>{}{}</span> ", SignHtml(entry), Escaped(entry.text));
  page += "</p>\n";
  for (const DrawnChart& chart : content.charts) {
    page += fmt::format(
        "<figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg></figure>\n",
        kChartWidth, kChartHeight, Escaped(chart.title), chart.svg);
  }
  return page + "<h2>Rows that were run</h2>\n" + RowsTable(report) + "</body></html>\n";
}

}  // namespace evenkeel
