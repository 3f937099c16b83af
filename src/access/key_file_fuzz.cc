// Fuzzes the file of API keys: a damaged one is an error, never keys that nobody made, and never "no keys".
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "access/authorizer.h"
#include "access/key_store.h"
#include "core/check.h"

namespace {

// One a process, removed with it.
struct Folder {
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "ek-keys-XXXXXX";
    EK_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  std::string path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  static const Folder folder;
  const std::string path = folder.path + "/api_keys.db";
  // Also what SQLite puts beside the file.
  for (const auto& left : std::filesystem::directory_iterator(folder.path))
    std::filesystem::remove(left.path());
  std::ofstream(path, std::ios::binary)
      << std::string_view(reinterpret_cast<const char*>(data), size);
  EK_CHECK(::chmod(path.c_str(), 0600) == 0);
  const auto keys = KeyStore(path).Read();
  if (!keys.ok()) {
    EK_CHECK(keys.status().code() == Code::kUnavailable);
    EK_CHECK(!Authorizer::Open(path, AuthMode::kAuto).ok());
    return 0;
  }
  for (const KeyRecord& key : *keys)
    EK_CHECK(IsKeyId(key.id) && CheckKeyName(key.name).ok() && !key.scopes.empty());
  const auto authorizer = Authorizer::Open(path, AuthMode::kAuto);
  EK_CHECK(authorizer.ok());
  // A key that was never made opens nothing, whatever stands in the file.
  Authorization authorization;
  authorization.Add("Bearer ek_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
  if ((*authorizer)->required()) EK_CHECK(!(*authorizer)->Identify(authorization).CheckKey().ok());
  return 0;
}
