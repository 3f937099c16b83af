// Every setting of the program: its key, kind, range and default, and where its value came from.
//
// Use for: `serve`, the client verbs' server address, `config show`. Not for: the settings of a
//   model (see model_config.h).
// Contract: a value comes from the strongest source that names it: flags > environment > files in
//   order > default. Every source is checked, also where a stronger one wins. A file's error names
//   file, line and key, and suggests the key that was meant. No setting is a secret: all may be
//   printed.
// Units: texts as users write them ("30s", "64MiB"); the typed getters give nanoseconds and bytes.
// Thread-safety: values; DefaultSources() reads the process's environment.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/emulated_gpu.h"
#include "core/status.h"

namespace evenkeel {

enum class SettingKind : uint8_t {
  kText,
  kFolder,
  kFile,  // made absolute; may be empty: none
  kAddress,
  kUrl,
  kInteger,
  kBool,
  kDuration,
  kBytes,
  kChoice,
  kCpus,
  kRatio,
  kEmulatedGpu
};

struct SettingSpec {
  std::string_view key;  // "http.port": nested maps in files, EVENKEEL_HTTP_PORT, --http-port
  SettingKind kind;
  // In folders $DATA, $STATE and $CACHE stand for the user's XDG folders.
  std::string_view default_text;
  int64_t lo, hi;  // inclusive; kInteger: as is, kDuration: ns, kBytes: bytes, kRatio: millionths
  std::string_view choices;  // kChoice: "off|memory|disk"
  bool serve;                // a setting of `serve` (else of the client verbs)
  std::string_view help;     // one line
};

std::span<const SettingSpec> AllSettings();
const SettingSpec* FindSetting(std::string_view key);  // null when unknown
std::string EnvironmentName(std::string_view key);     // "EVENKEEL_HTTP_PORT"
std::string FlagName(std::string_view key);            // "--http-port"

// Checks `text` against the spec. Error kInvalidArgument says what is allowed (without naming the
// key).
Status CheckSetting(const SettingSpec& spec, std::string_view text);

struct SettingSources {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  Pairs flags;                     // key, text
  Pairs environment;               // variable, text; only EVENKEEL_* matter
  std::vector<std::string> files;  // strongest first; those that do not exist are passed over
  // What $DATA, $STATE and $CACHE stand for; absolute.
  std::string data_folder, state_folder, cache_folder;
  std::string working_folder;  // relative folders from flags and environment start here; absolute
};

// The process's environment, $XDG_CONFIG_HOME (~/.config)/evenkeel/config.yaml,
// /etc/evenkeel/config.yaml.
SettingSources DefaultSources();

struct Setting {
  const SettingSpec* spec = nullptr;
  std::string text;  // as given; folders made absolute
  // "default", "flag --http-port", "environment EVENKEEL_HTTP_PORT", "/etc/evenkeel/config.yaml:3"
  std::string origin;
};

class Settings {
 public:
  // `warnings` (may be null) gets a line for each EVENKEEL_* variable that looks like a mistyped
  // setting.
  static Result<Settings> Resolve(const SettingSources& sources,
                                  std::vector<std::string>* warnings);

  std::span<const Setting> all() const { return settings_; }  // in the order of AllSettings()
  // REQUIRES for the rest: `key` is a setting, of the kind named (else the process ends: it is our
  // mistake).
  const Setting& at(std::string_view key) const;
  const std::string& text(std::string_view key) const { return at(key).text; }
  int64_t integer(std::string_view key) const;
  bool flag(std::string_view key) const;
  double ratio(std::string_view key) const;
  Duration duration(std::string_view key) const;
  int64_t bytes(std::string_view key) const;
  std::optional<EmulatedGpu> emulated_gpu(std::string_view key) const;  // empty: none
  std::vector<int> cpus(std::string_view key) const;  // ascending, each once; empty: all

 private:
  std::vector<Setting> settings_;
};

// "0-3,8" as {0,1,2,3,8}; "" as {}. Error kInvalidArgument. Numbers are 0 to 4095.
Result<std::vector<int>> ParseCpus(std::string_view text);

}  // namespace evenkeel
