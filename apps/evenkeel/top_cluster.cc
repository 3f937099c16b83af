#include "top_cluster.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <optional>
#include <utility>

#include "core/clock.h"
#include "core/format.h"
#include "figures.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> NumberAt(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number()) return std::nullopt;
  return at->get<double>();
}
double NumberOr0(const Json& object, const char* key) { return NumberAt(object, key).value_or(0); }

Json ObjectAt(const Json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  return at != object.end() && at->is_object() ? *at : Json::object();
}
Json ListAt(const Json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  return at != object.end() && at->is_array() ? *at : Json::array();
}

// Members that are no objects are no figures of ours.
Json ObjectsOf(Json list) {
  Json objects = Json::array();
  for (Json& one : list) {
    if (one.is_object()) objects.push_back(std::move(one));
  }
  return objects;
}

std::string Level(const std::optional<double>& seconds) {
  return seconds ? HumanMilliseconds(*seconds * 1e3) : "";
}

std::string Count(const std::optional<double>& count) {
  return count ? fmt::format("{:.0f}", *count) : "";
}

std::string BusyOf(const Json& node) {
  const auto busy = NumberAt(node, "busy_cores"), cores = NumberAt(node, "cores");
  if (!busy || !cores || *cores <= 0) return "";
  return fmt::format("{:.0f}%", 100 * *busy / *cores);
}

// "chat 1.2/s, m 30/s": busiest first.
std::string ModelsOf(const Json& top, const std::string& node) {
  std::vector<std::pair<double, std::string>> models;
  for (const Json& model : top["models"]) {
    if (TextAt(model, "node") == node)
      models.emplace_back(NumberOr0(model, "rate_per_s"), TextAt(model, "name"));
  }
  std::ranges::stable_sort(models, std::greater<>(), &std::pair<double, std::string>::first);
  std::string text;
  for (const auto& [rate, name] : models) {
    text += (text.empty() ? "" : ", ") + name;
    if (rate > 0)
      text += fmt::format(" {}/s",
                          rate < 99.95 ? fmt::format("{:.1f}", rate) : fmt::format("{:.0f}", rate));
  }
  return text;
}

std::string ClockOf(const Json& event) {
  const auto unix_ms = NumberAt(event, "unix_ms");
  if (!unix_ms) return "--:--:--";
  const auto at = static_cast<std::time_t>(*unix_ms / 1000);
  std::tm local{};
  char text[16] = "--:--:--";
  if (::localtime_r(&at, &local) != nullptr) std::strftime(text, sizeof text, "%H:%M:%S", &local);
  return text;
}

}  // namespace

Json ClusterTop(const Json& document) {
  const Json live = ObjectAt(document, "live");
  Json nodes = ObjectsOf(ListAt(live, "nodes"));
  double cores = 0, busy = 0, waiting = 0, moving = 0, moved = 0;
  std::map<std::string, int> states;
  for (const Json& node : nodes) {
    ++states[TextAt(node, "state")];
    cores += NumberOr0(node, "cores");
    busy += NumberOr0(node, "busy_cores");
    waiting += NumberOr0(node, "waiting");
    moving += NumberOr0(node, "moving");
    moved += NumberOr0(node, "moved_lately");
  }
  Json by_state = Json::object();
  for (const auto& [state, count] : states) by_state[state] = count;
  Json cluster = {{"nodes", nodes.size()}, {"states", std::move(by_state)},
                  {"cores", cores},        {"busy_cores", busy},
                  {"waiting", waiting},    {"moving", moving},
                  {"moved_lately", moved}};
  if (const auto average = NumberAt(live, "average_level_s")) cluster["average_level_s"] = *average;
  Json top = {{"schema", "evenkeel.top-cluster/v1"},
              {"cluster", std::move(cluster)},
              {"nodes", std::move(nodes)},
              {"models", ObjectsOf(ListAt(live, "models"))},
              {"feedback", ObjectAt(document, "feedback")}};
  if (const Json plan = ObjectAt(live, "plan"); !plan.empty()) top["plan"] = plan;
  top["events"] = ObjectsOf(ListAt(live, "events"));
  return top;
}

std::string ClusterLine(const Json& top) {
  const Json& cluster = top["cluster"];
  std::string states;
  for (const auto& [state, count] : cluster["states"].items())
    states += fmt::format("{}{} {}", states.empty() ? "" : ", ", count.dump(), state);
  std::string text = fmt::format("nodes {} ({})", cluster["nodes"].dump(), states);
  const double cores = NumberOr0(cluster, "cores"), busy = NumberOr0(cluster, "busy_cores");
  text += fmt::format(", cores {:.2f} of {:.3g} busy ({:.0f}%)", busy, cores,
                      cores > 0 ? 100 * busy / cores : 0);
  if (const auto average = NumberAt(cluster, "average_level_s"))
    text += ", average load " + HumanMilliseconds(*average * 1e3);
  text += fmt::format(", waiting {:.0f}, moving {:.0f}, moved in the last minute {:.0f}",
                      NumberOr0(cluster, "waiting"), NumberOr0(cluster, "moving"),
                      NumberOr0(cluster, "moved_lately"));
  if (top.contains("plan")) {
    if (const auto age = NumberAt(top["plan"], "age_s"))
      text += fmt::format(", plan {:.0f} s old", *age);
  }
  return text;
}

Listing ClusterTable(const Json& top) {
  Listing listing;
  listing.columns = {{"NODE"},
                     {"STATE"},
                     {"LOAD", true},
                     {"BUSY", true},
                     {"CORES", true},
                     {"WAITING", true},
                     {"MOVING", true},
                     {"MOVED/MIN", true},
                     {"MODELS"},
                     {"WORK", true, true},
                     {"CALLS SENT", true, true},
                     {"UNDER WAY", true, true},
                     {"FIGURES' AGE", true, true}};
  for (const Json& node : top["nodes"]) {
    const std::string name = TextAt(node, "name");
    const auto cores = NumberAt(node, "cores");
    listing.rows.push_back(
        {name, TextAt(node, "state"), Level(NumberAt(node, "level_s")), BusyOf(node),
         cores ? fmt::format("{:.3g}", *cores) : "", Count(NumberAt(node, "waiting")),
         Count(NumberAt(node, "moving")), Count(NumberAt(node, "moved_lately")),
         ModelsOf(top, name), Level(NumberAt(node, "backlog_s")), Count(NumberAt(node, "sent")),
         Count(NumberAt(node, "under_way")), Level(NumberAt(node, "figures_age_s"))});
  }
  return listing;
}

std::vector<std::string> ClusterNotes(const Json& top, size_t most_events) {
  std::vector<std::string> lines;
  if (const std::string asking = TextAt(top["feedback"], "asking"); !asking.empty())
    lines.push_back("a plan is asked for: " + asking);
  const Json& events = top["events"];
  if (events.empty()) return lines;
  if (!lines.empty()) lines.emplace_back();
  lines.emplace_back("Last events");
  for (size_t i = events.size() - std::min(events.size(), most_events); i < events.size(); ++i)
    lines.push_back(fmt::format("{}  {}: {}", ClockOf(events[i]), TextAt(events[i], "what"),
                                TextAt(events[i], "why")));
  for (std::string& line : lines) line = Printable(line);
  return lines;
}

}  // namespace evenkeel
