#include "profiling/sample_store.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "core/format.h"
#include "core/log.h"
#include "core/replace_file.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSuffix = ".safetensors";
constexpr uintmax_t kMaxFileBytes = uintmax_t{8} << 30;

// FNV-1a: file names must not change between builds, as std::hash may.
uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

void SetAside(const fs::path& path, std::string_view why) {
  std::error_code error;
  fs::rename(path, path.string() + ".bad", error);
  LogWarning(
      "samples: {}: {}; {}", path.string(), why,
      error ? "it could not be renamed: " + error.message() : std::string("set aside as *.bad"));
}

Result<std::vector<std::byte>> ReadWhole(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return InvalidArgument("{}", error.message());
  if (size > kMaxFileBytes) return InvalidArgument("{} bytes are too many", size);
  std::vector<std::byte> bytes(size);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!file || static_cast<uintmax_t>(file.gcount()) != size)
    return InvalidArgument("cannot be read");
  return bytes;
}

}  // namespace

std::string SampleStore::PathOf(const std::string& model, std::string_view signature) const {
  return fmt::format("{}/{}/{:016x}{}", folder_, model, HashOf(signature), kSuffix);
}

std::vector<SampleSet> SampleStore::Load() {
  std::vector<SampleSet> sets;
  std::error_code error;
  for (const auto& model : fs::directory_iterator(folder_, error)) {
    std::error_code ignored;
    if (!model.is_directory(ignored) || model.is_symlink(ignored)) continue;
    for (const auto& entry : fs::directory_iterator(model.path(), ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(kTemporarySuffix)) fs::remove(entry.path(), ignored);
      if (!name.ends_with(kSuffix) || !entry.is_regular_file(ignored)) continue;
      const auto bytes = ReadWhole(entry.path());
      Result<SampleSet> set =
          bytes.ok() ? DecodeSamples(*bytes) : Result<SampleSet>(bytes.status());
      if (!set.ok()) {
        SetAside(entry.path(), set.status().message());
      } else if (PathOf(set->model, set->signature) != entry.path().string()) {
        SetAside(entry.path(), "it holds samples of another model or signature");
      } else {
        sets.push_back(std::move(*set));
      }
    }
  }
  return sets;
}

Status SampleStore::Write(const SampleSet& set) {
  const Result<std::string> bytes = EncodeSamples({&set, 1});
  if (!bytes.ok()) return bytes.status();
  const fs::path path(PathOf(set.model, set.signature));
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return Unavailable("{}: {}", path.parent_path().string(), error.message());
  fs::permissions(folder_, fs::perms::owner_all,
                  error);  // inputs may be personal: nobody else reads them
  return ReplaceFile(path.string(), *bytes);
}

void SampleStore::RemoveOlder(const std::string& model, int64_t oldest_s) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(folder_) / model, error)) {
    struct stat facts {};
    if (::lstat(entry.path().c_str(), &facts) != 0 || facts.st_mtime >= oldest_s) continue;
    fs::remove(entry.path(), error);
  }
}

Status SampleStore::Remove(const std::string& model) {
  std::error_code error;
  fs::remove_all(fs::path(folder_) / model, error);
  return error ? Internal("{}/{}: {}", folder_, model, error.message()) : Status::Ok();
}

Status SampleStore::Remove(const std::string& model, const std::string& signature) {
  std::error_code error;
  fs::remove(PathOf(model, signature), error);
  return error ? Internal("{}: {}", PathOf(model, signature), error.message()) : Status::Ok();
}

}  // namespace evenkeel
