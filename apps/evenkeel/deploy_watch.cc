#include "deploy_watch.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "commands.h"
#include "core/format.h"
#include "figures.h"
#include "live_table.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kLook = std::chrono::milliseconds(300);

Json NodesIn(const Json& deployment) { return deployment.value("nodes", Json::array()); }

std::string Copied(const Json& node) {
  const std::string done = BytesAt(node, "bytes_done"), total = BytesAt(node, "bytes_total");
  if (TextAt(node, "from").empty()) return TextAt(node, "state") == "serving" ? "was there" : "";
  return done == total ? total : done + " of " + total;
}

Json Newest(const Api& api, const Json& begun) {
  for (const Json& one : api.Get("/v2/cluster/deploys").value("deploys", Json::array())) {
    if (one.value("id", Json()) == begun.value("id", Json(0))) return one;
  }
  Fail(kExitFailed,
       "the server " + api.server() + " has forgotten the deployment: was it started anew?");
}

// What changed since the last look, off a terminal.
void PrintChanges(const Json& deployment, std::map<std::string, std::string>* seen) {
  for (const Json& node : NodesIn(deployment)) {
    const std::string name = TextAt(node, "node"), state = TextAt(node, "state");
    if (std::exchange((*seen)[name], state) == state) continue;
    const std::string from = TextAt(node, "from");
    std::fprintf(stderr, "%s: %s%s\n", Printable(name).c_str(), Printable(state).c_str(),
                 state == "copying" && !from.empty() ? Printable(" from " + from).c_str() : "");
  }
}

}  // namespace

bool Through(const Json& deployment) {
  return std::ranges::all_of(NodesIn(deployment), [](const Json& node) {
    const std::string state = TextAt(node, "state");
    return state == "serving" || state == "failed";
  });
}

Listing NodesOf(const Json& deployment) {
  Listing listing;
  listing.columns = {{"NODE"}, {"STATE"}, {"COPIED", true}, {"FROM"}, {"WHAT IS WRONG"}};
  for (const Json& node : NodesIn(deployment)) {
    listing.rows.push_back({TextAt(node, "node"), TextAt(node, "state"), Copied(node),
                            TextAt(node, "from"), TextAt(node, "error")});
    listing.names.push_back(TextAt(node, "node"));
  }
  return listing;
}

std::string FailuresOf(const Json& deployment) {
  std::string text;
  for (const Json& node : NodesIn(deployment)) {
    const std::string state = TextAt(node, "state"), error = TextAt(node, "error");
    if (state == "serving") continue;
    text += fmt::format("{}node '{}' does not serve model '{}': {}", text.empty() ? "" : "\n",
                        TextAt(node, "node"), TextAt(deployment, "model"),
                        error.empty() ? "it is " + state + " still, and goes on with it" : error);
  }
  return text;
}

Json DeployAndWatch(const Api& api, const Json& request, Duration wait) {
  return WatchDeployment(api, api.Post("/v2/cluster/deploy", request), wait, {});
}

Json WatchDeployment(const Api& api, Json deployment, Duration wait,
                     const std::function<bool()>& stopped) {
  const Json begun = deployment;
  const Clock& clock = SteadyClock::Instance();
  const Time end = clock.Now() + wait;
  LiveTable table;
  std::map<std::string, std::string> seen;
  while (!Through(deployment) && clock.Now() < end && !(stopped && stopped())) {
    table.live() ? table.Draw(TableText(NodesOf(deployment), false))
                 : PrintChanges(deployment, &seen);
    std::this_thread::sleep_for(kLook);
    deployment = Newest(api, begun);
  }
  if (!table.live()) PrintChanges(deployment, &seen);
  return deployment;
}

}  // namespace evenkeel
