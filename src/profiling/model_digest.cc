#include "profiling/model_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

bool IsSettings(const fs::path& path) {
  return path.filename() == "evenkeel.yaml" || path.filename() == "config.pbtxt" ||
         path.extension() == ".txt";
}

std::string Hex(const std::array<unsigned char, EVP_MAX_MD_SIZE>& digest) {
  std::string text;
  for (size_t i = 0; i < 8; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

// A bare file shares its folder with other models.
Result<std::vector<fs::path>> FilesOf(const ModelConfig& model) {
  std::error_code error;
  const fs::path path(model.path);
  std::vector<fs::path> files;
  const fs::path own = fs::is_directory(path, error) ? path : path.parent_path();
  const bool bare =
      own != path && !fs::exists(own / "evenkeel.yaml", error) && own.filename() != model.name;
  if (bare) {
    files = {path};
    const fs::path weights = fs::path(path).replace_extension(".bin");
    if (weights != path && fs::exists(weights, error)) files.push_back(weights);
    return files;
  }
  for (auto at = fs::recursive_directory_iterator(own, error);
       !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at->is_regular_file(error) && !IsSettings(at->path())) files.push_back(at->path());
  }
  if (error) return Unavailable("'{}': {}", own.string(), error.message());
  std::ranges::sort(files);
  return files;
}

}  // namespace

Result<std::string> ModelDigest(const ModelConfig& model) {
  auto files = FilesOf(model);
  if (!files.ok()) return files.status();
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  std::vector<char> block(size_t{1} << 20);
  for (const fs::path& file : *files) {
    // The folder may be somewhere else tomorrow, the name ends with its zero.
    const std::string name = file.filename().string();
    EVP_DigestUpdate(hash.get(), name.c_str(), name.size() + 1);
    std::ifstream in(file, std::ios::binary);
    if (!in) return NotFound("'{}' cannot be read", file.string());
    uint64_t size = 0;
    while (in.read(block.data(), static_cast<std::streamsize>(block.size())), in.gcount() > 0) {
      EVP_DigestUpdate(hash.get(), block.data(), static_cast<size_t>(in.gcount()));
      size += static_cast<uint64_t>(in.gcount());
    }
    EVP_DigestUpdate(hash.get(), &size, sizeof size);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EVP_DigestFinal_ex(hash.get(), digest.data(), nullptr);
  return Hex(digest);
}

Result<std::string> ModelStamp(const ModelConfig& model) {
  auto files = FilesOf(model);
  if (!files.ok()) return files.status();
  std::string text;
  for (const fs::path& file : *files) {
    std::error_code error;
    const uintmax_t size = fs::file_size(file, error);
    if (error) return NotFound("'{}': {}", file.string(), error.message());
    const auto changed = fs::last_write_time(file, error).time_since_epoch().count();
    text += fmt::format("{}:{}:{};", file.filename().string(), size, changed);
  }
  if (model.precision_auto) text += fmt::format("tolerance:{};", model.tolerance);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return Hex(digest);
}

}  // namespace evenkeel
