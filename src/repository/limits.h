// Ranges that settings must lie in, whichever file they come from. Far above any sensible use: they
// keep arithmetic and allocations safe, not operators sensible.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel {

inline constexpr int kMaxBatchRows = 65'536;
inline constexpr int kMaxPreferredSizes = 64;
inline constexpr Duration kMaxBatchDelay = std::chrono::seconds(60);
inline constexpr int64_t kMaxQueueRows = 10'000'000;
inline constexpr int64_t kMinQueueBytes = int64_t{1} << 10;
inline constexpr int64_t kMaxQueueBytes = int64_t{1} << 40;
inline constexpr Duration kMinObjective = std::chrono::microseconds(100);
inline constexpr Duration kMaxObjective = std::chrono::minutes(10);
inline constexpr Duration kMinHangTimeout = std::chrono::milliseconds(10);
inline constexpr Duration kMaxHangTimeout = std::chrono::hours(24);
inline constexpr int kMaxInstances = 64;
inline constexpr Duration kMaxKeepAlive = std::chrono::hours(24 * 365);
inline constexpr int kMaxThreads = 1'024;
inline constexpr double kMaxTolerance = 1e6;
inline constexpr int kMaxPriority = 16;  // 1 is first
inline constexpr int64_t kMaxDimension = (int64_t{1} << 31) - 1;
inline constexpr size_t kMaxTensors = 1'024;     // inputs, and outputs, of a model
inline constexpr size_t kMaxTensorName = 1'024;  // bytes
inline constexpr size_t kMaxLabels = 1'000'000;

inline constexpr int kMinContextTokens = 16;
inline constexpr int kMaxContextTokens = 1 << 24;
inline constexpr int kMaxSequences = 256;
inline constexpr int64_t kMaxCacheTokens = (int64_t{1} << 31) - 1;

}  // namespace evenkeel
