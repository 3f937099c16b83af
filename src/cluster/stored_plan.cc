#include "cluster/stored_plan.h"

#include <openssl/evp.h>

#include <array>
#include <nlohmann/json.hpp>

#include "cluster/node_record.h"
#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

constexpr int kSchema = 1;
constexpr int64_t kMostRevision = int64_t{1} << 53;  // what a number of JSON holds exactly

std::string Checksum(const StoredPlan& plan) {
  // Lengths stand before texts, so that no two plans give the same bytes.
  const std::string head =
      fmt::format("{} {} {} {} {}:{} {}:{} {}:", kSchema, plan.stamp.term.history,
                  plan.stamp.term.revision, plan.stamp.revision, plan.cluster.size(), plan.cluster,
                  plan.made_by.size(), plan.made_by, plan.plan.size());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  const std::string bytes = head + plan.plan;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (size_t i = 0; i < 32; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

Status Check(const StoredPlan& plan) {
  if (!IsNodeId(plan.cluster))
    return InvalidArgument("stored plan: cluster: expected a cluster's id, got {}",
                           Excerpt(plan.cluster));
  if (!IsNodeId(plan.made_by))
    return InvalidArgument("stored plan: made_by: expected a node's id, got {}",
                           Excerpt(plan.made_by));
  const PlanStamp& stamp = plan.stamp;
  for (const int64_t number : {stamp.term.history, stamp.term.revision, stamp.revision}) {
    if (number < 0 || number > kMostRevision)
      return InvalidArgument("stored plan: stamp: expected whole numbers up to 2^53, got {}",
                             ToText(stamp));
  }
  if (!IsUtf8(plan.plan)) return InvalidArgument("stored plan: plan: expected UTF-8");
  return Status::Ok();
}

}  // namespace

std::string ToText(const Term& term) {
  return fmt::format("history {}, term {}", term.history, term.revision);
}

std::string ToText(const PlanStamp& stamp) {
  return fmt::format("{}, revision {}", ToText(stamp.term), stamp.revision);
}

Result<std::string> WriteStoredPlan(const StoredPlan& plan) {
  EK_RETURN_IF_ERROR(Check(plan));
  if (plan.plan.size() > kMostStoredPlanBytes)
    return TooLarge("the plan has {} bytes; at most {} are stored", plan.plan.size(),
                    kMostStoredPlanBytes);
  std::string text = nlohmann::json{
      {"schema", kSchema},
      {"cluster", plan.cluster},
      {"history", plan.stamp.term.history},
      {"term", plan.stamp.term.revision},
      {"revision", plan.stamp.revision},
      {"made_by", plan.made_by},
      {"plan", plan.plan},
      {"checksum",
       Checksum(plan)}}.dump();
  if (text.size() > kMostStoredPlanBytes)
    return TooLarge("the plan has {} bytes as stored; at most {} are", text.size(),
                    kMostStoredPlanBytes);
  return text;
}

Result<StoredPlan> ParseStoredPlan(std::string_view text) {
  if (text.size() > kMostStoredPlanBytes)
    return TooLarge("stored plan: {} bytes; at most {} are read", text.size(),
                    kMostStoredPlanBytes);
  const auto json = ParseStrictObject(text, 1, "stored plan");
  if (!json.ok()) return json.status();
  if (const auto schema = json->find("schema"); schema == json->end() || *schema != kSchema)
    return InvalidArgument("stored plan: schema: expected {}, got {}", kSchema,
                           schema == json->end() ? "none" : Excerpt(schema->dump()));
  JsonFields fields(
      *json, "stored plan",
      {"schema", "cluster", "history", "term", "revision", "made_by", "plan", "checksum"});
  StoredPlan plan;
  plan.cluster = fields.Text("cluster", "", true);
  plan.stamp.term.history = fields.Count("history", 0, 0, kMostRevision);
  plan.stamp.term.revision = fields.Count("term", 0, 0, kMostRevision);
  plan.stamp.revision = fields.Count("revision", 0, 0, kMostRevision);
  plan.made_by = fields.Text("made_by", "", true);
  const auto* const content = fields.Find("plan", true);  // may be empty
  const std::string checksum = fields.Text("checksum", "", true);
  EK_RETURN_IF_ERROR(fields.status());
  if (!content->is_string())
    return InvalidArgument("stored plan.plan: expected a text, got {}", Excerpt(content->dump()));
  plan.plan = content->get<std::string>();
  EK_RETURN_IF_ERROR(Check(plan));
  if (const std::string expected = Checksum(plan); checksum != expected)
    return InvalidArgument("stored plan: checksum: expected {}, got {}", expected,
                           Excerpt(checksum));
  return plan;
}

}  // namespace evenkeel
