#include "server/server.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "access/authorizer.h"
#include "access/bind_rule.h"
#include "access/key_store.h"
#include "access/key_watch.h"
#include "batching/loop_lag_gauge.h"
#include "containers/node_cores.h"
#include "containers/node_memory.h"
#include "containers/runtime.h"
#include "containers/usable_cpus.h"
#include "core/format.h"
#include "core/log.h"
#include "frontends/http_router.h"
#include "frontends/kserve_grpc.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/lag_probe.h"
#include "net/tls_context.h"
#include "profiling/machine.h"
#include "profiling/model_profile.h"
#include "profiling/sampler.h"
#include "repository/scan.h"
#include "server/cluster_host.h"
#include "server/cluster_service.h"
#include "server/language_tables.h"
#include "server/model_registry.h"
#include "server/self_profile.h"
#include "server/service_impl.h"
#include "server/state_lock.h"
#include "server/text_step.h"

namespace evenkeel {

std::string_view ServerVersion() { return EVENKEEL_VERSION; }

namespace {

// The folder of the worker executables, relative to this program: libexec/evenkeel beside it, or in the installed tree.
Result<std::string> FindLibexec() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const char* place : {"libexec/evenkeel", "../libexec/evenkeel"}) {
    auto folder = (program.parent_path() / place).lexically_normal();
    if (std::filesystem::is_directory(folder, error)) return folder.string();
  }
  return Unavailable("no worker executables: expected the folder libexec/evenkeel beside {}",
                     program.string());
}

// `keys`: callers need one.
Status CheckAddresses(const ServeOptions& options, bool keys) {
  for (const ListenAddress* listener : {&options.http, &options.grpc, &options.metrics}) {
    EK_RETURN_IF_ERROR(
        CheckBind(listener->address, {!options.tls_cert_file.empty(), keys, options.insecure}));
  }
  if (!options.cluster.name.empty() && !IsLoopbackAddress(options.cluster.address) &&
      !options.insecure)
    return InvalidArgument(
        "{} is reachable from outside, and nodes without certificates are not told apart from "
        "strangers: make a cluster with certificates (evenkeel cluster init, cluster join), or say "
        "--insecure if the network is trusted",
        options.cluster.address);
  return Status::Ok();
}

std::string Url(const ListenAddress& listen, int port) {
  const bool v6 = listen.address.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", listen.address, port)
            : fmt::format("{}:{}", listen.address, port);
}

HttpServerOptions HttpOptions(const ServeOptions& options, const ListenAddress& listen,
                              std::shared_ptr<TlsServerContext> tls) {
  HttpServerOptions http;
  http.address = listen.address;
  http.port = static_cast<uint16_t>(listen.port);
  http.tls = std::move(tls);
  http.limits.body_bytes = options.max_body_bytes;
  http.limits.connections = options.max_connections;
  http.limits.idle_time = options.idle_timeout;
  http.limits.request_time = options.request_timeout;
  return http;
}

// At most what the quota of the daemon's control group is good for, whole cores.
int WithinQuota(int cores) {
  const auto quota = OwnCoreQuota();
  if (quota && *quota < cores) cores = static_cast<int>(std::ceil(*quota));
  return std::max(1, cores);
}

// The cores that the daemon may use and those that its workers are bound to, together.
int CoresOf(const std::vector<int>& worker_cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  for (const int cpu : worker_cpus) CPU_SET(cpu, &set);
  return WithinQuota(CPU_COUNT(&set));
}

// Everything between the listeners and the workers. Members are made in order and go in reverse.
class Server {
 public:
  explicit Server(ServeOptions options) : options_(std::move(options)) {}

  Status Start();
  // Blocks until a signal, then drains. Returns the exit code.
  int Run(const sigset_t& signals);

 private:
  Status OpenAccess();
  Status StartLoops();
  Status LoadCertificate();
  Status Listen();
  Result<std::shared_ptr<ServedModel>> FindStep(std::string_view name, std::string_view version);
  Status MakeProfile(const std::string& libexec);
  std::vector<std::shared_ptr<ProfiledModel>> ProfiledModels() const;
  void Announce();

  ServeOptions options_;
  std::unique_ptr<StateLock> lock_;
  std::unique_ptr<Authorizer> authorizer_;
  std::unique_ptr<KeyWatch> key_watch_;
  LoopLagGauge loop_lag_;  // told by the loops
  std::vector<std::unique_ptr<IoLoop>> loops_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<NodeScheduler> node_;
  const NodeMemoryGauge memory_;
  std::unique_ptr<InstanceKeeper> keeper_;
  std::unique_ptr<Accelerators> accelerators_;
  std::unique_ptr<LanguageTables> language_tables_;
  std::unique_ptr<ServingContext> context_;
  std::unique_ptr<SelfProfile> profile_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<ClusterHost> cluster_;
  std::unique_ptr<ServiceImpl> service_;
  std::shared_ptr<TlsServerContext> tls_;  // null: none; also the listeners'
  std::unique_ptr<HttpRouter> router_, metrics_router_;
  std::unique_ptr<HttpServer> http_, metrics_;
  std::unique_ptr<KServeGrpc> grpc_;
};

Status Server::OpenAccess() {
  const std::string path = KeyStorePath(options_.state);
  auto authorizer = Authorizer::Open(path, options_.auth);
  if (!authorizer.ok()) return authorizer.status();
  authorizer_ = std::move(*authorizer);
  EK_RETURN_IF_ERROR(CheckAddresses(options_, authorizer_->required()));
  if (authorizer_->required() && authorizer_->valid_keys() == 0) {
    LogWarning(
        "callers need an API key, and none is in force; make one: evenkeel key create --name admin "
        "--scope manage --state '{}'",
        options_.state);
  }
  return {};
}

Status Server::StartLoops() {
  for (int i = 0; i < options_.io_threads; ++i) {
    auto loop = IoLoop::Create(fmt::format("ek-io-{}", i));
    if (!loop.ok()) return loop.status();
    ProbeLag(**loop, [this](Time now, Duration late) { loop_lag_.Saw(now, late); });
    (*loop)->Start();
    loops_.push_back(std::move(*loop));
  }
  return Status::Ok();
}

TlsPairFiles TlsFilesOf(const ServeOptions& options) {
  return {options.tls_cert_file, options.tls_key_file};
}

Status Server::LoadCertificate() {
  const TlsPairFiles files = TlsFilesOf(options_);
  if (files.empty()) return Status::Ok();
  Result<std::unique_ptr<TlsServerContext>> tls = TlsServerContext::Load(files);
  if (!tls.ok()) return tls.status().Annotate("TLS");
  tls_ = std::move(*tls);
  const CertificateFacts facts = tls_->facts();
  const auto now = std::chrono::system_clock::now();
  if (facts.not_after < now) LogWarning("TLS: the certificate '{}' has EXPIRED", files.certificate);
  if (facts.not_before > now)
    LogWarning("TLS: the certificate '{}' is not valid yet", files.certificate);
  return Status::Ok();
}

Status Server::Listen() {
  std::vector<IoLoop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  router_ = std::make_unique<HttpRouter>(*service_, *authorizer_);
  auto http = HttpServer::Listen(HttpOptions(options_, options_.http, tls_), router_.get(), loops);
  if (!http.ok()) return http.status().Annotate("HTTP");
  http_ = std::move(*http);
  metrics_router_ = std::make_unique<HttpRouter>(*service_, *authorizer_, HttpPages::kMetrics);
  auto metrics = HttpServer::Listen(HttpOptions(options_, options_.metrics, tls_),
                                    metrics_router_.get(), {loops.front()});
  if (!metrics.ok()) return metrics.status().Annotate("metrics");
  metrics_ = std::move(*metrics);
  GrpcOptions grpc_options;
  grpc_options.address = options_.grpc.address;
  grpc_options.port = options_.grpc.port;
  grpc_options.max_message_bytes = options_.max_body_bytes;
  grpc_options.max_connections = options_.max_grpc_connections;
  grpc_options.tls = TlsFilesOf(options_);
  auto grpc = KServeGrpc::Start(*service_, *authorizer_, grpc_options);
  if (!grpc.ok()) return grpc.status().Annotate("gRPC");
  grpc_ = std::move(*grpc);
  return Status::Ok();
}

Status Server::Start() {
  auto cpus = UsableCpus(options_.worker_cpus);
  if (!cpus.ok()) return cpus.status();
  options_.worker_cpus = std::move(*cpus);
  EK_RETURN_IF_ERROR(OpenAccess());
  EK_RETURN_IF_ERROR(LoadCertificate());
  auto libexec = FindLibexec();
  if (!libexec.ok()) return libexec.status();
  auto lock = StateLock::Take(options_.state);
  if (!lock.ok()) return lock.status();
  lock_ = std::move(*lock);
  if (options_.auth != AuthMode::kOff) key_watch_ = std::make_unique<KeyWatch>(*authorizer_);
  std::error_code error;
  std::filesystem::create_directories(options_.models, error);
  EK_RETURN_IF_ERROR(CheckModelsFolder(options_.models));
  const std::string compiled = options_.cache + "/compiled";
  std::filesystem::create_directories(compiled, error);
  if (error) LogWarning("no cache of compiled models: '{}': {}", compiled, error.message());
  EK_RETURN_IF_ERROR(StartLoops());
  auto runtime = MakeRuntime({options_.runtime, options_.state, *libexec});
  if (!runtime.ok()) return runtime.status();
  runtime_ = std::move(*runtime);
  if (const Status kept = KeepRung(options_.state, runtime_->rung()); !kept.ok())
    LogWarning("{}", kept.message());
  SamplerOptions samples;
  samples.folder = options_.state + "/samples";
  samples.max_rows = options_.samples_items;
  samples.max_bytes = options_.samples_bytes;
  samples.max_age_s =
      std::chrono::duration_cast<std::chrono::seconds>(options_.samples_max_age).count();
  sampler_ = Sampler::Create(std::move(samples));
  const int cores = WithinQuota(options_.worker_cpus.empty()
                                    ? static_cast<int>(std::thread::hardware_concurrency())
                                    : static_cast<int>(options_.worker_cpus.size()));
  // Under `fixed` every model that does not say has that rule of its own; the node's decides for none.
  const bool fixed = options_.batching == "fixed";
  auto policy = policy::MakeNodePolicy(fixed ? "auto" : options_.batching,
                                       {.ratio_threshold = options_.ratio_threshold});
  if (!policy.ok()) return policy.status();
  node_ =
      std::make_unique<NodeScheduler>(std::move(*policy), std::max(1, cores), options_.save_power,
                                      *loops_.front(), SteadyClock::Instance());
  InstanceKeeper::Options keeping;
  keeping.cores = std::max(1, cores);
  keeping.headroom_bytes = options_.memory_headroom > 0
                               ? options_.memory_headroom
                               : policy::DefaultHeadroom(memory_.Read().total_bytes);
  const int64_t headroom = keeping.headroom_bytes;
  keeping.free_memory = [this] { return memory_.Read().free_bytes; };
  keeper_ = std::make_unique<InstanceKeeper>(std::move(keeping), *loops_.front(),
                                             SteadyClock::Instance());
  accelerators_ = std::make_unique<Accelerators>(
      options_.emulated_gpu, *libexec + "/evenkeel-worker-openvino",
      runtime_->rung() == Rung::kOci ? "containers are given no device: use --runtime cgroup" : "");
  if (options_.emulated_gpu) {
    LogWarning("an accelerator is EMULATED, which is for tests only: {}",
               FormatEmulatedGpu(*options_.emulated_gpu));
  }
  context_ = std::make_unique<ServingContext>(
      ServingContext{*loops_.front(), SteadyClock::Instance(), *runtime_, *sampler_, *libexec,
                     error ? std::string() : compiled, options_.worker_cpus,
                     options_.threads > 0 ? options_.threads : std::max(1, cores),
                     options_.max_body_bytes, options_.samples, CoresOf(options_.worker_cpus),
                     node_.get(), keeper_.get(), options_.min_instances, options_.keep_alive});
  context_->accelerators = accelerators_.get();
  context_->hard_cores = options_.hard_cores;
  context_->loop_lag = &loop_lag_;
  if (options_.profiling) context_->language_measure_after = options_.profile_after;
  context_->save_power = options_.save_power;
  if (fixed) context_->fixed_delay = options_.batch_delay;
  context_->spare_memory = [this, headroom]() -> std::optional<int64_t> {
    const auto free = memory_.Read().free_bytes;
    if (!free) return std::nullopt;
    return *free - headroom;
  };
  registry_ = std::make_unique<ModelRegistry>(*context_, options_.models);
  EK_RETURN_IF_ERROR(MakeProfile(*libexec));
  // Behind the profile, which sets a damaged file of tables aside.
  language_tables_ = std::make_unique<LanguageTables>(
      options_.state, ThisMachine(HostFor(runtime_->rung(), options_.worker_cpus)).fingerprint,
      runtime_->rung(), *loops_.front());
  context_->language_tables = language_tables_.get();
  auto cluster = ClusterHost::Start(options_, *registry_, *loops_.front(), SteadyClock::Instance());
  if (!cluster.ok()) return cluster.status().Annotate("cluster");
  cluster_ = std::move(*cluster);
  if (cluster_) {
    service_ = std::make_unique<ClusterService>(*registry_, *sampler_, *profile_, *accelerators_,
                                                *cluster_);
  } else {
    service_ = std::make_unique<ServiceImpl>(*registry_, *sampler_, *profile_, *accelerators_);
  }
  context_->find_model = [this](std::string_view name, std::string_view version) {
    return FindStep(name, version);
  };
  EK_RETURN_IF_ERROR(Listen());
  registry_->LoadAll([this] { Announce(); });
  return Status::Ok();
}

// What a step of an ensemble calls: a model of tensors, or a language model as one.
Result<std::shared_ptr<ServedModel>> Server::FindStep(std::string_view name,
                                                      std::string_view version) {
  auto found = service_->Find(name, version);
  if (found.ok()) return found;
  auto language = service_->FindLanguageModel(name);
  if (!language.ok())
    return language.status().code() == Code::kNotFound ? found : language.status();
  auto step = std::make_shared<TextStep>(std::move(*language), SteadyClock::Instance());
  if (!version.empty() && version != step->version())
    return NotFound("model '{}' has no version {}", name, version);
  return std::shared_ptr<ServedModel>(std::move(step));
}

Status Server::MakeProfile(const std::string& libexec) {
  SelfProfileOptions profile;
  profile.enabled = options_.profiling;
  profile.state = options_.state;
  profile.libexec = libexec;
  profile.cache = context_->cache;
  profile.rung = runtime_->rung();
  profile.worker_cpus = options_.worker_cpus;
  profile.cores = context_->cores;
  profile.fixed_threads = options_.threads;
  if (!options_.profile_shapes.empty()) profile.shapes = options_.profile_shapes;
  if (!options_.profile_batches.empty()) profile.batches = options_.profile_batches;
  profile.after = options_.profile_after;
  profile.drift = options_.profile_drift;
  profile.by_method = options_.batching == "method";
  profile.ratio_threshold = options_.ratio_threshold;
  profile.accelerators = accelerators_.get();
  profile.others_busy = [node = context_->node] { return node != nullptr && node->StandingBusy(); };
  auto made = SelfProfile::Create(std::move(profile), *sampler_, context_->clock);
  if (!made.ok()) return made.status();
  profile_ = std::move(*made);
  context_->profile = profile_.get();
  return Status::Ok();
}

std::vector<std::shared_ptr<ProfiledModel>> Server::ProfiledModels() const {
  std::vector<std::shared_ptr<ProfiledModel>> models;
  const auto serving = registry_->Serving("", "");
  if (serving.ok()) models.assign(serving->begin(), serving->end());
  return models;
}

void Server::Announce() {
  profile_->Begin([this] { return ProfiledModels(); });
  size_t ready = 0;
  std::string first;
  const auto index = registry_->Index(false);
  for (const auto& entry : index) {
    if (entry.state != "READY") continue;
    if (ready++ == 0) first = entry.name;
  }
  const std::string scheme = tls_ == nullptr ? "http://" : "https://";
  const std::string http = scheme + Url(options_.http, http_->port());
  std::fprintf(stderr,
               "evenkeel %s serves %zu of %zu models\n  HTTP     %s\n  gRPC     %s%s\n  "
               "metrics  %s/metrics\n  workers  %s: %s\n",
               std::string(ServerVersion()).c_str(), ready, index.size(), http.c_str(),
               Url(options_.grpc, grpc_->port()).c_str(), tls_ == nullptr ? "" : " (TLS)",
               (scheme + Url(options_.metrics, metrics_->port())).c_str(),
               std::string(NameOf(runtime_->rung())).c_str(),
               std::string(DescriptionOf(runtime_->rung())).c_str());
  if (cluster_) std::fprintf(stderr, "  node     %s\n", cluster_->Summary().c_str());
  if (authorizer_->required()) {
    std::fprintf(stderr, "  access   with an API key (%zu in force): Authorization: Bearer KEY\n",
                 authorizer_->valid_keys());
  }
  if (ready > 0) {
    const std::string trust = tls_ == nullptr ? "" : "--cacert " + options_.tls_cert_file + " ";
    std::fprintf(stderr, "try      curl %s%s/v2/models/%s\n", trust.c_str(), http.c_str(),
                 first.c_str());
  } else {
    std::fprintf(stderr, "put a model (x.onnx, x.xml, ...) into %s, then: evenkeel load x\n",
                 options_.models.c_str());
  }
}

int Server::Run(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  LogInfo("{}: draining, {:.0f} s at most; a second signal ends at once", strsignal(signal),
          Seconds(options_.drain_timeout));
  // The second signal must act while main waits.
  std::thread([signals] {
    int again = 0;
    sigwait(&signals, &again);
    _exit(128 + again);
  }).detach();
  auto done = std::make_shared<std::promise<void>>();
  auto finished = done->get_future();
  profile_->Stop();
  http_->Drain();
  grpc_->Drain();
  if (cluster_) cluster_->Drain();
  const Time latest = SteadyClock::Instance().Now() + options_.drain_timeout;
  loops_.front()->Post([this, done] { registry_->Shutdown([done] { done->set_value(); }); });
  if (finished.wait_for(options_.drain_timeout) != std::future_status::ready) {
    LogWarning("drain took longer than {:.0f} s: what still waits is answered 503",
               Seconds(options_.drain_timeout));
    loops_.front()->Post([this] { registry_->AbandonAll(); });
    finished.wait_for(std::chrono::seconds(5));
  }
  // What other nodes compute for this one's clients is waited for as well.
  while (cluster_ && cluster_->node().CallsElsewhere() > 0 &&
         SteadyClock::Instance().Now() < latest)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  // The last answers are on their way out.
  for (int i = 0; i < 200 && http_->stats().open > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  grpc_->Shutdown(std::chrono::seconds(2));
  if (cluster_) cluster_->Stop();
  http_.reset();
  metrics_.reset();
  sampler_->Flush();
  language_tables_->Flush();
  runtime_->EndAll();
  LogInfo("ended");
  spdlog::shutdown();
  return 0;
}

}  // namespace

int RunServer(const ServeOptions& options) {
  // Before any thread: signals are taken by sigwait only.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);  // the terminal was closed
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  if (!InitLogging(options.log_level)) {
    std::fprintf(stderr, "evenkeel: unknown log level '%s'\n", options.log_level.c_str());
    return 2;
  }
  // Two descriptors a connection and a few an instance: take what the system allows.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  Server server(options);
  if (const Status status = server.Start(); !status.ok()) {
    std::fprintf(stderr, "evenkeel: %s\n", status.message().c_str());
    // Loops and workers are torn down by the exit; nothing was accepted yet.
    std::fflush(stderr);
    _exit(1);
  }
  const int code = server.Run(signals);
  // Everything was answered and written; model memory need not be given back piece by piece.
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace evenkeel
