// `evenkeel top`: what every model of a server, or every node of a cluster, does right now, interval after interval.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "figures.h"
#include "output.h"
#include "top_cluster.h"
#include "top_frame.h"
#include "top_screen.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel top                                live, until q or Ctrl-C\n"
    "  evenkeel top --sort cores -o wide           busiest first, with all columns\n"
    "  evenkeel top --once --interval 5s           one table of the next five seconds\n"
    "  evenkeel top -n 60 -o json > minute.jsonl   a document a second for a minute\n"
    "  evenkeel top --cluster                      the nodes of the cluster instead of models";

constexpr Duration kLeastInterval = std::chrono::milliseconds(100);
constexpr Duration kMostInterval = std::chrono::hours(1);
constexpr Duration kPatience = std::chrono::seconds(10);

enum class TopFormat { kTable, kWide, kJson };

struct TopOptions {
  Api api;
  TopFormat format = TopFormat::kTable;
  TopOrder order = TopOrder::kName;
  std::string interval_text = "1s";
  Duration interval{};
  int64_t count = 0;  // 0: no end
  bool once = false;
  bool cluster = false;
};

Result<TopLook> Look(const Api& api) {
  TopLook look;
  look.at = SteadyClock::Instance().Now();
  const Result<std::string> metrics = api.TryGetBytes("/metrics", kPatience);
  if (!metrics.ok()) return metrics.status();
  const Result<std::string> models = api.TryGetBytes("/v2/evenkeel/models", kPatience);
  if (!models.ok()) return models.status();
  look.metrics = PrometheusText(*metrics);
  look.models_page = Json::parse(*models, nullptr, /*allow_exceptions=*/false);
  if (!look.models_page.is_object())
    return Internal("answered something that is no JSON; is it an Evenkeel server?");
  return look;
}

[[noreturn]] void FailWith(const Api& api, const Status& status) {
  if (status.code() == Code::kUnavailable) {
    Fail(kExitNoServer, fmt::format("no server answers ({})\nStart one with: evenkeel serve\n"
                                    "Or name another: --server URL, EVENKEEL_SERVER",
                                    status.message()));
  }
  const bool usage = status.code() == Code::kInvalidArgument || status.code() == Code::kUnsupported;
  Fail(usage ? kExitUsage : kExitFailed, api.server() + ": " + status.message());
}

std::string Rate(double per_s) {
  if (per_s > 0 && per_s < 0.05) return "<0.1";
  return per_s < 99.95 && per_s > 0 ? fmt::format("{:.1f}", per_s) : fmt::format("{:.0f}", per_s);
}
std::string Rate(const std::optional<double>& per_s) { return per_s ? Rate(*per_s) : ""; }
std::string Rows(const std::optional<int>& rows) { return rows ? std::to_string(*rows) : ""; }
std::string Latency(const std::optional<double>& ms) { return ms ? HumanMilliseconds(*ms) : ""; }
std::string Price(const std::optional<double>& price) {
  return price ? fmt::format("{:.3g}", *price) : "";
}

std::string ClosedBy(const TopModel& model) {
  std::string text;
  for (const auto& [reason, share] : model.closed) {
    if (share < 0.005) continue;
    text += fmt::format("{}{} {:.0f}%", text.empty() ? "" : " ", reason, share * 100);
  }
  return text;
}

std::string InstancesOf(const TopModel& model) {
  if (model.instances == 0) return "0";
  std::string text;
  for (const auto& [shape, count] : model.shapes)
    text += fmt::format("{}{}x{}", text.empty() ? "" : " ", count, shape);
  if (text.empty()) text = std::to_string(model.instances_ready);
  const int missing = model.instances - model.instances_ready;
  return missing > 0 ? fmt::format("{} (+{} not ready)", text, missing) : text;
}

Listing TableOf(const TopFrame& frame) {
  Listing listing;
  listing.columns = {{"MODEL"},
                     {"ROWS/S", true},
                     {"FORECAST", true},
                     {"BATCH", true},
                     {"P50", true},
                     {"P99", true},
                     {"QUEUE", true},
                     {"CORES", true},
                     {"SHED/S", true},
                     {"ERR/S", true},
                     {"KNEE", true},
                     {"TARGET", true},
                     {"PRICE", true},
                     {"INSTANCES", true},
                     {"CLOSED BY"},
                     {"REQ/S", true, true},
                     {"OBJECTIVE", true, true},
                     {"POLICY", false, true},
                     {"VERSION", true, true},
                     {"STATE", false, true}};
  for (const TopModel& m : frame.models) {
    listing.rows.push_back({m.name,
                            Rate(m.rows_per_s),
                            Rate(m.forecast_rows_per_s),
                            m.mean_batch_rows ? fmt::format("{:.1f}", *m.mean_batch_rows) : "",
                            Latency(m.p50_ms),
                            Latency(m.p99_ms),
                            fmt::format("{:.0f}", m.queue_rows),
                            fmt::format("{:.2f}", m.cores),
                            Rate(m.sheds_per_s),
                            Rate(m.errors_per_s),
                            Rows(m.knee_rows),
                            Rows(m.target_rows),
                            Price(m.price),
                            InstancesOf(m),
                            ClosedBy(m),
                            Rate(m.requests_per_s),
                            Latency(m.objective_ms),
                            m.policy,
                            m.version,
                            m.state});
  }
  return listing;
}

std::string NodeLine(const TopFrame& frame) {
  std::string text = fmt::format("cores {:.2f}", frame.cores_used);
  if (frame.cores)
    text += fmt::format(" of {:.0f} ({:.0f}%)", *frame.cores,
                        100 * frame.cores_used / std::max(1.0, *frame.cores));
  if (frame.price) text += ", price " + Price(frame.price);
  text += fmt::format(", models {} of {} ready, waiting {:.0f} rows", frame.models_ready,
                      frame.models.size(), frame.queue_rows);
  if (!frame.policy.empty()) text += ", policy " + frame.policy;
  if (frame.daemon_cores) text += fmt::format(", daemon {:.2f} cores", *frame.daemon_cores);
  return text;
}

std::string HeadLine(const Api& api, double seconds) {
  char clock[16] = "";
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (::localtime_r(&now, &local) != nullptr)
    std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
  return fmt::format("{}  {}  last {:.1f} s", api.server(), clock, seconds);
}

// What is watched. The first look is Begin(); what there is to print of the interval since the look before is Next(): a page, or a document with its line's end.
// The head of a page's table is its line kHeadOfTable.
class TopView {
 public:
  static constexpr size_t kHeadOfTable = 3;
  virtual ~TopView() = default;
  virtual Status Begin() = 0;
  virtual Result<std::string> Next() = 0;
};

// The models of the server that is asked.
class ModelsView final : public TopView {
 public:
  explicit ModelsView(const TopOptions& options) : options_(options) {}
  Status Begin() override {
    before_ = Look(options_.api);
    return before_.ok() ? Status::Ok() : before_.status();
  }
  Result<std::string> Next() override {
    Result<TopLook> now = Look(options_.api);
    if (!now.ok() || !before_.ok()) {
      before_ = std::move(now);
      if (!before_.ok()) return before_.status();
      return std::
          string();  // there is a look to compare the next one with, and nothing to show yet
    }
    TopFrame frame = MakeFrame(*before_, *now);
    before_ = std::move(now);
    Sort(options_.order, &frame);
    if (options_.format == TopFormat::kJson)
      return ToJson(frame).dump(options_.count == 1 ? 2 : -1, ' ', false,
                                Json::error_handler_t::replace) +
             "\n";
    return HeadLine(options_.api, frame.seconds) + "\n" + NodeLine(frame) + "\n\n" +
           TableText(TableOf(frame), options_.format == TopFormat::kWide);
  }

 private:
  const TopOptions& options_;
  Result<TopLook> before_ = Status(Code::kUnavailable, "not looked at yet");
};

// The nodes of the cluster of the server that is asked.
class ClusterView final : public TopView {
 public:
  explicit ClusterView(const TopOptions& options) : options_(options) {}
  Status Begin() override { return Ask().status(); }
  Result<std::string> Next() override {
    const Result<Json> document = Ask();
    if (!document.ok()) return document.status();
    const Json top = ClusterTop(*document);
    if (options_.format == TopFormat::kJson)
      return top.dump(options_.count == 1 ? 2 : -1, ' ', false, Json::error_handler_t::replace) +
             "\n";
    const bool wide = options_.format == TopFormat::kWide;
    std::string page = HeadLine(options_.api, Seconds(options_.interval)) + "\n" +
                       ClusterLine(top) + "\n\n" + TableText(ClusterTable(top), wide);
    constexpr size_t kFewEvents = 6, kManyEvents = 20;
    const auto notes = ClusterNotes(top, wide ? kManyEvents : kFewEvents);
    if (!notes.empty()) page += "\n";
    for (const std::string& line : notes) page += line + "\n";
    return page;
  }

 private:
  Result<Json> Ask() const {
    const Result<std::string> body = options_.api.TryGetBytes("/v2/evenkeel/cluster", kPatience);
    if (!body.ok()) return body.status();
    Json document = Json::parse(*body, nullptr, /*allow_exceptions=*/false);
    if (!document.is_object())
      return Internal("answered something that is no JSON; is it an Evenkeel server?");
    return document;
  }
  const TopOptions& options_;
};

std::vector<std::string> LinesOf(const std::string& page) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < page.size();) {
    const size_t end = std::min(page.find('\n', at), page.size());
    lines.push_back(page.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string Bold(const std::string& text) {
  return ColourAllowed() ? "\033[1m" + text + "\033[0m" : text;
}

void Emit(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) Fail(kExitFailed, "standard output cannot be written");
}

// Tables or documents one after the other.
void Stream(const TopOptions& options, TopView& view) {
  if (const Status first = view.Begin(); !first.ok()) FailWith(options.api, first);
  Time next = SteadyClock::Instance().Now();
  for (int64_t shown = 0; options.count == 0 || shown < options.count; ++shown) {
    next += options.interval;
    std::this_thread::sleep_until(next);
    const Time at = SteadyClock::Instance().Now();
    const Result<std::string> text = view.Next();
    if (!text.ok()) FailWith(options.api, text.status());
    Emit((shown > 0 && options.format != TopFormat::kJson ? "\n" : "") + *text);
    // A slow server is not asked more often to make up for it.
    next = std::max(next, at);
  }
}

// In place, until `q` or the end of the count; a server that goes away is waited for. The last page.
std::string Live(const TopOptions& options, TopView& view, TopScreen& screen) {
  static_cast<void>(view.Begin());
  std::string page;
  int64_t shown = 0;
  screen.Draw({HeadLine(options.api, 0), "the first interval is not over yet; q ends"});
  for (Time next = SteadyClock::Instance().Now();;) {
    next = std::max(next + options.interval, SteadyClock::Instance().Now());
    if (!screen.WaitUntil(next)) return {};
    const Result<std::string> text = view.Next();
    if (!text.ok()) {
      std::vector<std::string> lines = {
          HeadLine(options.api, 0),
          "no answer, trying again: " + Printable(text.status().message())};
      screen.Draw(lines);
    } else if (!text->empty()) {
      page = *text;
      std::vector<std::string> lines = LinesOf(page);
      lines[TopView::kHeadOfTable] = Bold(lines[TopView::kHeadOfTable]);
      screen.Draw(lines);
      if (++shown == options.count) return page;
    }
  }
}

void Top(TopOptions& options) {
  const Result<Duration> interval = ParseDuration(options.interval_text);
  if (!interval.ok()) Fail(kExitUsage, "--interval: " + interval.status().message());
  if (*interval < kLeastInterval || *interval > kMostInterval)
    Fail(kExitUsage,
         fmt::format("--interval: expected {} to {}, got {}", FormatDuration(kLeastInterval),
                     FormatDuration(kMostInterval), options.interval_text));
  options.interval = *interval;
  if (options.once) options.count = 1;
  std::unique_ptr<TopView> view;
  if (options.cluster) {
    view = std::make_unique<ClusterView>(options);
  } else {
    view = std::make_unique<ModelsView>(options);
  }
  if (options.once || options.format == TopFormat::kJson) return Stream(options, *view);
  // Nobody is to look at an empty screen to learn that no server runs.
  if (const Status first = view->Begin(); !first.ok()) FailWith(options.api, first);
  std::unique_ptr<TopScreen> screen = TopScreen::Open();
  if (screen == nullptr) return Stream(options, *view);
  const std::string last = Live(options, *view, *screen);
  screen.reset();
  Emit(last);
}

template <typename T>
void AddWords(CLI::App& verb, const std::string& flag, const std::map<std::string, T>& words,
              T* choice, const std::string& help) {
  verb.add_option_function<std::string>(
          flag, [words, choice](const std::string& text) { *choice = words.at(text); }, help)
      ->type_name("")
      ->check([words](const std::string& text) -> std::string {
        if (words.contains(text)) return {};
        std::string known;
        for (const auto& [word, value] : words) known += (known.empty() ? "" : "|") + word;
        return "expected one of " + known + ", got " + Excerpt(text);
      });
}

}  // namespace

void RegisterTop(CLI::App& app) {
  CLI::App* top = app.add_subcommand("top", "Watch what every model does, live");
  top->footer(kExamples);
  auto options = std::make_shared<TopOptions>();
  options->api.AddFlags(*top);
  top->add_option("--interval", options->interval_text, "Between two looks [1s]")->type_name("");
  CLI::Option* count = top->add_option("-n,--count", options->count, "End after so many intervals")
                           ->type_name("")
                           ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}));
  top->add_flag("--once", options->once, "One interval, printed; the same as -n 1 off a terminal")
      ->excludes(count);
  CLI::Option* const cluster = top->add_flag("--cluster", options->cluster,
                                             "The cluster's nodes: load, moves, plan, last events");
  AddWords<TopOrder>(*top, "--sort",
                     {{"name", TopOrder::kName},
                      {"cores", TopOrder::kCores},
                      {"rate", TopOrder::kRate},
                      {"p99", TopOrder::kP99},
                      {"queue", TopOrder::kQueue}},
                     &options->order, "Order of the models: name|cores|rate|p99|queue [name]");
  top->get_option("--sort")->excludes(cluster);
  AddWords<TopFormat>(
      *top, "-o,--output",
      {{"table", TopFormat::kTable}, {"wide", TopFormat::kWide}, {"json", TopFormat::kJson}},
      &options->format, "How to print: table|wide|json, a document a line [table]");
  top->callback([options] { Top(*options); });
}

}  // namespace evenkeel
