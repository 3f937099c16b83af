// Logging to stderr. Prompts, tensors and secrets are never logged; administrative actions are.
// Thread-safety: thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

namespace evenkeel {

// Sets level ("debug", "info", "warning", "error") and the format of every later line. Returns false for an unknown level.
bool InitLogging(const std::string& level);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> f, Args&&... args) {
  spdlog::debug(f, std::forward<Args>(args)...);
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> f, Args&&... args) {
  spdlog::info(f, std::forward<Args>(args)...);
}
template <typename... Args>
void LogWarning(fmt::format_string<Args...> f, Args&&... args) {
  spdlog::warn(f, std::forward<Args>(args)...);
}
template <typename... Args>
void LogError(fmt::format_string<Args...> f, Args&&... args) {
  spdlog::error(f, std::forward<Args>(args)...);
}

}  // namespace evenkeel
