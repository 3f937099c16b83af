#include <nlohmann/json.hpp>

#include "frontends/http_documents.h"

namespace evenkeel {
namespace {

using nlohmann::json;

json TensorsDocument(std::span<const TensorSpec> specs) {
  json list = json::array();
  for (const TensorSpec& spec : specs) {
    list.push_back(
        {{"name", spec.name}, {"datatype", NameOf(spec.dtype)}, {"shape", spec.shape.dims()}});
  }
  return list;
}

json DurationDocument(const DurationStat& stat) { return {{"count", stat.count}, {"ns", stat.ns}}; }

json BatchDocument(const ModelStatistics::Batch& batch) {
  return {{"batch_size", batch.batch_size},
          {"compute_input", DurationDocument(batch.compute_input)},
          {"compute_infer", DurationDocument(batch.compute_infer)},
          {"compute_output", DurationDocument(batch.compute_output)}};
}

json StatisticsOf(const ModelStatistics& s) {
  json batches = json::array();
  for (const auto& batch : s.batch_stats) batches.push_back(BatchDocument(batch));
  json inference = {
      {"success", DurationDocument(s.success)},
      {"fail", DurationDocument(s.fail)},
      {"queue", DurationDocument(s.queue)},
      {"compute_input", DurationDocument(s.compute_input)},
      {"compute_infer", DurationDocument(s.compute_infer)},
      {"compute_output", DurationDocument(s.compute_output)},
      // Always there because some clients read them without looking; there is no response cache.
      {"cache_hit", DurationDocument({})},
      {"cache_miss", DurationDocument({})},
      {"cancel", DurationDocument(s.cancel)}};
  return {{"name", s.name},
          {"version", s.version},
          {"last_inference", s.last_inference_ms},
          {"inference_count", s.inference_count},
          {"execution_count", s.execution_count},
          {"inference_stats", std::move(inference)},
          {"batch_stats", std::move(batches)},
          {"memory_usage", json::array()},
          {"response_stats", json::object()}};
}

}  // namespace

json ServerDocument() {
  return {{"name", kServerName}, {"version", ServerVersion()}, {"extensions", kServerExtensions}};
}

json MetadataDocument(const ModelMetadata& metadata) {
  return {{"name", metadata.name},
          {"versions", metadata.versions},
          {"platform", metadata.platform},
          {"inputs", TensorsDocument(metadata.inputs)},
          {"outputs", TensorsDocument(metadata.outputs)}};
}

json StatisticsDocument(std::span<const ModelStatistics> models) {
  json list = json::array();
  for (const ModelStatistics& model : models) list.push_back(StatisticsOf(model));
  return {{"model_stats", std::move(list)}};
}

json IndexDocument(std::span<const RepositoryEntry> entries) {
  json list = json::array();
  for (const RepositoryEntry& entry : entries) {
    json item = {{"name", entry.name}};
    if (!entry.version.empty()) item["version"] = entry.version;
    if (!entry.state.empty()) item["state"] = entry.state;
    if (!entry.reason.empty()) item["reason"] = entry.reason;
    list.push_back(std::move(item));
  }
  return list;
}

json SamplesDocument(std::span<const SampleSummary> samples) {
  json list = json::array();
  for (const SampleSummary& s : samples) {
    list.push_back({{"model", s.model},
                    {"signature", s.signature},
                    {"seen", s.seen},
                    {"kept", s.kept},
                    {"bytes", s.bytes}});
  }
  return {{"samples", std::move(list)}};
}

}  // namespace evenkeel
