// A model version as JSON, for `ls`, `ps` and `show`.
//
// Thread-safety: thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

namespace evenkeel {

class ModelVersion;
struct ServingContext;

// What the models share: cores, policy, whether core time is saved.
nlohmann::json DescribeNode(const ServingContext& context);

// name, version, engine, device, precision, max_batch, policy, objective_ms, queue_rows, instances,
// scale (how many instances are wanted, and why), at_rest, batch_time_ms by size, requests, errors, p99_ms.
nlohmann::json DescribeVersion(const ModelVersion& version);
// How batches are formed: parameters, measured times, price, forecast beside actual, why batches closed, the last of them.
nlohmann::json DescribeBatching(const ModelVersion& version);
// Resident bytes of a process, shared memory included; 0 when it is gone.
uint64_t ResidentBytes(pid_t pid);
// Of these, what files are mapped to: the kernel counts it as available.
uint64_t MappedBytes(pid_t pid);
// Adds inputs, outputs, source of the settings, and the last batches with the reason each was closed for.
void AddDetails(const ModelVersion& version, nlohmann::json* model);

}  // namespace evenkeel
