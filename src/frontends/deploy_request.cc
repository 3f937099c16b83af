#include "frontends/deploy_request.h"

#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

constexpr size_t kMostBytes = size_t{64} << 10;
constexpr size_t kMostPlanBytes = size_t{512} << 10;
constexpr int kDeepest = 3;
constexpr size_t kMostNames = 1000;
constexpr int64_t kMostReplicas = 1000;

Result<nlohmann::json> Parse(std::string_view body, size_t most_bytes = kMostBytes) {
  if (body.size() > most_bytes)
    return TooLarge("the body has {} bytes, expected at most {}", body.size(), most_bytes);
  return ParseStrictObject(body, kDeepest, "the body");
}

Status ReadNodes(JsonFields& fields, bool needed, std::vector<std::string>* nodes) {
  const nlohmann::json* list = fields.List("nodes", needed);
  if (!fields.status().ok() || list == nullptr) return fields.status();
  if (list->empty() || list->size() > kMostNames)
    return InvalidArgument("nodes: expected 1 to {} names, got {}", kMostNames, list->size());
  for (const nlohmann::json& node : *list) {
    if (!node.is_string())
      return InvalidArgument("nodes: expected names, got {}", Excerpt(node.dump()));
    nodes->push_back(node.get<std::string>());
  }
  return Status::Ok();
}

// "by_plan" and "plan"; who gives a plan's stamp comes from one.
Status ReadOrderedBy(JsonFields& fields, OrderedBy* by) {
  constexpr int64_t kMostRevision = int64_t{1} << 53;
  by->plan = fields.Truth("by_plan", false);
  const nlohmann::json* const plan = fields.Find("plan");
  EK_RETURN_IF_ERROR(fields.status());
  if (plan == nullptr) return Status::Ok();
  JsonFields stamp(*plan, "body.plan", {"history", "term", "revision"});
  PlanMark mark;
  mark.history = stamp.Count("history", 0, 0, kMostRevision);
  mark.term = stamp.Count("term", 0, 1, kMostRevision);
  mark.revision = stamp.Count("revision", 0, 1, kMostRevision);
  EK_RETURN_IF_ERROR(stamp.status());
  if (mark.term == 0 || mark.revision == 0)
    return InvalidArgument("body.plan: expected history, term and revision of a stored plan");
  by->plan = true;
  by->mark = mark;
  return Status::Ok();
}

}  // namespace

Result<DeployRequest> ParseDeployRequest(std::string_view body) {
  const auto json = Parse(body);
  if (!json.ok()) return json.status();
  JsonFields fields(*json, "body", {"model", "nodes", "replicas", "why", "by_plan", "plan"});
  DeployRequest request;
  request.model = fields.Text("model", "", /*needed=*/true);
  request.replicas = static_cast<int>(fields.Count("replicas", 0, 1, kMostReplicas));
  request.why = fields.Text("why", "");
  EK_RETURN_IF_ERROR(fields.status());
  EK_RETURN_IF_ERROR(ReadNodes(fields, false, &request.nodes));
  EK_RETURN_IF_ERROR(ReadOrderedBy(fields, &request.by));
  if (!request.nodes.empty() && request.replicas > 0)
    return InvalidArgument("expected nodes or replicas, got both");
  return request;
}

Result<std::string> CheckPlanText(std::string_view body) {
  const auto plan = Parse(body, kMostPlanBytes);
  if (!plan.ok()) return plan.status();
  const auto placement = plan->find("placement");
  if (placement == plan->end() || !placement->is_object())
    return InvalidArgument("body.placement: expected an object of lists of models by node");
  for (const auto& [node, models] : placement->items()) {
    bool names = models.is_array();
    for (const nlohmann::json& model : names ? models : nlohmann::json::array())
      names = names && model.is_string();
    if (!names)
      return InvalidArgument("body.placement: {}: expected a list of names", Excerpt(node));
  }
  return plan->dump();
}

Result<UndeployRequest> ParseUndeployRequest(std::string_view body) {
  const auto json = Parse(body);
  if (!json.ok()) return json.status();
  JsonFields fields(*json, "body",
                    {"model", "nodes", "keep_files", "force", "why", "by_plan", "plan"});
  UndeployRequest request;
  request.model = fields.Text("model", "", /*needed=*/true);
  request.keep_files = fields.Truth("keep_files", false);
  request.force = fields.Truth("force", false);
  request.why = fields.Text("why", "");
  EK_RETURN_IF_ERROR(fields.status());
  EK_RETURN_IF_ERROR(ReadNodes(fields, true, &request.nodes));
  EK_RETURN_IF_ERROR(ReadOrderedBy(fields, &request.by));
  return request;
}

}  // namespace evenkeel
