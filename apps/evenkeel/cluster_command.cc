// `evenkeel cluster init|token|join`: how servers become nodes of one cluster. They work on the state folder; init and join with the server stopped. What is asked of
// a cluster that runs is in cluster_status_command.cc.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "api.h"
#include "cluster/etcd/etcd_program.h"
#include "cluster/home/cluster_home.h"
#include "cluster/join/join_client.h"
#include "cluster/pki/certificate_authority.h"
#include "cluster/pki/join_tokens.h"
#include "cluster/pki/node_certificate.h"
#include "cluster/pki/secret_file.h"
#include "cluster/pki/signing_request.h"
#include "cluster_status_command.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "server/cluster_host.h"
#include "server/state_lock.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel cluster init --name desk --address 10.0.0.2:8010     on the first server\n"
    "  evenkeel cluster token > join.token                            there; good once, for an "
    "hour\n"
    "  evenkeel cluster join 10.0.0.2:8011 --token-file join.token --name attic --address "
    "10.0.0.3:8010\n"
    "  evenkeel cluster status                                        on any of them\n"
    "  evenkeel cluster member replace attic                          where attic is lost for "
    "good\n"
    "  evenkeel cluster promote                                       where the store is lost";
constexpr size_t kMostTokenBytes = 4096;

struct ClusterFlags {
  std::string state, name, address, desk, token_file, life = "1h";
  std::string etcd, etcd_ca, etcd_cert, etcd_key;
  bool no_store = false, insecure = false;
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
  Need(CheckOneHost(address->host).Annotate("--address"));
  if (StorePeerPortOf(address->port) > 65535)
    Fail(kExitUsage,
         "--address: expected a port below 65533: new nodes join at the next one, and the two "
         "after that are the store's");
  return {flags.name, flags.address};
}

std::string Absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

void AddFiles(const ClusterFlags& flags, StoreHome* store) {
  store->ca_file = Absolute(flags.etcd_ca);
  store->cert_file = Absolute(flags.etcd_cert);
  store->key_file = Absolute(flags.etcd_key);
  Need(CheckStoreHome(*store).Annotate("--etcd"));
}

bool IsLoopback(const std::string& endpoint) {
  return endpoint.starts_with("127.") || endpoint.starts_with("[::1]") ||
         endpoint.starts_with("localhost:");
}

// How the new cluster has its store.
StoreHome StoreOf(const ClusterFlags& flags, const NodeAddress& own) {
  StoreHome store;
  if (flags.no_store) return store;
  if (flags.etcd.empty()) {
    store.kind = StoreHome::Kind::kMembers;
    store.origin = own.name;
    store.member = true;
    const HostPort address = Need(ParseHostPort(own.address));
    store.endpoints = {FormatHostPort(address.host, StoreClientPortOf(address.port))};
    if (const auto program = FindEtcd(); !program.ok())
      std::fprintf(stderr, "warning: %s. Until then plans and the list of nodes can't be changed\n",
                   program.status().message().c_str());
    return store;
  }
  bool tls = false;
  store.kind = StoreHome::Kind::kExternal;
  store.endpoints = Need(ParseStoreUrls(flags.etcd, &tls));
  if (tls != !flags.etcd_ca.empty())
    Fail(kExitUsage, tls ? "--etcd: https needs --etcd-ca, the authority that it is held to"
                         : "--etcd-ca: expected https in --etcd");
  for (const std::string& endpoint : store.endpoints) {
    if (!tls && !flags.insecure && !IsLoopback(endpoint))
      Fail(kExitUsage, "--etcd: nothing is encrypted on the way to " + endpoint +
                           ", and anybody may write there: use https, or say --insecure if the "
                           "network is trusted");
  }
  AddFiles(flags, &store);
  return store;
}

// The new cluster's. One that is there without a cluster is of an init that was cut short, which goes on: a second authority would find its place taken.
pki::CertificateAuthority AuthorityFor(const std::string& folder) {
  auto there = pki::CertificateAuthority::Load(folder);
  if (there.ok()) return std::move(*there);
  if (there.status().code() != Code::kNotFound) FailWith(there.status());
  return Need(pki::CertificateAuthority::Make(pki::NewClusterId(), Now()));
}

void Init(const ClusterFlags& flags) {
  const NodeAddress own = OwnOf(flags);
  const StoreHome store = StoreOf(flags, own);
  const NewPlace place = PlaceForCluster(flags);
  const auto authority = AuthorityFor(place.folder);
  const auto made = Need(pki::MakeSigningRequest(
      {authority.cluster(), own.name, {Need(ParseHostPort(own.address)).host}}));
  const auto request = Need(pki::ReadSigningRequest(made.request_pem));
  const auto certificate =
      Need(pki::NodeCertificate::Create(Need(authority.Sign(request, Now())), made.key_pem));
  Need(authority.Save(place.folder));
  Need(certificate.Save(place.folder));
  // Last: with it there is a cluster.
  Need(SaveClusterHome(place.folder, {authority.cluster(), own, {}, store, {}}));
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
  std::error_code error;
  if (std::filesystem::exists(place.folder + "/authority.pem", error))
    Fail(kExitFailed,
         fmt::format("{} holds the authority of a cluster whose making was cut short: go on with "
                     "that (evenkeel cluster init), or remove the folder",
                     place.folder));
  auto joined = Need(JoinCluster(flags.desk, token, own, place.folder));
  // Which files the desk's node has says nothing of this one's.
  if (joined.home.store.kind == StoreHome::Kind::kExternal) AddFiles(flags, &joined.home.store);
  Need(joined.certificate.Save(place.folder));
  Need(SaveClusterHome(place.folder, joined.home));
  std::fprintf(stderr, "'%s' is a node of cluster %s, with %zu others. Start it: evenkeel serve\n",
               own.name.c_str(), joined.home.cluster.c_str(), joined.home.peers.size());
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

void AddEtcdFiles(CLI::App& verb, const std::shared_ptr<ClusterFlags>& flags) {
  verb.add_option("--etcd-ca", flags->etcd_ca, "Authority that an https etcd is held to")
      ->type_name("FILE");
  verb.add_option("--etcd-cert", flags->etcd_cert, "This server's certificate for it")
      ->type_name("FILE");
  verb.add_option("--etcd-key", flags->etcd_key, "Its key")->type_name("FILE");
}

}  // namespace

void RegisterCluster(CLI::App& app) {
  CLI::App* cluster =
      app.add_subcommand("cluster", "Several servers as one: make and join a cluster");
  cluster->require_subcommand(1);
  cluster->footer(kExamples);
  auto flags = std::make_shared<ClusterFlags>();
  CLI::App* init =
      AddVerb(*cluster, "init", "Make a cluster with this server as its first node", flags, Init);
  AddOwn(*init, flags);
  auto* etcd = init->add_option("--etcd", flags->etcd,
                                "An etcd that runs elsewhere keeps the cluster's small facts; else "
                                "the nodes run one")
                   ->type_name("URL,...");
  init->add_flag("--no-store", flags->no_store,
                 "Nothing keeps them: nodes serve together, plans can't be applied")
      ->excludes(etcd);
  init->add_flag("--insecure", flags->insecure, "Allow --etcd without TLS beyond loopback");
  AddEtcdFiles(*init, flags);
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
  AddEtcdFiles(*join, flags);
  AddClusterStatusVerbs(*cluster, kExamples);
}

}  // namespace evenkeel
