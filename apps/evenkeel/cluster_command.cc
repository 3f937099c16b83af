// `evenkeel cluster init|token|join|status`: how servers become nodes of one cluster. All but `status` work on the state folder, with the server stopped.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "api.h"
#include "cluster/home/cluster_home.h"
#include "cluster/join/join_client.h"
#include "cluster/pki/certificate_authority.h"
#include "cluster/pki/join_tokens.h"
#include "cluster/pki/node_certificate.h"
#include "cluster/pki/secret_file.h"
#include "cluster/pki/signing_request.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "output.h"
#include "server/cluster_host.h"
#include "server/state_lock.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel cluster init --name desk --address 10.0.0.2:8010     on the first server\n"
    "  evenkeel cluster token > join.token                            there; good once, for an "
    "hour\n"
    "  evenkeel cluster join 10.0.0.2:8011 --token-file join.token --name attic --address "
    "10.0.0.3:8010\n"
    "  evenkeel cluster status                                        on any of them";
constexpr size_t kMostTokenBytes = 4096;

struct ClusterFlags {
  std::string state, name, address, desk, token_file, life = "1h";
  Format format = Format::kTable;
};

[[noreturn]] void FailWith(const Status& status) {
  Fail(status.code() == Code::kInvalidArgument ? kExitUsage : kExitFailed, status.message());
}

template <typename T>
T Need(Result<T> result) {
  if (!result.ok()) FailWith(result.status());
  return std::move(*result);
}
void Need(const Status& status) {
  if (!status.ok()) FailWith(status);
}

pki::WallTime Now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string StateOf(const ClusterFlags& flags) {
  SettingSources sources = DefaultSources();
  if (!flags.state.empty()) sources.flags.emplace_back("state", flags.state);
  return Need(Settings::Resolve(sources, nullptr)).text("state");
}

// The state folder's lock, so that no server runs on it meanwhile, and the cluster folder, in which there must be no cluster yet.
struct NewPlace {
  std::unique_ptr<StateLock> lock;
  std::string folder;
};
NewPlace PlaceForCluster(const ClusterFlags& flags) {
  const std::string state = StateOf(flags);
  std::error_code error;
  std::filesystem::create_directories(state, error);
  NewPlace place{Need(StateLock::Take(state)), ClusterFolder(state)};
  const auto home = LoadClusterHome(place.folder);
  if (home.ok())
    Fail(kExitFailed, fmt::format("this server is node '{}' of a cluster already: {}",
                                  home->own.name, place.folder));
  if (home.status().code() != Code::kNotFound) FailWith(home.status());
  Need(pki::MakeSecretFolder(place.folder));
  return place;
}

NodeAddress OwnOf(const ClusterFlags& flags) {
  Need(pki::CheckNodeName(flags.name).Annotate("--name"));
  const auto address = ParseHostPort(flags.address);
  if (!address.ok()) FailWith(address.status().Annotate("--address"));
  if (address->port == 65535)
    Fail(kExitUsage, "--address: expected a port below 65535: new nodes join at the next one");
  return {flags.name, flags.address};
}

void Init(const ClusterFlags& flags) {
  const NodeAddress own = OwnOf(flags);
  const NewPlace place = PlaceForCluster(flags);
  const auto authority = Need(pki::CertificateAuthority::Make(pki::NewClusterId(), Now()));
  const auto made = Need(pki::MakeSigningRequest(
      {authority.cluster(), own.name, {Need(ParseHostPort(own.address)).host}}));
  const auto request = Need(pki::ReadSigningRequest(made.request_pem));
  const auto certificate =
      Need(pki::NodeCertificate::Create(Need(authority.Sign(request, Now())), made.key_pem));
  Need(authority.Save(place.folder));
  Need(certificate.Save(place.folder));
  // Last: with it there is a cluster.
  Need(SaveClusterHome(place.folder, {authority.cluster(), own, {}}));
  const int port = Need(ParseHostPort(own.address)).port;
  std::fprintf(stderr,
               "Cluster %s has its first node, '%s'. Start it: evenkeel serve\n"
               "A server joins with a token from here (evenkeel cluster token), at %s\n",
               authority.cluster().c_str(), own.name.c_str(),
               FormatHostPort(Need(ParseHostPort(own.address)).host, JoinPortOf(port)).c_str());
}

std::chrono::seconds LifeOf(const std::string& text) {
  const auto life = ParseDuration(text);
  const auto seconds =
      life.ok() ? std::chrono::duration_cast<std::chrono::seconds>(*life) : std::chrono::seconds(0);
  if (seconds < std::chrono::seconds(1) || seconds > pki::kMaxTokenLife)
    Fail(kExitUsage, "--life: expected a time like 1h, from 1s to 168h, got " + Excerpt(text));
  return seconds;
}

void MakeToken(const ClusterFlags& flags) {
  const std::string folder = ClusterFolder(StateOf(flags));
  const auto home = Need(LoadClusterHome(folder));
  std::error_code error;
  if (!std::filesystem::exists(folder + "/authority.pem", error))
    Fail(kExitFailed,
         fmt::format("node '{}' does not hold the cluster's authority: tokens are made "
                     "on the server that made the cluster",
                     home.own.name));
  const auto authority = Need(pki::CertificateAuthority::Load(folder));
  const pki::JoinTokens tokens(folder + "/tokens", authority.digest());
  std::printf("%s\n", Need(tokens.Make(LifeOf(flags.life), Now())).c_str());
  const auto own = Need(ParseHostPort(home.own.address));
  std::fprintf(stderr,
               "Good once. On the new server: evenkeel cluster join %s --token-file FILE "
               "--name NAME --address ADDRESS:8010\n",
               FormatHostPort(own.host, JoinPortOf(own.port)).c_str());
}

std::string TokenOf(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size > kMostTokenBytes)
    Fail(kExitUsage, fmt::format("--token-file: {} is no token: {} bytes", path, size));
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) Fail(kExitUsage, "--token-file: " + path + " cannot be read");
  return text.str();
}

void Join(const ClusterFlags& flags) {
  const NodeAddress own = OwnOf(flags);
  Need(ParseHostPort(flags.desk).status());
  const std::string token = TokenOf(flags.token_file);
  const NewPlace place = PlaceForCluster(flags);
  const auto joined = Need(JoinCluster(flags.desk, token, own, place.folder));
  Need(joined.certificate.Save(place.folder));
  Need(SaveClusterHome(place.folder, joined.home));
  std::fprintf(stderr, "'%s' is a node of cluster %s, with %zu others. Start it: evenkeel serve\n",
               own.name.c_str(), joined.home.cluster.c_str(), joined.home.peers.size());
}

void ShowStatus(const ClusterFlags& flags) {
  const std::string folder = ClusterFolder(StateOf(flags));
  const auto home = Need(LoadClusterHome(folder));
  const auto certificate = Need(pki::NodeCertificate::Load(folder));
  std::error_code error;
  const bool authority = std::filesystem::exists(folder + "/authority.pem", error);
  const auto days = std::chrono::duration_cast<std::chrono::days>(certificate.not_after - Now());
  Json nodes = Json::array();
  Listing listing;
  listing.columns = {{"NODE"}, {"ADDRESS"}, {"WHAT"}};
  const auto add = [&](const NodeAddress& node, const std::string& what) {
    listing.rows.push_back({node.name, node.address, what});
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
         {"nodes", std::move(nodes)}});
  if (flags.format == Format::kTable)
    std::fprintf(stderr,
                 "Cluster %s; this node's certificate is good for %lld days. Who is there: "
                 "evenkeel node ls\n",
                 home.cluster.c_str(), static_cast<long long>(days.count()));
}

CLI::App* AddVerb(CLI::App& parent, const char* name, const char* help,
                  const std::shared_ptr<ClusterFlags>& flags, void (*run)(const ClusterFlags&)) {
  CLI::App* verb = parent.add_subcommand(name, help);
  verb->footer(kExamples);
  verb->add_option("--state", flags->state, "The server's state folder, also EVENKEEL_STATE")
      ->type_name("FOLDER");
  verb->callback([flags, run] { run(*flags); });
  return verb;
}

void AddOwn(CLI::App& verb, const std::shared_ptr<ClusterFlags>& flags) {
  verb.add_option("--name", flags->name, "This node's name: small letters, digits and -")
      ->required()
      ->type_name("NAME");
  verb.add_option("--address", flags->address, "Where other nodes reach it, as in 10.0.0.2:8010")
      ->required()
      ->type_name("ADDRESS:PORT");
}

}  // namespace

void RegisterCluster(CLI::App& app) {
  CLI::App* cluster =
      app.add_subcommand("cluster", "Several servers as one: make and join a cluster");
  cluster->require_subcommand(1);
  cluster->footer(kExamples);
  auto flags = std::make_shared<ClusterFlags>();
  AddOwn(
      *AddVerb(*cluster, "init", "Make a cluster with this server as its first node", flags, Init),
      flags);
  AddVerb(*cluster, "token", "Make a token that lets one server join", flags, MakeToken)
      ->add_option("--life", flags->life, "How long it is good [1h]")
      ->type_name("TIME");
  CLI::App* join =
      AddVerb(*cluster, "join", "Make this server a node of a cluster that is there", flags, Join);
  join->add_option("DESK", flags->desk, "Where nodes join, as in 10.0.0.2:8011")
      ->required()
      ->type_name("");
  join->add_option("--token-file", flags->token_file, "File with the token")
      ->required()
      ->type_name("FILE");
  AddOwn(*join, flags);
  AddOutputFlag(
      *AddVerb(*cluster, "status", "What this server knows of its cluster", flags, ShowStatus),
      &flags->format);
}

}  // namespace evenkeel
