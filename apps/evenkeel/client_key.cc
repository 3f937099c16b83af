#include "client_key.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "api.h"
#include "commands.h"
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

}  // namespace

void AddKeyFlag(CLI::App& verb, std::string* file) {
  verb.add_option("--api-key-file", *file,
                  "File with the API key to send; or the key itself in EVENKEEL_API_KEY")
      ->type_name("FILE");
}

std::string ClientKey(const std::string& file_flag) {
  if (!file_flag.empty()) return FromFile(file_flag);
  if (const char* key = std::getenv("EVENKEEL_API_KEY"); key != nullptr && key[0] != '\0')
    return Checked(key, "EVENKEEL_API_KEY");
  const Result<Settings> settings = Settings::Resolve(DefaultSources(), nullptr);
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  const std::string& file = settings->text("api_key_file");
  return file.empty() ? std::string() : FromFile(file);
}

}  // namespace evenkeel
