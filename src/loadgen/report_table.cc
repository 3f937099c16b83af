// The table form of a report. Split from report.cc: there the figures, here their looks.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "loadgen/report.h"

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

// 12,345 for counts and rates; 1.234 for milliseconds.
std::string Grouped(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (int i = static_cast<int>(digits.size()) - 3;
       i > 0 && digits[static_cast<size_t>(i) - 1] != '-'; i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

std::string Millis(const json& percentiles, const char* which) {
  if (percentiles.is_null()) return "-";
  const double ms = percentiles.at(which);
  return ms < 10    ? fmt::format("{:.3f}", ms)
         : ms < 100 ? fmt::format("{:.2f}", ms)
                    : fmt::format("{:.1f}", ms);
}

std::string LoadText(const json& load) {
  if (load.at("loop") == "closed")
    return fmt::format("{} in flight", load.at("concurrency").get<int>());
  return fmt::format("{}/s {}", Grouped(load.at("rate_rps")),
                     load.at("arrivals").get<std::string>());
}

constexpr const char* kRow =
    "{:<22} {:<18} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}\n";

// The column of goodput; a model without an objective has none.
std::string Second(const json& counts, bool goodput) {
  if (!goodput) return Grouped(counts.at("items_per_s"));
  return counts.contains("goodput_per_s") ? Grouped(counts.at("goodput_per_s")) : "-";
}

void AddRow(std::string* out, const std::string& name, const std::string& load, const json& counts,
            bool goodput) {
  const json& latency = counts.at("latency_ms");
  fmt::format_to(std::back_inserter(*out), kRow, name.substr(0, 22), load,
                 Grouped(counts.at("requests_per_s")), Second(counts, goodput),
                 Millis(latency, "p50"), Millis(latency, "p90"), Millis(latency, "p99"),
                 Millis(latency, "p99.9"), Millis(latency, "max"), Grouped(counts.at("ok")),
                 Grouped(counts.at("errors").get<double>() + counts.at("wrong").get<double>()),
                 Grouped(counts.at("unanswered")));
}

// Streams of tokens.
constexpr const char* kTokenRow =
    "{:<22} {:<18} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}\n";

std::string Decimal(double value) { return fmt::format("{:.2f}", value); }

void AddTokenRow(std::string* out, const std::string& name, const std::string& load,
                 const json& counts, bool goodput) {
  const json& tokens = counts.at("tokens");
  const bool has_goodput = goodput && counts.contains("goodput_per_s");
  fmt::format_to(std::back_inserter(*out), kTokenRow, name.substr(0, 22), load,
                 Decimal(counts.at("requests_per_s")),
                 has_goodput ? Decimal(counts.at("goodput_per_s")) : "-",
                 fmt::format("{:.1f}", tokens.at("output_per_s").get<double>()),
                 Millis(tokens.at("first_ms"), "p50"), Millis(tokens.at("first_ms"), "p99"),
                 Millis(tokens.at("inter_ms"), "p50"), Millis(tokens.at("inter_ms"), "p99"),
                 Millis(counts.at("latency_ms"), "p50"), Grouped(counts.at("ok")),
                 Grouped(counts.at("errors")), Grouped(counts.at("unanswered")));
}

void AddProblems(std::string* out, const json& report) {
  const json& total = report.at("total");
  for (const auto& [status, error] : total.at("errors_by_status").items()) {
    std::string first = error.at("first");
    for (char& c : first) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    fmt::format_to(std::back_inserter(*out), "  error {}: {} (p50 {} ms, max {} ms) first: {}\n",
                   status, Grouped(error.at("count")), Millis(error.at("latency_ms"), "p50"),
                   Millis(error.at("latency_ms"), "max"), first.empty() ? "(no message)" : first);
  }
  if (total.at("wrong") > 0)
    fmt::format_to(std::back_inserter(*out), "  wrong answers: {}\n", Grouped(total.at("wrong")));
  for (const auto& [reason, count] : total.at("unanswered_by_reason").items()) {
    fmt::format_to(std::back_inserter(*out), "  unanswered, {}: {}\n", reason, Grouped(count));
  }
  const json& in_flight = report.at("in_flight");
  if (in_flight.at("held_back") > 0 || in_flight.at("not_sent") > 0) {
    fmt::format_to(std::back_inserter(*out),
                   "  the cap of {} requests in flight held {} back and kept {} from being sent\n",
                   Grouped(in_flight.at("cap")), Grouped(in_flight.at("held_back")),
                   Grouped(in_flight.at("not_sent")));
  }
  const json& warm_up = report.at("warm_up");
  if (warm_up.at("sent") != warm_up.at("ok")) {
    fmt::format_to(std::back_inserter(*out),
                   "  warm-up: of {} requests {} failed and {} were not answered\n",
                   Grouped(warm_up.at("sent")),
                   Grouped(warm_up.at("errors").get<double>() + warm_up.at("wrong").get<double>()),
                   Grouped(warm_up.at("unanswered")));
  }
}

void AddTimeline(std::string* out, const json& timeline) {
  fmt::format_to(std::back_inserter(*out), "\n{:>8} {:>8} {:>8} {:>8} {:>10} {:>9} {:>9} {:>9}\n",
                 "t s", "sent", "ok", "failed", "unanswered", "p50 ms", "p99 ms", "max ms");
  for (const json& w : timeline.at("windows")) {
    fmt::format_to(
        std::back_inserter(*out), "{:>8.2f} {:>8} {:>8} {:>8} {:>10} {:>9.3f} {:>9.3f} {:>9.3f}\n",
        w.at("t_s").get<double>(), w.at("sent").get<uint64_t>(), w.at("ok").get<uint64_t>(),
        w.at("failed").get<uint64_t>(), w.at("unanswered").get<uint64_t>(),
        w.at("p50_ms").get<double>(), w.at("p99_ms").get<double>(), w.at("max_ms").get<double>());
  }
}

}  // namespace

std::string ReportTable(const json& report) {
  const bool goodput = report.at("total").contains("goodput_per_s");
  const bool streamed = report.at("total").contains("tokens");
  const auto add_row = streamed ? AddTokenRow : AddRow;
  std::string out =
      streamed
          ? fmt::format(kTokenRow, "stage", "load", "req/s", "goodput/s", "tokens/s", "first p50",
                        "first p99", "inter p50", "inter p99", "whole p50", "ok", "errors",
                        "unansw.")
          : fmt::format(kRow, "stage", "load", "req/s", goodput ? "goodput/s" : "items/s", "p50 ms",
                        "p90 ms", "p99 ms", "p99.9 ms", "max ms", "ok", "errors", "unansw.");
  size_t measured = 0;
  for (const json& stage : report.at("stages")) {
    if (stage.at("warm_up").get<bool>()) continue;
    ++measured;
    add_row(&out, stage.at("name"), LoadText(stage.at("load")), stage.at("total"), goodput);
    if (!stage.contains("models")) continue;
    for (const auto& [name, counts] : stage.at("models").items())
      add_row(&out, "  " + name, "", counts, goodput);
  }
  if (measured > 1) add_row(&out, "all stages", "", report.at("total"), goodput);
  AddProblems(&out, report);
  const json& total = report.at("total");
  if (total.contains("added_ms")) {
    fmt::format_to(std::back_inserter(out),
                   "  compute on the server: p50 {} ms; added to it: p50 {} ms, p99 {} ms\n",
                   Millis(total.at("compute_ms"), "p50"), Millis(total.at("added_ms"), "p50"),
                   Millis(total.at("added_ms"), "p99"));
  }
  if (streamed) {
    const json& tokens = total.at("tokens");
    fmt::format_to(std::back_inserter(out),
                   "  times in ms; tokens of the answers: {}, of their prompts: {}, {} of them not "
                   "computed anew\n",
                   Grouped(tokens.at("output")), Grouped(tokens.at("prompt")),
                   Grouped(tokens.at("cached")));
  }
  const json& client = report.at("client");
  fmt::format_to(std::back_inserter(out),
                 "  client: {:.2f} cores, sent late by p99 {} ms, most in flight {}; {:.2f} s "
                 "measured, seed {}{}\n",
                 client.at("cores_used").get<double>(), Millis(total.at("send_lateness_ms"), "p99"),
                 report.at("in_flight").at("most").get<int>(), report.at("seconds").get<double>(),
                 report.at("seed").get<uint64_t>(),
                 report.at("interrupted").get<bool>() ? "; interrupted" : "");
  if (report.contains("timeline")) AddTimeline(&out, report.at("timeline"));
  return out;
}

}  // namespace evenkeel::loadgen
