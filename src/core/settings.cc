#include "core/settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "core/settings_file.h"
#include "core/suggest.h"

extern char** environ;

namespace evenkeel {
namespace {

using enum SettingKind;
constexpr std::string_view kKeyVariable =
    "EVENKEEL_API_KEY";  // a secret, so no setting: the verbs say that they do not read it
constexpr int64_t kHour = 3600LL * 1000 * 1000 * 1000;
constexpr int64_t kYear = 365 * 24 * kHour;
constexpr int64_t kMs = 1000 * 1000;

constexpr SettingSpec Text(SettingKind kind, std::string_view key, std::string_view default_text,
                           std::string_view help) {
  return {key, kind, default_text, 0, 0, {}, true, help};
}
constexpr SettingSpec Number(SettingKind kind, std::string_view key, std::string_view default_text,
                             int64_t lo, int64_t hi, std::string_view help) {
  return {key, kind, default_text, lo, hi, {}, true, help};
}
constexpr SettingSpec Choice(std::string_view key, std::string_view default_text,
                             std::string_view choices, std::string_view help) {
  return {key, kChoice, default_text, 0, 0, choices, true, help};
}
constexpr SettingSpec Client(SettingSpec spec) {
  spec.serve = false;
  return spec;
}

constexpr auto kSettings = std::to_array<SettingSpec>({
    Text(kFolder, "models", "$DATA/models", "Folder of models and model folders"),
    Text(kFolder, "state", "$STATE", "Folder for what must survive a restart (lock, samples)"),
    Text(kFolder, "cache", "$CACHE", "Folder for compiled models; safe to delete"),
    Text(kAddress, "http.address", "127.0.0.1", "Address to listen on for HTTP"),
    Number(kInteger, "http.port", "8000", 0, 65535, "Port for HTTP; 0 takes any free one"),
    Text(kAddress, "grpc.address", "127.0.0.1", "Address to listen on for gRPC"),
    Number(kInteger, "grpc.port", "8001", 0, 65535, "Port for gRPC; 0 takes any free one"),
    Text(kAddress, "metrics.address", "127.0.0.1", "Address to listen on for /metrics"),
    Number(kInteger, "metrics.port", "8002", 0, 65535, "Port for /metrics; 0 takes any free one"),
    Text(kFile, "tls.cert_file", "",
         "Certificate chain (PEM) of HTTP, gRPC and metrics; with tls.key_file. Empty: no TLS"),
    Text(kFile, "tls.key_file", "", "Private key (PEM, not encrypted) of tls.cert_file"),
    Text(kBool, "insecure", "false",
         "Allow an address that is not loopback without TLS and API keys"),
    Choice("auth", "auto", "auto|required|off",
           "Whether callers need an API key; auto: as soon as one was ever made"),
    Text(kText, "cluster.name", "", "Name of this node in a cluster; empty: it is alone"),
    Text(kAddress, "cluster.address", "127.0.0.1", "Address to listen on for other nodes"),
    Number(kInteger, "cluster.port", "8010", 0, 65535,
           "Port for other nodes; 0 takes any free one"),
    Text(kText, "cluster.peers", "", "The other nodes, as in b=10.0.0.2:8010,c=10.0.0.3:8010"),
    Choice("cluster.route", "utility", "utility|method|least-loaded|two-choices|weighted|random",
           "Which node a request goes to where several serve its model"),
    Choice("cluster.balance", "auto", "auto|method|off",
           "How waiting requests and running sequences move between nodes"),
    Number(kBytes, "cluster.copy_rate", "64MiB", 64 << 10, int64_t{1} << 40,
           "Bytes a second that models may be copied with from other nodes"),
    Choice("cluster.replan", "propose", "propose|auto",
           "What becomes of a plan that is worth its moves: an event, or it is applied"),
    Number(kDuration, "cluster.lease", "10s", kMs * 1000, 300 * kMs * 1000,
           "Time after which a node that the cluster's store does not hear of loses its lease"),
    Number(kInteger, "io_threads", "1", 1, 64, "Threads that serve HTTP connections"),
    Text(kCpus, "worker_cpus", "", "Cores for workers, as in 0-3,8; empty: all"),
    Number(kInteger, "threads", "0", 0, 1024, "Threads of a model instance; 0: as many as cores"),
    Number(kInteger, "min_instances", "1", 0, 64,
           "Instances that a model keeps without requests; 0: none, the next request starts one"),
    Number(kDuration, "keep_alive", "5m", 0, 365 * 24 * kHour,
           "Time without requests after which min_instances are left"),
    Number(kBytes, "memory_headroom", "0", 0, int64_t{1} << 50,
           "Memory that instances leave free; 0: the larger of 5 % and 256MiB"),
    Choice("runtime", "auto", "none|process|cgroup|oci|auto",
           "How workers are isolated; auto: the most that works here (see doctor)"),
    Text(
        kBool, "hard_cores", "false",
        "Whether workers that a shape holds get whole cores by quota too, never a neighbour's idle "
        "time"),
    Text(kEmulatedGpu, "emulated_gpu", "",
         "For tests: an accelerator that there is not, as in "
         "16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB; "
         "empty: none"),
    Choice("batching", "auto", "auto|method|gated-greedy|greedy|none|fixed",
           "How batches are formed, for models that do not say; see docs/batching_policy.md"),
    Number(kDuration, "batch_delay", "5ms", 0, kMs * 60000,
           "With batching fixed: how long a batch waits for its largest size at most"),
    Choice("profiling", "auto", "auto|off",
           "Whether models are measured beside serving, and what they run on follows"),
    Text(kText, "profile_shapes", "",
         "Worker shapes to measure, as in 1c/512MiB,2c/1GiB; empty: what this host holds"),
    Text(kText, "profile_batches", "",
         "Batch sizes to measure, as in 1,8,64; empty: 1, 2, 4 ... a model's largest"),
    Number(kDuration, "profile_after", "5s", 0, kHour,
           "Measuring begins so long after all models are ready"),
    Number(kDuration, "profile_drift", "60s", 1000 * kMs, 24 * kHour,
           "A model whose batches take other than measured times for so long is measured again"),
    Number(kRatio, "ratio_threshold", "0.8", 1, 1'000'000,
           "Batchtime / NoBatchtime at which --batching method counts batching as worth it"),
    Choice("power", "performance", "performance|save",
           "save: wait within the objectives for larger batches, which take less core time"),
    Choice("log_level", "info", "debug|info|warning|error", "Least level that is logged"),
    Number(kBytes, "max_body", "64MiB", 1024, int64_t{16} << 30,
           "Largest request body, after decompression"),
    Number(kInteger, "max_connections", "4096", 1, 1'000'000, "HTTP connections open at once"),
    Number(kInteger, "max_grpc_connections", "4096", 1, 1'000'000, "gRPC connections open at once"),
    Number(kDuration, "request_timeout", "30s", 100 * kMs, kHour,
           "Time for a whole HTTP request to arrive, head and body"),
    Number(kDuration, "idle_timeout", "120s", 100 * kMs, kHour,
           "How long a connection without a request is kept"),
    Number(kDuration, "drain_timeout", "30s", 0, kHour,
           "Time for accepted requests to finish at SIGTERM"),
    Choice("samples.mode", "memory", "off|memory|disk",
           "Where a sample of request inputs is kept, for models that do not say"),
    Number(kInteger, "samples.items", "128", 1, 1'000'000, "Rows kept for a model and signature"),
    Number(kBytes, "samples.size", "64MiB", int64_t{64} << 10, int64_t{64} << 30,
           "Bytes kept for a model"),
    Number(kDuration, "samples.max_age", "0s", 0, 10 * kYear,
           "Age at which a sampled row is dropped; 0: never"),
    Client(Text(kUrl, "server", "http://127.0.0.1:8000", "Server that ls, ps, show, load ... ask")),
    Client(Text(kFile, "tls.ca_file", "",
                "Certificates (PEM) to trust when that is https; empty: those of this system")),
    Client(Text(kText, "api_key_file", "",
                "File with the API key that ls, ps, show, load ... send; empty: none")),
});

std::string MakeName(std::string_view prefix, std::string_view key, char separator, bool upper) {
  std::string name(prefix);
  for (char c : key) {
    if (c == '.' || c == '_') c = separator;
    name += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
  }
  return name;
}

bool IsOneOf(std::string_view word, std::string_view choices) {
  while (!choices.empty()) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == word) return true;
    choices = bar == std::string_view::npos ? std::string_view{} : choices.substr(bar + 1);
  }
  return false;
}

template <typename T>
Status CheckRange(const Result<T>& value, int64_t number, const SettingSpec& spec,
                  const std::function<std::string(int64_t)>& show, std::string_view text) {
  if (!value.ok()) return value.status();
  if (number >= spec.lo && number <= spec.hi) return Status::Ok();
  return InvalidArgument("expected {} to {}, got {}", show(spec.lo), show(spec.hi), Excerpt(text));
}

Status CheckDuration(const SettingSpec& spec, std::string_view text) {
  const Result<Duration> value = ParseDuration(text);
  return CheckRange(
      value, value.ok() ? value->count() : 0, spec,
      [](int64_t ns) { return FormatDuration(Duration(ns)); }, text);
}

Status CheckBytes(const SettingSpec& spec, std::string_view text) {
  const Result<int64_t> value = ParseBytes(text);
  return CheckRange(value, value.ok() ? *value : 0, spec, FormatBytes, text);
}

Status CheckUrl(std::string_view text) {
  const bool known = text.starts_with("http://") || text.starts_with("https://");
  if (known && text.find_first_of(" \t\r\n") == std::string_view::npos && text.size() > 8)
    return Status::Ok();
  return InvalidArgument("expected a URL like http://127.0.0.1:8000, got {}", Excerpt(text));
}

Status CheckAddress(std::string_view text) {
  const bool plain = !text.empty() &&
                     text.find_first_not_of("0123456789abcdefABCDEF.:%") == std::string_view::npos;
  if (plain && text.find_first_of(".:") != std::string_view::npos) return Status::Ok();
  return InvalidArgument("expected an IPv4 or IPv6 address like 127.0.0.1 or ::1, got {}",
                         Excerpt(text));
}

// A given folder or file, absolute: ~ is the user's home, a relative one starts at `base`.
std::string AbsolutePath(const std::string& text, const SettingSources& sources,
                         const std::string& base) {
  const std::pair<std::string_view, const std::string*> stands[] = {
      {"$DATA", &sources.data_folder},
      {"$STATE", &sources.state_folder},
      {"$CACHE", &sources.cache_folder}};
  for (const auto& [word, folder] : stands) {
    if (text.starts_with(word)) return *folder + text.substr(word.size());
  }
  std::filesystem::path path(text);
  if (text == "~" || text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    path = std::string(home == nullptr ? "/" : home) + text.substr(1);
  }
  if (path.is_relative()) path = std::filesystem::path(base) / path;
  path = path.lexically_normal();
  // "a/" and "a" are the same folder, also as text.
  return path.has_filename() || path == path.root_path() ? path.string()
                                                         : path.parent_path().string();
}

std::string XdgFolder(const char* variable, const std::string& below_home) {
  // The base directory specification has relative values ignored.
  if (const char* value = std::getenv(variable); value != nullptr && value[0] == '/') return value;
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr || home[0] != '/' ? "/root" : home) + "/" + below_home;
}

void WarnOfUnknown(const SettingSources::Pairs& environment, std::vector<std::string>* warnings) {
  std::vector<std::string> names;
  for (const SettingSpec& spec : kSettings) names.push_back(EnvironmentName(spec.key));
  const std::vector<std::string_view> views(names.begin(), names.end());
  for (const auto& [name, text] : environment) {
    if (!name.starts_with("EVENKEEL_") || name == kKeyVariable ||
        std::find(names.begin(), names.end(), name) != names.end())
      continue;
    const std::string_view near = ClosestTo(name, views);
    if (!near.empty())
      warnings->push_back(fmt::format("{} is no setting; did you mean {}?", name, near));
  }
}

// What one source says, by key.
struct Given {
  std::string text, origin, base;
};
using GivenByKey = std::map<std::string, Given, std::less<>>;

Result<GivenByKey> Collect(const SettingSources& sources) {
  GivenByKey given;
  const auto add = [&given](std::string_view key, Given value) -> Status {
    const SettingSpec* spec = FindSetting(key);
    EK_CHECK(spec != nullptr);
    EK_RETURN_IF_ERROR(
        CheckSetting(*spec, value.text).Annotate(fmt::format("{}: {}", value.origin, key)));
    given.try_emplace(std::string(key), std::move(value));  // stronger sources come first
    return Status::Ok();
  };
  for (const auto& [key, text] : sources.flags) {
    EK_RETURN_IF_ERROR(add(key, {text, "flag " + FlagName(key), sources.working_folder}));
  }
  for (const SettingSpec& spec : kSettings) {
    const std::string variable = EnvironmentName(spec.key);
    for (const auto& [name, text] : sources.environment) {
      if (name != variable) continue;
      EK_RETURN_IF_ERROR(add(spec.key, {text, "environment " + variable, sources.working_folder}));
    }
  }
  for (const std::string& file : sources.files) {
    const std::string folder = std::filesystem::path(file).parent_path().string();
    Result<std::vector<FileSetting>> settings = ReadSettingsFile(file);
    if (!settings.ok()) return settings.status();
    for (FileSetting& setting : *settings) {
      EK_RETURN_IF_ERROR(
          add(setting.key, {setting.text, fmt::format("{}:{}", file, setting.line), folder}));
    }
  }
  return given;
}

}  // namespace

std::span<const SettingSpec> AllSettings() { return kSettings; }

const SettingSpec* FindSetting(std::string_view key) {
  const auto found = std::find_if(kSettings.begin(), kSettings.end(),
                                  [key](const auto& s) { return s.key == key; });
  return found == kSettings.end() ? nullptr : &*found;
}

std::string EnvironmentName(std::string_view key) { return MakeName("EVENKEEL_", key, '_', true); }
std::string FlagName(std::string_view key) { return MakeName("--", key, '-', false); }

Status CheckSetting(const SettingSpec& spec, std::string_view text) {
  switch (spec.kind) {
    case kText: return Status::Ok();
    case kFolder:
      if (!text.empty() && text.find('\0') == std::string_view::npos) return Status::Ok();
      return InvalidArgument("expected a folder, got {}", Excerpt(text));
    case kFile:
      if (text.find('\0') == std::string_view::npos) return Status::Ok();
      return InvalidArgument("expected a file, got {}", Excerpt(text));
    case kAddress: return CheckAddress(text);
    case kUrl: return CheckUrl(text);
    case kInteger: return ParseInt(text, spec.lo, spec.hi).status();
    case kBool:
      if (text == "true" || text == "false") return Status::Ok();
      return InvalidArgument("expected true or false, got {}", Excerpt(text));
    case kDuration: return CheckDuration(spec, text);
    case kBytes: return CheckBytes(spec, text);
    case kChoice:
      if (IsOneOf(text, spec.choices)) return Status::Ok();
      return InvalidArgument("expected one of {}, got {}", spec.choices, Excerpt(text));
    case kCpus: return ParseCpus(text).status();
    case kRatio:
      return ParseNumber(text, static_cast<double>(spec.lo) * 1e-6,
                         static_cast<double>(spec.hi) * 1e-6)
          .status();
    case kEmulatedGpu: return text.empty() ? Status::Ok() : ParseEmulatedGpu(text).status();
  }
  return Internal("unknown kind of setting");
}

SettingSources DefaultSources() {
  SettingSources sources;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line(*entry);
    const size_t equals = line.find('=');
    if (!line.starts_with("EVENKEEL_") || equals == std::string_view::npos) continue;
    sources.environment.emplace_back(line.substr(0, equals), line.substr(equals + 1));
  }
  sources.files = {XdgFolder("XDG_CONFIG_HOME", ".config") + "/evenkeel/config.yaml",
                   "/etc/evenkeel/config.yaml"};
  sources.data_folder = XdgFolder("XDG_DATA_HOME", ".local/share") + "/evenkeel";
  sources.state_folder = XdgFolder("XDG_STATE_HOME", ".local/state") + "/evenkeel";
  sources.cache_folder = XdgFolder("XDG_CACHE_HOME", ".cache") + "/evenkeel";
  std::error_code ignored;
  sources.working_folder = std::filesystem::current_path(ignored).string();
  return sources;
}

Result<Settings> Settings::Resolve(const SettingSources& sources,
                                   std::vector<std::string>* warnings) {
  Result<GivenByKey> given = Collect(sources);
  if (!given.ok()) return given.status();
  Settings settings;
  for (const SettingSpec& spec : kSettings) {
    Setting setting{&spec, std::string(spec.default_text), "default"};
    std::string base = sources.working_folder;
    if (const auto found = given->find(spec.key); found != given->end()) {
      setting.text = found->second.text;
      setting.origin = found->second.origin;
      base = found->second.base;
    }
    const bool file = spec.kind == kFile && !setting.text.empty();
    if (spec.kind == kFolder || file) setting.text = AbsolutePath(setting.text, sources, base);
    settings.settings_.push_back(std::move(setting));
  }
  if (warnings != nullptr) WarnOfUnknown(sources.environment, warnings);
  return settings;
}

const Setting& Settings::at(std::string_view key) const {
  const SettingSpec* spec = FindSetting(key);
  EK_CHECK(spec != nullptr);
  return settings_[static_cast<size_t>(spec - kSettings.data())];
}

int64_t Settings::integer(std::string_view key) const {
  const Setting& setting = at(key);
  const Result<int64_t> value = ParseInt(setting.text, setting.spec->lo, setting.spec->hi);
  EK_CHECK(value.ok());
  return *value;
}

bool Settings::flag(std::string_view key) const { return at(key).text == "true"; }

double Settings::ratio(std::string_view key) const {
  const Setting& setting = at(key);
  const Result<double> value =
      ParseNumber(setting.text, static_cast<double>(setting.spec->lo) * 1e-6,
                  static_cast<double>(setting.spec->hi) * 1e-6);
  EK_CHECK(value.ok());
  return *value;
}

Duration Settings::duration(std::string_view key) const {
  const Result<Duration> value = ParseDuration(at(key).text);
  EK_CHECK(value.ok());
  return *value;
}

int64_t Settings::bytes(std::string_view key) const {
  const Result<int64_t> value = ParseBytes(at(key).text);
  EK_CHECK(value.ok());
  return *value;
}

std::optional<EmulatedGpu> Settings::emulated_gpu(std::string_view key) const {
  const std::string& given = at(key).text;
  if (given.empty()) return std::nullopt;
  const Result<EmulatedGpu> value = ParseEmulatedGpu(given);
  EK_CHECK(value.ok());
  return *value;
}

std::vector<int> Settings::cpus(std::string_view key) const {
  Result<std::vector<int>> value = ParseCpus(at(key).text);
  EK_CHECK(value.ok());
  return *value;
}

Result<std::vector<int>> ParseCpus(std::string_view text) {
  constexpr int64_t kMaxCpu = 4095;
  std::vector<int> cpus;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const size_t dash = part.find('-');
    const Result<int64_t> first = ParseInt(part.substr(0, dash), 0, kMaxCpu);
    const Result<int64_t> last =
        dash == std::string_view::npos ? first : ParseInt(part.substr(dash + 1), 0, kMaxCpu);
    const bool dangling = comma != std::string_view::npos && rest.empty();
    if (!first.ok() || !last.ok() || *first > *last || dangling) {
      return InvalidArgument("expected cores like 0-3,8 (0 to {}), got {}", kMaxCpu, Excerpt(text));
    }
    for (int64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

}  // namespace evenkeel
