#include "cluster/live/replica_wishes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/format.h"
#include "core/json_fields.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr int kSchema = 1;
constexpr size_t kMostBytes = size_t{1} << 20;
constexpr int kMostReplicas = 1000;
constexpr int64_t kLatest = int64_t{1} << 53;  // what a number of JSON holds exactly

bool Later(const ReplicaWish& one, const ReplicaWish& than) {
  return std::pair(one.unix_ms, one.replicas) > std::pair(than.unix_ms, than.replicas);
}

}  // namespace

bool ReplicaWishes::Take(const ReplicaWish& wish) {
  const auto known = wishes_.find(wish.model);
  if (known != wishes_.end()) {
    if (!Later(wish, known->second)) return false;
    known->second = wish;
    return true;
  }
  if (wishes_.size() >= kMost) {
    const auto oldest = std::ranges::min_element(
        wishes_, [](const auto& a, const auto& b) { return Later(b.second, a.second); });
    if (!Later(wish, oldest->second)) return false;
    wishes_.erase(oldest);
  }
  wishes_.emplace(wish.model, wish);
  return true;
}

void ReplicaWishes::Ask(const std::string& model, int replicas, int64_t unix_ms) {
  const auto known = wishes_.find(model);
  if (known != wishes_.end()) unix_ms = std::max(unix_ms, known->second.unix_ms + 1);
  Take({model, replicas, unix_ms});
}

int ReplicaWishes::Of(std::string_view model) const {
  const auto at = wishes_.find(model);
  return at == wishes_.end() ? 0 : at->second.replicas;
}

int64_t ReplicaWishes::SaidAt(std::string_view model) const {
  const auto at = wishes_.find(model);
  return at == wishes_.end() ? 0 : at->second.unix_ms;
}

std::vector<ReplicaWish> ReplicaWishes::All() const {
  std::vector<ReplicaWish> all;
  for (const auto& [_, wish] : wishes_) all.push_back(wish);
  return all;
}

std::string WriteWishes(const ReplicaWishes& wishes) {
  Json models = Json::array();
  for (const ReplicaWish& wish : wishes.All())
    models.push_back(
        {{"model", wish.model}, {"replicas", wish.replicas}, {"unix_ms", wish.unix_ms}});
  return Json{{"schema", kSchema}, {"models", std::move(models)}}.dump();
}

Result<ReplicaWishes> ParseWishes(std::string_view text) {
  if (text.size() > kMostBytes)
    return TooLarge("replicas that were asked for: {} bytes; at most {} are read", text.size(),
                    kMostBytes);
  const auto json = ParseStrictObject(text, 3, "replicas that were asked for");
  if (!json.ok()) return json.status();
  JsonFields fields(*json, "replicas that were asked for", {"schema", "models"});
  const int64_t schema = fields.Count("schema", 0, 0, kLatest);
  const Json* const models = fields.List("models", /*needed=*/true);
  EK_RETURN_IF_ERROR(fields.status());
  if (schema != kSchema)
    return InvalidArgument("replicas that were asked for: schema: expected {}, got {}", kSchema,
                           schema);
  ReplicaWishes wishes;
  for (size_t i = 0; i < models->size(); ++i) {
    JsonFields one((*models)[i], fmt::format("models[{}]", i), {"model", "replicas", "unix_ms"});
    ReplicaWish wish;
    wish.model = one.Text("model", "", /*needed=*/true);
    wish.replicas = static_cast<int>(one.Count("replicas", 0, 0, kMostReplicas));
    wish.unix_ms = one.Count("unix_ms", 0, 0, kLatest);
    EK_RETURN_IF_ERROR(one.status());
    wishes.Take(wish);
  }
  return wishes;
}

std::map<std::string, ReplicasOf, std::less<>> ReplicasNow(
    std::span<const ReplicaTable::NodeView> nodes) {
  ReplicaWishes wishes;
  std::map<std::string, ReplicasOf, std::less<>> replicas;
  for (const auto& node : nodes) {
    if (!node.known || node.gone) continue;
    for (const ReplicaWish& wish : node.figures.wishes) wishes.Take(wish);
    if (node.suspect) continue;
    // A model may be told of in several versions.
    std::set<std::string_view> names;
    for (const ModelFigures& model : node.figures.models) names.insert(model.name);
    for (const std::string_view name : names) ++replicas[std::string(name)].serving;
  }
  for (auto& [model, one] : replicas) {
    one.asked = wishes.Of(model);
    one.said_ms = wishes.SaidAt(model);
  }
  return replicas;
}

}  // namespace evenkeel
