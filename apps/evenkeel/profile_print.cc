#include "profile_print.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "figures.h"
#include "output.h"
#include "progress_line.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

std::string Ms(double us) { return HumanMilliseconds(us / 1e3); }

bool AnyBf16(const LoadRows& rows) {
  return std::ranges::any_of(
      rows, [](const LoadRow& row) { return row.cell.precision == Precision::kBf16; });
}

std::string ShapeName(const Cell& cell) {
  return ShapeText(cell.shape) + (cell.precision == Precision::kBf16 ? " bf16" : "");
}

Listing ListingOf(const ProfileReport& report, bool wide) {
  Listing listing;
  const bool two = AnyBf16(report.table.rows);  // else what tells precisions apart is left out
  listing.columns = {{"SHAPE"},
                     {"BATCH", true},
                     {"BATCHTIME", true},
                     {"P50", true, true},
                     {"P99", true},
                     {"NOBATCHTIME", true},
                     {"RATIO", true},
                     {"ITEMS/S", true},
                     {"PEAK MEMORY", true},
                     {"OUTCOME"},
                     {"PRECISION", false, !two},
                     {"RUNS", true, true},
                     {"IMPLIED", false, true},
                     {"DIFFERENCE", true, !two},
                     {"DETAIL", false, true}};
  for (const LoadRow& row : report.table.rows) {
    if (row.implied && !wide) continue;
    const bool ok = row.outcome == CellOutcome::kOk;
    const auto figure = [&](const std::string& text) { return ok ? text : std::string(); };
    listing.rows.push_back(
        {ShapeText(row.cell.shape), std::to_string(row.cell.batch), figure(Ms(row.batch_us)),
         figure(Ms(row.p50_us)), figure(Ms(row.p99_us)), figure(Ms(row.no_batch_us)),
         figure(fmt::format("{:.2f}", row.ratio())),
         figure(fmt::format("{:.0f}", row.items_per_s())),
         row.peak_memory_bytes > 0 ? HumanBytes(static_cast<double>(row.peak_memory_bytes)) : "",
         std::string(NameOf(row.outcome)), std::string(NameOf(row.cell.precision)),
         std::to_string(row.runs), row.implied ? "yes" : "no",
         row.diff_max >= 0 ? fmt::format("{:.2g} at most, {:.2g} mean", row.diff_max, row.diff_mean)
                           : "",
         row.detail});
  }
  return listing;
}

std::string RowName(const LoadRow& row) {
  return fmt::format("{} x{}{}", ShapeText(row.cell.shape), row.cell.batch,
                     row.cell.precision == Precision::kBf16 ? " bf16" : "");
}

// Shapes with the sizes that fell, on lines that a person reads: "1c/512MiB x1,2,4".
std::vector<std::string> Grouped(const LoadRows& rows, const std::vector<size_t>& which) {
  std::map<std::string, std::string> sizes;
  std::vector<std::string> order;
  for (const size_t i : which) {
    const LoadRow& row = rows[i];
    const std::string shape = ShapeName(row.cell);
    auto [at, fresh] = sizes.try_emplace(shape);
    if (fresh) order.push_back(shape);
    at->second += (at->second.empty() ? "" : ",") + std::to_string(row.cell.batch);
  }
  std::vector<std::string> lines;
  for (const std::string& shape : order) lines.push_back(shape + " x" + sizes[shape]);
  return lines;
}

void Explain(const ProfileReport& report, const NamedChoice& named) {
  const LoadRows& rows = report.table.rows;
  std::printf("\n%s (%s)\n", named.rule.c_str(), named.asked.c_str());
  for (const ChoiceStep& step : named.choice.steps) {
    std::printf("  %s: %zu dropped, %zu left\n", step.rule.c_str(), step.dropped.size(), step.kept);
    constexpr size_t kPerLine = 3;
    const auto names = Grouped(rows, step.dropped);
    for (size_t i = 0; i < names.size(); i += kPerLine) {
      std::string line;
      for (size_t j = i; j < std::min(i + kPerLine, names.size()); ++j) line += "  " + names[j];
      std::printf("     %s\n", line.c_str());
    }
  }
  std::printf("  = %s: %s\n", ChosenText(report, named.choice).c_str(), named.choice.why.c_str());
}

const char* NameOf(DeviceClass device) { return device == DeviceClass::kGpu ? "gpu" : "cpu"; }

// "gpu first, cpu takes the overflow".
std::string OrderText(const ClassChoice& classes) {
  if (classes.order.empty()) return "none";
  std::string text = NameOf(classes.order.front());
  if (classes.order.size() > 1)
    text += fmt::format(" first, {} takes the overflow", NameOf(classes.order.back()));
  return text;
}

Json ClassJson(const ClassChoice& classes) {
  Json json = {{"order", Json::array()}, {"winner", nullptr}, {"why", classes.why}};
  for (const DeviceClass device : classes.order) json["order"].push_back(NameOf(device));
  if (classes.winner) json["winner"] = NameOf(*classes.winner);
  return json;
}

Json ChoiceJson(const ProfileReport& report, const NamedChoice& named) {
  const LoadRows& rows = report.table.rows;
  Json json = {{"rule", named.rule},
               {"asked", named.asked},
               {"met", named.choice.met},
               {"why", named.choice.why}};
  if (named.choice.row) {
    const LoadRow& row = rows[*named.choice.row];
    json["shape"] = ShapeText(row.cell.shape);
    json["batch"] = row.cell.batch;
    json["batchtime_us"] = row.batch_us;
    json["p99_us"] = row.p99_us;
    json["precision"] = NameOf(row.cell.precision);
  }
  Json& steps = json["steps"] = Json::array();
  for (const ChoiceStep& step : named.choice.steps) {
    Json dropped = Json::array();
    for (const size_t i : step.dropped) dropped.push_back(RowName(rows[i]));
    steps.push_back({{"rule", step.rule}, {"kept", step.kept}, {"dropped", std::move(dropped)}});
  }
  return json;
}

}  // namespace

std::string ChosenText(const ProfileReport& report, const Choice& choice) {
  if (!choice.row) return "do not batch";
  const LoadRow& row = report.table.rows[*choice.row];
  return fmt::format("{}batch {} on {}{}, {} a batch, {:.0f} items/s",
                     choice.met ? "" : "not met; ", row.cell.batch, ShapeText(row.cell.shape),
                     row.cell.precision == Precision::kBf16 ? " in bf16" : "", Ms(row.batch_us),
                     row.items_per_s());
}

Json ReportJson(const ProfileReport& report) {
  Json document = ToJson(std::span(&report.table, 1));
  Json& model = document["models"][0];
  Json& choices = model["choices"] = Json::array();
  for (const NamedChoice& named : report.choices) choices.push_back(ChoiceJson(report, named));
  if (report.classes) model["class"] = ClassJson(*report.classes);
  if (report.precision) {
    model["precision"] = {{"chosen", NameOf(report.precision->precision)},
                          {"why", report.precision->why}};
  }
  size_t implied = 0;
  for (const LoadRow& row : report.table.rows) implied += row.implied;
  document["sweep"] = {{"cells", report.cells},
                       {"run", report.run_now + report.run_before},
                       {"run_now", report.run_now},
                       {"implied", implied},
                       {"seconds", report.seconds}};
  return document;
}

void PrintReport(const ProfileReport& report, ProfileFormat format, bool explain) {
  if (format == ProfileFormat::kCsv) {
    std::fputs(ToCsv(std::span(&report.table, 1)).c_str(), stdout);
    return;
  }
  if (format == ProfileFormat::kJson || format == ProfileFormat::kYaml) {
    Print(format == ProfileFormat::kJson ? Format::kJson : Format::kYaml, {}, ReportJson(report));
    return;
  }
  const bool wide = format == ProfileFormat::kWide;
  Print(wide ? Format::kWide : Format::kTable, ListingOf(report, wide), {});
  std::printf("\n");
  for (const NamedChoice& named : report.choices) {
    std::printf("%-13s %s\n", named.rule.c_str(), ChosenText(report, named.choice).c_str());
  }
  if (report.classes) std::printf("%-13s %s\n", "class", OrderText(*report.classes).c_str());
  if (report.precision) {
    std::printf("%-13s %s: %s\n", "precision",
                std::string(NameOf(report.precision->precision)).c_str(),
                report.precision->why.c_str());
  }
  if (explain && report.classes) {
    std::printf("\nclass\n  = %s: %s\n", OrderText(*report.classes).c_str(),
                report.classes->why.c_str());
  }
  if (explain) {
    for (const NamedChoice& named : report.choices) Explain(report, named);
  }
}

ProfileProgress::ProfileProgress(const SweepPlan& plan)
    : plan_(plan),
      live_(AnimationAllowed()),
      started_(SteadyClock::Instance().Now()),
      before_(plan.measured()) {}

ProfileProgress::~ProfileProgress() { Erase(); }

void ProfileProgress::Begin(const Cell& cell) {
  cell_ = cell;
  Draw();
}

void ProfileProgress::Done() { Draw(); }

void ProfileProgress::Erase() {
  if (lines_ == 0) return;
  std::fprintf(stderr, "\033[%zuA\r\033[J", lines_);
  lines_ = 0;
}

void ProfileProgress::Draw() {
  if (!live_) return;
  Erase();
  // One line a shape and precision that was run: items a second, by batch size.
  std::map<std::pair<CellShape, Precision>, std::map<int, std::string>> lines;
  std::map<int, size_t> widths;
  for (const LoadRow& row : plan_.Table()) {
    if (row.implied) continue;
    std::string text = row.outcome == CellOutcome::kOk ? fmt::format("{:.0f}", row.items_per_s())
                                                       : std::string(NameOf(row.outcome));
    size_t& width = widths[row.cell.batch];
    width = std::max({width, text.size(), std::to_string(row.cell.batch).size()});
    lines[{row.cell.shape, row.cell.precision}][row.cell.batch] = std::move(text);
  }
  std::string text = fmt::format("{:<16}", "items/s, batch");
  for (const auto& [batch, width] : widths) text += fmt::format("  {:>{}}", batch, width);
  for (const auto& [column, cells] : lines) {
    text += fmt::format("\n{:<16}", ShapeName({column.first, 0, column.second}));
    for (const auto& [batch, width] : widths) {
      const auto at = cells.find(batch);
      text += fmt::format("  {:>{}}", at == cells.end() ? std::string() : at->second, width);
    }
  }
  const size_t done = plan_.measured();
  const size_t expected = std::max<size_t>(1, plan_.expected());
  const double seconds = Seconds(SteadyClock::Instance().Now() - started_);
  text += fmt::format("\n{} {} of about {} cells",
                      ProgressBar(static_cast<double>(done) / static_cast<double>(expected)), done,
                      expected);
  if (done > before_) {
    const double each = seconds / static_cast<double>(done - before_);
    text += fmt::format(", {:.1f} a second, about {:.0f} s left", 1 / each,
                        each * static_cast<double>(expected - std::min(done, expected)));
  }
  text += fmt::format(", now {} batch {}", ShapeName(cell_), cell_.batch);
  std::fprintf(stderr, "%s\n", text.c_str());
  lines_ = static_cast<size_t>(std::ranges::count(text, '\n')) + 1;
}

}  // namespace evenkeel
