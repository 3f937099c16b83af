#include "sim/report_page.h"

#include <fmt/format.h>

#include "sim/plot.h"

namespace evenkeel::sim {
namespace {

constexpr const char* kHead =
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Evenkeel simulation</title>"
    "<style>body{font:14px/1.45 system-ui,sans-serif;margin:24px;max-width:1120px;color:#222}"
    "svg{margin:6px 14px 6px 0;background:#fff}svg text{font:11px system-ui,sans-serif}"
    "svg .t{font-weight:600;font-size:13px}svg .g{stroke:#e4e4e4;fill:none}"
    "svg .m{stroke:#c00;stroke-dasharray:2 3;fill:none}"
    "table{border-collapse:collapse}td,th{padding:3px 10px;text-align:right;border-bottom:1px "
    "solid "
    "#ddd}td:first-child,th:first-child{text-align:left}</style></head><body>";

Plot LatencyPlot(const ModelOutcome& model) {
  Plot plot;
  plot.title = model.name + ": latency";
  plot.x_label = "ms (red: objective)";
  plot.y_label = "share of answers";
  plot.log_x = true;
  plot.y_max = 1;
  plot.mark_x = Seconds(model.objective) * 1e3;
  Curve curve{"answered", {}, false, 0};
  uint64_t below = 0;
  const auto total = static_cast<double>(model.latency.total());
  for (size_t i = 0; i < model.latency.counts().size(); ++i) {
    const uint64_t count = model.latency.counts()[i];
    if (count == 0) continue;
    below += count;
    curve.points.emplace_back(LatencyCounts::UpperSeconds(i) * 1e3,
                              static_cast<double>(below) / total);
  }
  plot.curves.push_back(std::move(curve));
  return plot;
}

Plot BatchPlot(const ModelOutcome& model) {
  Plot plot;
  plot.title = model.name + ": batches";
  plot.x_label = "rows";
  plot.y_label = "share of batches";
  plot.bars = true;
  uint64_t total = 0;
  for (const auto& [rows, count] : model.batches) total += count;
  Curve curve;
  for (const auto& [rows, count] : model.batches)
    curve.points.emplace_back(rows, static_cast<double>(count) / static_cast<double>(total));
  plot.curves.push_back(std::move(curve));
  return plot;
}

Plot ForecastPlot(const ModelOutcome& model, double seconds) {
  Plot plot;
  plot.title = model.name + ": forecast against actual";
  plot.x_label = "s";
  plot.y_label = "rows a second";
  Curve actual{"actual", {}, false, 0}, forecast{"forecast", {}, true, 1};
  const double step = seconds / static_cast<double>(model.series.size());
  for (size_t i = 0; i < model.series.size(); ++i) {
    const double at = (static_cast<double>(i) + 0.5) * step;
    actual.points.emplace_back(at, model.series[i].arrived_rps);
    // What was forecast at the end of a span is for the next one.
    forecast.points.emplace_back(at + step, model.series[i].forecast_rps);
  }
  plot.curves = {std::move(actual), std::move(forecast)};
  return plot;
}

Plot CoresPlot(const SimReport& report, double seconds, int cores) {
  Plot plot;
  plot.title = "Cores used by batches";
  plot.x_label = "s";
  plot.y_label = "cores";
  plot.y_max = cores;
  const auto& series = report.models.front().series;
  const double step = seconds / static_cast<double>(series.size());
  Curve curve;
  for (size_t i = 0; i < series.size(); ++i)
    curve.points.emplace_back((static_cast<double>(i) + 0.5) * step, series[i].cores);
  plot.curves.push_back(std::move(curve));
  return plot;
}

std::string Table(const SimReport& report) {
  std::string html =
      "<table><tr><th>model<th>arrived<th>within<th>late<th>shed<th>expired<th>share<th>p50 "
      "ms<th>p99 ms<th>objective ms<th>core µs a row</tr>";
  for (const ModelOutcome& m : report.models) {
    const double per_row =
        m.rows_run == 0 ? 0 : m.core_seconds * 1e6 / static_cast<double>(m.rows_run);
    html += fmt::format(
        "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.2f} %<td>{:.3g}<td>{:.3g}<td>{:.3g}<td>"
        "{:.3g}</tr>",
        EscapeHtml(m.name), m.arrived, m.within, m.late, m.shed, m.expired, 100 * m.Goodput(),
        m.latency.QuantileSeconds(0.5) * 1e3, m.latency.QuantileSeconds(0.99) * 1e3,
        Seconds(m.objective) * 1e3, per_row);
  }
  return html + "</table>";
}

}  // namespace

std::string ReportPage(const SimReport& report, double seconds, int cores) {
  std::string html = kHead;
  html += fmt::format(
      "<h1>Simulated: policy {}</h1><p>Virtual time, service times from load tables. {:.4g} s "
      "measured, {:.3f} of {} cores busy on average.</p>",
      EscapeHtml(report.policy), report.measured_s, report.mean_cores, cores);
  html += Table(report);
  const bool series = !report.models.empty() && !report.models.front().series.empty();
  if (series) html += "<h2>Node</h2>" + Svg(CoresPlot(report, seconds, cores));
  for (const ModelOutcome& model : report.models) {
    html += "<h2>" + EscapeHtml(model.name) + "</h2>";
    html += Svg(LatencyPlot(model)) + Svg(BatchPlot(model));
    if (series) html += Svg(ForecastPlot(model, seconds));
  }
  return html + "</body></html>\n";
}

}  // namespace evenkeel::sim
