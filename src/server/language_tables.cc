#include "server/language_tables.h"

#include <filesystem>
#include <future>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "profiling/model_digest.h"
#include "profiling/model_profile.h"

namespace evenkeel {
namespace {

ModelConfig ConfigOf(const LlmTableKey& key) {
  ModelConfig config;
  config.name = key.model;
  config.path = key.path;
  config.folder = std::filesystem::path(key.path).parent_path().string();
  return config;
}

}  // namespace

LanguageTables::LanguageTables(std::string state, std::string machine, Rung rung, EventLoop& loop)
    : state_(std::move(state)), machine_(std::move(machine)), rung_(rung), loop_(loop) {
  thread_.Post([this] { Store(); });  // a model that loads does not wait for it
}

void LanguageTables::Find(const LlmTableKey& key,
                          std::function<void(std::optional<std::string>)> found) {
  thread_.Post([this, key, found = std::move(found)] {
    loop_.Post([found, document = Read(key)] { found(document); });
  });
}

void LanguageTables::Keep(const LlmTableKey& key, std::string document) {
  thread_.Post([this, key, document = std::move(document)] { Write(key, document); });
}

void LanguageTables::Flush() {
  std::promise<void> written;
  thread_.Post([&written] { written.set_value(); });
  written.get_future().wait();
}

LoadTableStore& LanguageTables::Store() {
  if (store_ == nullptr) {
    std::vector<std::string> warnings;
    store_ = LoadTableStore::Open(fmt::format("{}/{}", state_, kLoadTablesFile), &warnings);
    for (const std::string& line : warnings) LogWarning("{}", line);
  }
  return *store_;
}

std::string LanguageTables::SetupOf(const LlmTableKey& key) const {
  return fmt::format("{} CPU {}", NameOf(rung_), key.engine);
}

std::optional<std::string> LanguageTables::Read(const LlmTableKey& key) {
  const auto stamp = ModelStamp(ConfigOf(key));
  if (!stamp.ok()) return std::nullopt;
  auto found = Store().FindLanguageTable({key.model, "", machine_, SetupOf(key)}, *stamp);
  if (found.ok()) return std::move(*found);
  Warn(found.status().message());
  return std::nullopt;
}

void LanguageTables::Write(const LlmTableKey& key, const std::string& document) {
  const ModelConfig config = ConfigOf(key);
  const auto stamp = ModelStamp(config);
  if (!stamp.ok()) return;  // the file is gone
  std::string& digest = digests_[key.path + '\n' + *stamp];
  if (digest.empty()) {
    auto read = ModelDigest(config);
    if (!read.ok()) return Warn(read.status().message());
    digest = std::move(*read);
  }
  const Status kept =
      Store().PutLanguageTable({key.model, digest, machine_, SetupOf(key)}, *stamp, document);
  if (!kept.ok()) Warn(kept.message());
}

void LanguageTables::Warn(const std::string& why) {
  if (!std::exchange(warned_, true)) LogWarning("load tables of language models: {}", why);
}

}  // namespace evenkeel
