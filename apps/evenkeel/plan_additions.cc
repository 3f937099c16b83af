#include "plan_additions.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/strict_json.h"
#include "loadgen/trace_file.h"
#include "repository/gguf_check.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostFileBytes = size_t{16} << 20;
constexpr int kDeepest = 5;

bool IsGguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream file(path, std::ios::binary);
  return file.read(magic, sizeof magic) && std::string_view(magic, sizeof magic) == "GGUF";
}

// A folder's model.gguf has the folder's name, as in a models folder.
std::string NameOf(const std::string& path) {
  const auto file = std::filesystem::absolute(path);
  return (file.stem() == "model" ? file.parent_path().filename() : file.stem()).string();
}

// Layers are taken for alike; what the first needs beside is the table of embeddings, and the last as much again to make logits.
Json TaskOf(const std::string& name, const GgufFacts& facts) {
  const int64_t cache = facts.kv_bytes_per_token * std::min(facts.context_tokens, kPlannedContext);
  const double bytes_a_weight = facts.parameters > 0 ? static_cast<double>(facts.weight_bytes) /
                                                           static_cast<double>(facts.parameters)
                                                     : 0;
  const auto table = static_cast<int64_t>(bytes_a_weight * facts.vocabulary * facts.embedding);
  const int64_t end = std::min(table, facts.weight_bytes / 4);
  const auto bytes = [](int64_t count) { return fmt::format("{}B", count); };
  Json task = {{"name", name},
               {"kind", "language replica"},
               {"gflop", 2e-9 * static_cast<double>(facts.parameters)},
               {"gbytes", 1e-9 * static_cast<double>(facts.weight_bytes)},
               {"memory", bytes(facts.weight_bytes + cache)},
               {"on", "both"}};
  if (facts.blocks < 2) return task;  // nothing to cut
  task["layers"] = facts.blocks;
  task["first"] = task["last"] = bytes(end);
  task["boundary"] = bytes(int64_t{4} * facts.embedding);
  return task;
}

}  // namespace

Result<Json> AddedTasks(const std::string& path) {
  if (IsGguf(path)) {
    const auto facts = CheckGgufFile(path);
    if (!facts.ok()) return facts.status();
    return Json::array({TaskOf(NameOf(path), *facts)});
  }
  const auto text = loadgen::ReadFileMaybeGzip(path, kMostFileBytes);
  if (!text.ok()) return text.status();
  auto json = ParseStrictObject(*text, kDeepest, "the file of tasks");
  if (!json.ok()) return json.status();
  if (json->size() != 1 || !json->contains("tasks") || !(*json)["tasks"].is_array())
    return InvalidArgument("expected {{\"tasks\": [...]}} and nothing else, or a GGUF file");
  return (*json)["tasks"];
}

}  // namespace evenkeel
