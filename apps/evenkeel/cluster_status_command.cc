#include "cluster_status_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "api.h"
#include "cluster/home/cluster_home.h"
#include "cluster/pki/node_certificate.h"
#include "commands.h"
#include "core/format.h"
#include "core/settings.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kAskPatience = std::chrono::seconds(3);

struct StatusFlags {
  Api api;
  std::string state, node;
  Format format = Format::kTable;
};

template <typename T>
T Need(Result<T> result) {
  if (!result.ok())
    Fail(result.status().code() == Code::kInvalidArgument ? kExitUsage : kExitFailed,
         result.status().message());
  return std::move(*result);
}

// What the server on this folder says of its membership; null, with the reason in `why`: it does not run, or another one answers.
Json AskMembership(const StatusFlags& flags, const ClusterHome& home, std::string* why) {
  const auto text = flags.api.TryGetBytes("/v2/evenkeel/cluster/membership", kAskPatience);
  if (!text.ok()) {
    *why = text.status().message();
    return nullptr;
  }
  Json told = Json::parse(*text, nullptr, false);
  if (!told.is_object() || TextAt(told, "cluster") != home.cluster ||
      TextAt(told, "node") != home.own.name) {
    *why = fmt::format("the server {} is not node '{}' of this cluster (--server)",
                       flags.api.server(), home.own.name);
    return nullptr;
  }
  return told;
}

// What is below `key`, where that is an object; else an empty one.
Json ObjectAt(const Json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  return at != object.end() && at->is_object() ? *at : Json::object();
}

std::string MemberOf(const Json& told, const std::string& node) {
  for (const Json& member : ObjectAt(told, "store").value("members", Json::array())) {
    if (TextAt(member, "node") == node)
      return fmt::format("{} at {}", TextAt(member, "state"), TextAt(member, "endpoint"));
  }
  return "";
}

// "2.5 s", "3 min", "5 h": how long.
std::string HowLong(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 172'800) return fmt::format("{:.0f} h", seconds / 3600);
  return fmt::format("{:.0f} days", seconds / 86'400);
}

double SecondsAt(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<double>() : 0;
}

void PrintStore(const Json& told) {
  const auto line = [](const char* what, const std::string& text) {
    std::printf("%-10s %s\n", what, Printable(text).c_str());
  };
  const Json store = ObjectAt(told, "store");
  if (TextAt(store, "kind") == "none")
    return line("store", "none: plans and the list of nodes can't be changed");
  std::string endpoints;
  for (const Json& endpoint : store.value("endpoints", Json::array()))
    endpoints += (endpoints.empty() ? "" : ", ") +
                 (endpoint.is_string() ? endpoint.get<std::string>() : std::string("?"));
  const bool connected = store.value("connected", false);
  line("store",
       fmt::format("{}, {} since {}; at {}",
                   TextAt(store, "kind") == "members" ? "run by the nodes" : "elsewhere",
                   connected ? "there" : "AWAY", HowLong(SecondsAt(store, "since_s")), endpoints));
  for (const char* key : {"trouble", "own_trouble"}) {
    if (const std::string trouble = TextAt(store, key); !trouble.empty()) line("trouble", trouble);
  }
  const Json leader = ObjectAt(told, "leader");
  line("leader", leader.empty() ? "none"
                                : fmt::format("{}, history {}, term {}{}", TextAt(leader, "node"),
                                              TextAt(leader, "history"), TextAt(leader, "term"),
                                              connected ? "" : ", as it was known last"));
  const Json plan = ObjectAt(told, "plan");
  line("plan", plan.empty() ? "none yet"
                            : fmt::format("history {}, term {}, revision {}, by {}; here since {}",
                                          TextAt(plan, "history"), TextAt(plan, "term"),
                                          TextAt(plan, "revision"), TextAt(plan, "made_by"),
                                          HowLong(SecondsAt(plan, "age_s"))));
  if (const std::string frozen = TextAt(told, "moves_frozen"); !frozen.empty())
    line("moves", frozen);
}

void ShowStatus(const StatusFlags& flags) {
  SettingSources sources = DefaultSources();
  if (!flags.state.empty()) sources.flags.emplace_back("state", flags.state);
  const std::string folder = ClusterFolder(Need(Settings::Resolve(sources, nullptr)).text("state"));
  const auto home = Need(LoadClusterHome(folder));
  const auto certificate = Need(pki::NodeCertificate::Load(folder));
  std::string why;
  const Json told = AskMembership(flags, home, &why);
  std::error_code error;
  const bool authority = std::filesystem::exists(folder + "/authority.pem", error);
  const auto days = std::chrono::duration_cast<std::chrono::days>(certificate.not_after -
                                                                  std::chrono::system_clock::now());
  Json nodes = Json::array();
  Listing listing;
  listing.columns = {{"NODE"}, {"ADDRESS"}, {"STORE"}, {"WHAT"}};
  const auto add = [&](const NodeAddress& node, std::string what) {
    if (TextAt(ObjectAt(told, "leader"), "node") == node.name)
      what += what.empty() ? "leads" : "; leads";
    listing.rows.push_back({node.name, node.address, MemberOf(told, node.name), what});
    listing.names.push_back(node.name);
    nodes.push_back({{"name", node.name}, {"address", node.address}});
  };
  add(home.own, authority ? "this one; holds the authority" : "this one");
  for (const NodeAddress& peer : home.peers) add(peer, "");
  Print(flags.format, listing,
        {{"schema", "evenkeel.cluster/v1"},
         {"cluster", home.cluster},
         {"node", home.own.name},
         {"authority", authority},
         {"certificate_days_left", days.count()},
         {"nodes", std::move(nodes)},
         {"membership", told}});
  if (flags.format != Format::kTable) return;
  std::fprintf(stderr,
               "Cluster %s; this node's certificate is good for %lld days. Who is there: "
               "evenkeel node ls\n",
               home.cluster.c_str(), static_cast<long long>(days.count()));
  if (told.is_object()) return PrintStore(told);
  std::fprintf(stderr, "This is what the folder says: %s\n", why.c_str());
}

void Replace(const StatusFlags& flags) {
  flags.api.Post("/v2/evenkeel/cluster/members/" + PathPart(flags.node) + "/replace",
                 Json::object());
  std::fprintf(stderr, "The member of node '%s' is out of the store.\n", flags.node.c_str());
}

void Promote(const StatusFlags& flags) {
  flags.api.Post("/v2/evenkeel/cluster/promote", Json::object());
  std::fprintf(stderr,
               "The store was begun anew on this server; the other nodes follow when they hear of "
               "it.\n");
}

CLI::App* AddVerb(CLI::App& parent, const char* name, const char* help, const char* examples,
                  const std::shared_ptr<StatusFlags>& flags, void (*run)(const StatusFlags&)) {
  CLI::App* verb = parent.add_subcommand(name, help);
  verb->footer(examples);
  flags->api.AddFlags(*verb);
  verb->callback([flags, run] { run(*flags); });
  return verb;
}

}  // namespace

void AddClusterStatusVerbs(CLI::App& cluster, const char* examples) {
  const auto status_flags = std::make_shared<StatusFlags>();
  CLI::App* status = AddVerb(cluster, "status", "What this server knows of its cluster", examples,
                             status_flags, ShowStatus);
  status
      ->add_option("--state", status_flags->state, "The server's state folder, also EVENKEEL_STATE")
      ->type_name("FOLDER");
  AddOutputFlag(*status, &status_flags->format);
  CLI::App* member = cluster.add_subcommand("member", "The members of the cluster's store");
  member->require_subcommand(1);
  member->footer(examples);
  const auto replace_flags = std::make_shared<StatusFlags>();
  AddVerb(*member, "replace", "Take a lost member out; another node runs one in its place",
          examples, replace_flags, Replace)
      ->add_option("NODE", replace_flags->node, "The node that ran it")
      ->required()
      ->type_name("");
  AddVerb(cluster, "promote",
          "Begin the store anew on the server that is asked, where too many members are lost",
          examples, std::make_shared<StatusFlags>(), Promote);
}

}  // namespace evenkeel
