// `evenkeel serve`: one flag a setting, then the daemon.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "commands.h"
#include "core/check.h"
#include "core/format.h"
#include "core/settings.h"
#include "server/cluster_options.h"
#include "server/server.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel serve                              models in ~/.local/share/evenkeel/models\n"
    "  evenkeel serve ./models --http-port 9000    another folder, another port\n"
    "  evenkeel serve ./models --samples-mode disk --samples-max-age 168h\n"
    "  evenkeel config show --origin               what serve would use, and why";

SampleMode ModeOf(const std::string& text) {
  if (text == "off") return SampleMode::kOff;
  return text == "disk" ? SampleMode::kDisk : SampleMode::kMemory;
}

AuthMode AuthOf(const std::string& text) {
  if (text == "off") return AuthMode::kOff;
  return text == "required" ? AuthMode::kRequired : AuthMode::kAuto;
}

ServeOptions OptionsOf(const Settings& settings) {
  const auto listen = [&settings](const std::string& name) {
    return ListenAddress{settings.text(name + ".address"),
                         static_cast<int>(settings.integer(name + ".port"))};
  };
  ServeOptions options;
  options.models = settings.text("models");
  options.state = settings.text("state");
  options.cache = settings.text("cache");
  options.http = listen("http");
  options.grpc = listen("grpc");
  options.metrics = listen("metrics");
  options.insecure = settings.flag("insecure");
  options.tls_cert_file = settings.text("tls.cert_file");
  options.tls_key_file = settings.text("tls.key_file");
  options.auth = AuthOf(settings.text("auth"));
  options.io_threads = static_cast<int>(settings.integer("io_threads"));
  options.worker_cpus = settings.cpus("worker_cpus");
  options.threads = static_cast<int>(settings.integer("threads"));
  options.min_instances = static_cast<int>(settings.integer("min_instances"));
  options.keep_alive = settings.duration("keep_alive");
  options.memory_headroom = settings.bytes("memory_headroom");
  options.runtime = settings.text("runtime");
  options.emulated_gpu = settings.emulated_gpu("emulated_gpu");
  options.batching = settings.text("batching");
  options.batch_delay = settings.duration("batch_delay");
  options.profiling = settings.text("profiling") == "auto";
  options.profile_shapes = settings.text("profile_shapes");
  options.profile_batches = settings.text("profile_batches");
  options.profile_after = settings.duration("profile_after");
  options.profile_drift = settings.duration("profile_drift");
  options.ratio_threshold = settings.ratio("ratio_threshold");
  options.hard_cores = settings.flag("hard_cores");
  options.save_power = settings.text("power") == "save";
  options.log_level = settings.text("log_level");
  options.max_body_bytes = static_cast<size_t>(settings.bytes("max_body"));
  options.max_connections = static_cast<int>(settings.integer("max_connections"));
  options.max_grpc_connections = static_cast<int>(settings.integer("max_grpc_connections"));
  options.request_timeout = settings.duration("request_timeout");
  options.idle_timeout = settings.duration("idle_timeout");
  options.drain_timeout = settings.duration("drain_timeout");
  options.samples = ModeOf(settings.text("samples.mode"));
  options.samples_items = static_cast<int>(settings.integer("samples.items"));
  options.samples_bytes = static_cast<size_t>(settings.bytes("samples.size"));
  options.samples_max_age = settings.duration("samples.max_age");
  return options;
}

// What a flag takes, as help shows it.
const char* PlaceholderOf(SettingKind kind) {
  switch (kind) {
    case SettingKind::kFolder: return "FOLDER";
    case SettingKind::kFile: return "FILE";
    case SettingKind::kAddress: return "ADDRESS";
    case SettingKind::kUrl: return "URL";
    case SettingKind::kInteger: return "NUMBER";
    case SettingKind::kDuration: return "TIME";
    case SettingKind::kBytes: return "SIZE";
    case SettingKind::kCpus: return "CORES";
    case SettingKind::kRatio: return "RATIO";
    case SettingKind::kEmulatedGpu: return "DEVICE";
    case SettingKind::kText:
    case SettingKind::kChoice:
    case SettingKind::kBool: break;
  }
  return "";
}

std::string HelpOf(const Setting& setting) {
  std::string help(setting.spec->help);
  if (!setting.spec->choices.empty()) help += " (" + std::string(setting.spec->choices) + ")";
  if (!setting.text.empty() && setting.spec->kind != SettingKind::kBool) {
    help += " [" + setting.text + "]";
  }
  return help;
}

// The texts that the command line gave, by key.
using Given = std::map<std::string, std::string>;

void AddFlag(CLI::App& serve, const Setting& fallback, const std::shared_ptr<Given>& given) {
  const SettingSpec& spec = *fallback.spec;
  const std::string key(spec.key);
  const std::string name = FlagName(key);
  CLI::Option* option = nullptr;
  if (spec.kind == SettingKind::kBool) {
    option = serve.add_flag_callback(
        name, [given, key] { (*given)[key] = "true"; }, HelpOf(fallback));
  } else {
    option = serve.add_option_function<std::string>(
        name, [given, key](const std::string& text) { (*given)[key] = text; }, HelpOf(fallback));
    option->type_name(PlaceholderOf(spec.kind));
  }
  option->check([&spec](const std::string& text) -> std::string {
    // A flag's own text is the library's affair.
    if (spec.kind == SettingKind::kBool) return {};
    const Status status = CheckSetting(spec, text);
    return status.ok() ? std::string() : status.message();
  });
}

// The default folder is made at the first start. One that somebody named is not: a mistyped name
// would serve nothing, and look well.
Status CheckNamedFolder(const Setting& models) {
  std::error_code error;
  if (models.origin == "default" || std::filesystem::exists(models.text, error)) return {};
  return InvalidArgument("models: the folder '{}' does not exist ({}); make it: mkdir -p '{}'",
                         models.text, models.origin, models.text);
}

Status CheckTlsPair(const Settings& settings) {
  const Setting& certificate = settings.at("tls.cert_file");
  const Setting& key = settings.at("tls.key_file");
  if (certificate.text.empty() == key.text.empty()) return {};
  const Setting& given = certificate.text.empty() ? key : certificate;
  const Setting& missing = certificate.text.empty() ? certificate : key;
  return InvalidArgument("{} is set ({}) and {} is not: TLS needs both", given.spec->key,
                         given.origin, missing.spec->key);
}

int Serve(const Given& given) {
  SettingSources sources = DefaultSources();
  sources.flags.assign(given.begin(), given.end());
  std::vector<std::string> warnings;
  const Result<Settings> settings = Settings::Resolve(sources, &warnings);
  for (const std::string& line : warnings) std::fprintf(stderr, "evenkeel: %s\n", line.c_str());
  if (!settings.ok()) {
    std::fprintf(stderr, "evenkeel: %s\n", settings.status().message().c_str());
    return kExitUsage;
  }
  for (const Status& status : {CheckNamedFolder(settings->at("models")), CheckTlsPair(*settings)}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "evenkeel: %s\n", status.message().c_str());
    return kExitUsage;
  }
  Result<ClusterOptions> cluster = ClusterOptionsOf(*settings);
  if (!cluster.ok()) {
    std::fprintf(stderr, "evenkeel: %s\n", cluster.status().message().c_str());
    return kExitUsage;
  }
  ServeOptions options = OptionsOf(*settings);
  options.cluster = std::move(*cluster);
  return RunServer(options);
}

}  // namespace

void RegisterServe(CLI::App& app) {
  CLI::App* serve =
      app.add_subcommand("serve", "Serve the models of a folder until SIGTERM or Ctrl-C");
  serve->footer(kExamples);
  auto given = std::make_shared<Given>();
  serve
      ->add_option_function<std::string>(
          "MODELS", [given](const std::string& text) { (*given)["models"] = text; },
          "Folder of models and model folders; the same as --models")
      ->type_name("");
  // Help shows the defaults as they are for this user.
  SettingSources none = DefaultSources();
  none.environment.clear();
  none.files.clear();
  const Result<Settings> defaults = Settings::Resolve(none, nullptr);
  EK_CHECK(defaults.ok());
  for (const Setting& setting : defaults->all()) {
    if (setting.spec->serve) AddFlag(*serve, setting, given);
  }
  serve->callback([given] {
    if (const int code = Serve(*given); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace evenkeel
