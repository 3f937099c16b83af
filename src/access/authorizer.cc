#include "access/authorizer.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr std::string_view kScheme = "bearer";
constexpr int64_t kSettledAfter = 2;  // seconds: more than any file system's tick
constexpr int64_t kTellEvery = 60;    // seconds
constexpr std::string_view kMalformed = "Authorization: expected one field with 'Bearer KEY'";
constexpr std::string_view kUnknown = "unknown API key";
constexpr std::string_view kRevoked = "the API key was revoked";
constexpr std::string_view kExpired = "the API key has expired";

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

// What follows "Bearer " in any case; "" when something else is there.
std::string_view BearerOf(std::string_view text) {
  if (text.size() <= kScheme.size() || !std::equal(kScheme.begin(), kScheme.end(), text.begin(),
                                                   [](char a, char b) { return a == Lower(b); }))
    return {};
  text.remove_prefix(kScheme.size());
  const size_t first = text.find_first_not_of(' ');
  return first == 0 || first == std::string_view::npos ? std::string_view() : text.substr(first);
}

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

int64_t Authorizer::UnixSeconds() { return std::time(nullptr); }

Authorizer::Authorizer(const std::string& path, AuthMode mode, WallClock now_s)
    : store_(path),
      mode_(mode),
      now_s_(std::move(now_s)),
      required_(mode == AuthMode::kRequired),
      table_(std::make_shared<Table>()) {}

Result<std::unique_ptr<Authorizer>> Authorizer::Open(const std::string& path, AuthMode mode,
                                                     WallClock now_s) {
  std::unique_ptr<Authorizer> authorizer(new Authorizer(path, mode, std::move(now_s)));
  if (mode != AuthMode::kOff) EK_RETURN_IF_ERROR(authorizer->Load());
  return authorizer;
}

const Authorizer& Authorizer::Off() {
  static const Authorizer off("", AuthMode::kOff, UnixSeconds);
  return off;
}

CallerAccess Authorizer::Identify(const Authorization& authorization) const {
  if (!required()) return CallerAccess::Everything();
  if (authorization.count == 0) return {};
  const std::string_view text = authorization.count == 1 ? BearerOf(authorization.value) : "";
  CallerAccess access = text.empty() ? CallerAccess::Refused(kMalformed) : Recognise(text);
  if (access.key() == nullptr) refused_.fetch_add(1, std::memory_order_relaxed);
  return access;
}

CallerAccess Authorizer::Recognise(std::string_view text) const {
  const std::string_view id = KeyIdOf(text);
  if (id.empty()) return CallerAccess::Refused(kUnknown);
  const std::shared_ptr<const Table> table = Keys();
  const auto found = table->find(id);
  return Judge(found == table->end() ? nullptr : &found->second, DigestOf(text), table);
}

CallerAccess Authorizer::Renew(const CallerAccess& access) const {
  if (!required()) return CallerAccess::Everything();
  if (access.everything()) return {};  // keys were not asked for when it came
  if (access.key() == nullptr) return access;
  const std::shared_ptr<const Table> table = Keys();
  const auto found = table->find(access.key()->id);
  return Judge(found == table->end() ? nullptr : &found->second, access.key()->digest, table);
}

CallerAccess Authorizer::Judge(const KeyRecord* key, const KeyDigest& digest,
                               const std::shared_ptr<const Table>& table) const {
  if (key == nullptr || !SameDigest(key->digest, digest)) return CallerAccess::Refused(kUnknown);
  if (key->revoked()) return CallerAccess::Refused(kRevoked);
  if (key->expired(now_s_())) return CallerAccess::Refused(kExpired);
  return CallerAccess::Of(std::shared_ptr<const KeyRecord>(table, key));
}

std::shared_ptr<const Authorizer::Table> Authorizer::Keys() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

size_t Authorizer::valid_keys() const {
  const std::shared_ptr<const Table> table = Keys();
  const int64_t now_s = now_s_();
  return static_cast<size_t>(std::ranges::count_if(*table, [now_s](const auto& entry) {
    return !entry.second.revoked() && !entry.second.expired(now_s);
  }));
}

Authorizer::Stamp Authorizer::LookAtFile() const {
  struct stat facts {};
  if (::stat(store_.path().c_str(), &facts) != 0) return {};
  return {true,
          facts.st_dev,
          facts.st_ino,
          facts.st_size,
          Nanoseconds(facts.st_mtim),
          Nanoseconds(facts.st_ctim)};
}

Status Authorizer::Load() {
  const Stamp stamp = LookAtFile();
  Result<std::vector<KeyRecord>> keys = store_.Read();
  if (!keys.ok()) return keys.status();
  if (keys->empty() && !Keys()->empty())
    return Unavailable("the API keys in '{}' are gone", store_.path());
  stamp_ = stamp;
  settled_ = !stamp.exists || now_s_() - stamp.modified_ns / 1'000'000'000 > kSettledAfter;
  Keep(std::move(*keys));
  return {};
}

void Authorizer::Keep(std::vector<KeyRecord> keys) {
  auto table = std::make_shared<Table>();
  for (KeyRecord& key : keys) {
    std::string id = key.id;
    table->emplace(std::move(id), std::move(key));
  }
  const bool any = !table->empty();
  {
    const std::lock_guard lock(mutex_);
    table_ = std::move(table);
  }
  // After the table: who sees that a key is needed finds the keys.
  if (any) required_.store(true, std::memory_order_release);
}

void Authorizer::TellOfRefusals() {
  const int64_t now_s = now_s_();
  if (now_s - told_s_ < kTellEvery) return;
  const uint64_t count = refused_.exchange(0, std::memory_order_relaxed);
  if (count == 0) return;
  told_s_ = now_s;
  LogWarning("{} calls came with an API key that is unknown, revoked or expired", count);
}

void Authorizer::Refresh() {
  TellOfRefusals();
  if (mode_ == AuthMode::kOff || (settled_ && LookAtFile() == stamp_)) return;
  const bool before = required();
  const size_t valid = valid_keys();
  const Status status = Load();
  if (!status.ok()) {
    // It may hold keys: those that are known stay in force, and nobody else gets in.
    required_.store(true, std::memory_order_release);
    if (trouble_ != status.message())
      LogError("{}; the keys known until now stay in force", status.message());
    trouble_ = status.message();
    return;
  }
  trouble_.clear();
  if (!before && required()) LogWarning("an API key was made: from now on callers need one");
  if (valid != valid_keys()) LogInfo("API keys in force: {}, until now {}", valid_keys(), valid);
}

}  // namespace evenkeel
