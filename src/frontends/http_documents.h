// The protocol's JSON documents, from what the service says.
// Thread-safety: thread-safe (pure).
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "frontends/service.h"

namespace evenkeel {

nlohmann::json ServerDocument();
nlohmann::json MetadataDocument(const ModelMetadata& metadata);
nlohmann::json StatisticsDocument(std::span<const ModelStatistics> models);
nlohmann::json IndexDocument(std::span<const RepositoryEntry> entries);
nlohmann::json SamplesDocument(std::span<const SampleSummary> samples);

}  // namespace evenkeel
