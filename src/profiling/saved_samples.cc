#include "profiling/saved_samples.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/format.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFile = uintmax_t{1} << 30;

Result<SampleSet> ReadSet(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return NotFound("'{}': {}", path.string(), error.message());
  if (size > kMaxFile) return InvalidArgument("'{}': larger than 1 GiB", path.string());
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes(size);
  if (!in.read(bytes.data(), static_cast<std::streamsize>(size)))
    return NotFound("'{}' cannot be read", path.string());
  auto set = DecodeSamples(std::as_bytes(std::span(bytes)));
  if (!set.ok()) return set.status().Annotate("'" + path.string() + "'");
  return set;
}

}  // namespace

Result<RowPool> ReadSampleFile(const std::string& path, const Signature& signature) {
  const auto set = ReadSet(path);
  if (!set.ok()) return set.status();
  auto pool = RowPool::FromSamples(signature, *set);
  if (!pool.ok()) return pool.status().Annotate("'" + path + "'");
  return pool;
}

std::optional<RowPool> ReadSavedSamples(const std::string& folder, const std::string& model,
                                        const Signature& signature,
                                        std::vector<std::string>* warnings) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(folder) / model, error)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::optional<RowPool> best;
  uint64_t most = 0;
  for (const fs::path& file : files) {
    const auto set = ReadSet(file);
    auto pool = set.ok() ? RowPool::FromSamples(signature, *set) : Result<RowPool>(set.status());
    if (!pool.ok()) {
      warnings->push_back("samples are passed over: " + pool.status().message());
      continue;
    }
    if (best && set->seen <= most) continue;
    most = set->seen;
    best = std::move(*pool);
  }
  return best;
}

}  // namespace evenkeel
