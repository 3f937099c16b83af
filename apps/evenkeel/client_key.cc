#include "client_key.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "access/bind_rule.h"
#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/settings.h"

namespace evenkeel {
namespace {

constexpr size_t kLongestKey = 4096;

std::string Trimmed(const std::string& text) {
  constexpr const char* kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// What a header can carry. `where`: for the message.
std::string Checked(const std::string& text, const std::string& where) {
  const std::string key = Trimmed(text);
  const bool fits = !key.empty() && key.size() <= kLongestKey &&
                    std::ranges::all_of(key, [](char c) { return c > ' ' && c < 0x7f; });
  if (!fits) Fail(kExitUsage, where + ": expected an API key and nothing else");
  return key;
}

std::string FromFile(std::string path) {
  if (path.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    path = std::string(home == nullptr ? "" : home) + path.substr(1);
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             std::fclose);
  std::string text(kLongestKey + 64, '\0');
  const size_t size = file == nullptr ? 0 : std::fread(text.data(), 1, text.size(), file.get());
  if (file == nullptr || std::ferror(file.get()) != 0)
    Fail(kExitUsage, "API key: " + path + ": " + std::strerror(errno));
  text.resize(size);
  return Checked(text, path);
}

Settings ClientSettings() {
  Result<Settings> settings = Settings::Resolve(DefaultSources(), nullptr);
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  return std::move(*settings);
}

}  // namespace

void AddKeyFlag(CLI::App& verb, std::string* file) {
  verb.add_option(
          "--api-key-file", *file,
          "File with the API key to send, also EVENKEEL_API_KEY_FILE; /dev/stdin: from there")
      ->type_name("FILE");
}

std::string ClientKey(const std::string& file_flag) {
  if (!file_flag.empty()) return FromFile(file_flag);
  const Settings settings = ClientSettings();
  const std::string& file = settings.text("api_key_file");
  if (!file.empty()) return FromFile(file);
  // It was read once. Who still sets it means to send a key, and would wonder.
  if (const char* key = std::getenv("EVENKEEL_API_KEY"); key != nullptr && key[0] != '\0')
    Fail(kExitUsage,
         "EVENKEEL_API_KEY is set, and not used: programs that you start can read what variables "
         "hold. Write the key into a file: --api-key-file FILE, or EVENKEEL_API_KEY_FILE");
  return {};
}

void CheckKeyStaysPrivate(const std::string& host, bool tls) {
  if (tls || host == "localhost" || IsLoopbackAddress(host)) return;
  if (ClientSettings().flag("insecure")) return;
  Fail(
      kExitUsage,
      fmt::format("the API key would go to {} unencrypted, and whoever is on the way could use it: "
                  "ask for https:// (serve with tls.cert_file), or say EVENKEEL_INSECURE=true if "
                  "the network is trusted",
                  host));
}

}  // namespace evenkeel
