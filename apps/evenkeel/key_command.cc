// `evenkeel key create|ls|revoke`: the API keys of a server, in its state folder. The server need not run; one that runs follows.
#include <fmt/chrono.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "access/key_store.h"
#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel key create --name ci --scope infer:digits --expires 90d > ci.key\n"
    "  evenkeel key create --name admin --scope manage --scope metrics --scope 'infer:*'\n"
    "  evenkeel key ls                             who may do what, and until when\n"
    "  evenkeel key revoke ci                      a server that runs refuses it within two "
    "seconds\n"
    "  evenkeel ls --api-key-file ci.key           every verb that asks a server sends it";
constexpr int64_t kDay = 24 * 3600;
constexpr int64_t kLongestLife = 10 * 365 * kDay;

struct KeyOptions {
  Format format = Format::kTable;
  std::string state;
  std::string name, expires;
  std::vector<std::string> scopes, which;
  bool all = false;
  bool dry_run = false;
};

int64_t Now() { return std::time(nullptr); }

KeyStore StoreOf(const KeyOptions& options) {
  SettingSources sources = DefaultSources();
  if (!options.state.empty()) sources.flags.emplace_back("state", options.state);
  const Result<Settings> settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  return KeyStore(KeyStorePath(settings->text("state")));
}

[[noreturn]] void FailWith(const Status& status) {
  Fail(status.code() == Code::kInvalidArgument ? kExitUsage : kExitFailed, status.message());
}

// "90d", or a duration as everywhere, as whole seconds.
int64_t LifeOf(const std::string& text) {
  Result<int64_t> seconds = Status(Code::kInvalidArgument, "");
  if (text.ends_with('d')) {
    const Result<int64_t> days =
        ParseInt(std::string_view(text).substr(0, text.size() - 1), 1, kLongestLife / kDay);
    if (days.ok()) seconds = *days * kDay;
  } else if (const Result<Duration> life = ParseDuration(text); life.ok()) {
    seconds = *life / std::chrono::seconds(1);
  }
  if (!seconds.ok() || *seconds < 1 || *seconds > kLongestLife) {
    Fail(kExitUsage,
         "--expires: expected a time like 90d or 12h, from 1s to 3650d, got " + Excerpt(text));
  }
  return *seconds;
}

std::string TimeText(int64_t unix_s) {
  return unix_s == 0 ? "" : fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(unix_s));
}

const char* StateOf(const KeyRecord& key, int64_t now_s) {
  if (key.revoked()) return "revoked";
  return key.expired(now_s) ? "expired" : "valid";
}

Json DocumentOf(const KeyRecord& key) {
  Json scopes = Json::array();
  for (const Scope& scope : key.scopes) scopes.push_back(ToString(scope));
  const auto when = [](int64_t unix_s) { return unix_s == 0 ? Json() : Json(TimeText(unix_s)); };
  return {{"id", std::string(kKeyPrefix) + key.id},
          {"name", key.name},
          {"scopes", scopes},
          {"state", StateOf(key, Now())},
          {"created", when(key.created_s)},
          {"expires", when(key.expires_s)},
          {"revoked", when(key.revoked_s)}};
}

// "'ci' (ek_abcdefgh)"
std::string Both(const KeyRecord& key) {
  return fmt::format("'{}' ({}{})", key.name, kKeyPrefix, key.id);
}

KeyWish WishOf(const KeyOptions& options) {
  KeyWish wish;
  wish.name = options.name;
  if (const Status name = CheckKeyName(wish.name); !name.ok()) FailWith(name);
  for (const std::string& text : options.scopes) {
    Result<Scope> scope = ParseScope(text);
    if (!scope.ok()) Fail(kExitUsage, "--scope: " + scope.status().message());
    const bool given = std::ranges::find(wish.scopes, *scope) != wish.scopes.end();
    if (!given) wish.scopes.push_back(std::move(*scope));
  }
  if (!options.expires.empty()) wish.expires_s = Now() + LifeOf(options.expires);
  return wish;
}

void Create(const KeyOptions& options) {
  const KeyStore store = StoreOf(options);
  const KeyWish wish = WishOf(options);
  const std::string life =
      wish.expires_s == 0 ? "does not expire" : "expires " + TimeText(wish.expires_s);
  if (options.dry_run) {
    std::printf("would make the API key '%s' (%s, %s) in %s\n", wish.name.c_str(),
                ToString(wish.scopes).c_str(), life.c_str(), store.path().c_str());
    return;
  }
  const Result<MadeKey> made = store.Create(wish, Now());
  if (!made.ok()) FailWith(made.status());
  if (options.format == Format::kTable) {
    std::printf("%s\n", made->text.c_str());
  } else {
    Json document = {{"schema", "evenkeel.key/v1"}, {"key", made->text}};
    document.update(DocumentOf(made->record));
    Print(options.format, {}, document);
  }
  std::fprintf(stderr,
               "Made the API key %s: %s; %s.\nIt is shown this once: keep it in a file that only "
               "its user can read.\n",
               Both(made->record).c_str(), ToString(made->record.scopes).c_str(), life.c_str());
}

void List(const KeyOptions& options) {
  const KeyStore store = StoreOf(options);
  const Result<std::vector<KeyRecord>> keys = store.Read();
  if (!keys.ok()) FailWith(keys.status());
  Listing listing;
  listing.columns = {{"ID"},
                     {"NAME"},
                     {"SCOPES"},
                     {"STATE"},
                     {"EXPIRES"},
                     {"CREATED", false, /*wide=*/true},
                     {"REVOKED", false, /*wide=*/true}};
  Json list = Json::array();
  for (const KeyRecord& key : *keys) {
    if (key.revoked() && !options.all) continue;
    listing.rows.push_back({std::string(kKeyPrefix) + key.id, key.name, ToString(key.scopes),
                            StateOf(key, Now()), TimeText(key.expires_s), TimeText(key.created_s),
                            TimeText(key.revoked_s)});
    listing.names.push_back(key.name);
    list.push_back(DocumentOf(key));
  }
  Print(options.format, listing, {{"schema", "evenkeel.keys/v1"}, {"keys", list}});
  if (keys->empty()) {
    std::fprintf(stderr, "No key was ever made in %s: callers need none.\n", store.path().c_str());
  } else if (list.empty()) {
    std::fprintf(stderr, "All keys are revoked (--all shows them): nobody gets in.\n");
  }
}

// Each is tried; the exit code is that of the last that failed.
void Revoke(const KeyOptions& options) {
  const KeyStore store = StoreOf(options);
  int code = 0;
  for (const std::string& which : options.which) {
    const Result<KeyRecord> key = options.dry_run ? store.Find(which) : store.Revoke(which, Now());
    if (!key.ok()) {
      std::fprintf(stderr, "evenkeel: %s\n", Printable(key.status().message()).c_str());
      code = kExitFailed;
    } else if (options.dry_run) {
      std::printf("would revoke the API key %s\n", Both(*key).c_str());
    } else {
      std::fprintf(stderr, "Revoked the API key %s\n", Both(*key).c_str());
    }
  }
  if (code != 0) throw CLI::RuntimeError(code);
}

}  // namespace

void RegisterKey(CLI::App& app) {
  CLI::App* key = app.add_subcommand("key", "Make, list and revoke the API keys of a server");
  key->footer(kExamples);
  key->require_subcommand(1);
  auto options = std::make_shared<KeyOptions>();
  const auto add = [&](const char* name, const char* help, void (*run)(const KeyOptions&)) {
    CLI::App* verb = key->add_subcommand(name, help);
    verb->footer(kExamples);
    verb->add_option("--state", options->state, "State folder of the server, also EVENKEEL_STATE")
        ->type_name("FOLDER");
    verb->callback([options, run] { run(*options); });
    return verb;
  };
  CLI::App* create = add("create", "Make a key, and print it: it is shown this once", Create);
  create->add_option("--name", options->name, "What it is called in listings and logs")
      ->required()
      ->type_name("NAME");
  create->add_option("--scope", options->scopes, "infer:MODEL, infer:BEGINNING*, manage or metrics")
      ->required()
      ->allow_extra_args(false)
      ->type_name("SCOPE");
  create->add_option("--expires", options->expires, "Time after which it is refused [never]")
      ->type_name("90d");
  create->add_flag("--dry-run", options->dry_run, "Only say what would be done");
  AddOutputFlag(*create, &options->format, /*listing=*/false);
  CLI::App* ls = add("ls", "List the keys, without the keys themselves", List);
  ls->alias("list");
  ls->add_flag("--all", options->all, "Those that were revoked, too");
  AddOutputFlag(*ls, &options->format);
  CLI::App* revoke = add("revoke", "Refuse a key from now on", Revoke);
  revoke->add_option("KEY", options->which, "Names, or ids as ls shows them")->required();
  revoke->add_flag("--dry-run", options->dry_run, "Only say what would be done");
}

}  // namespace evenkeel
