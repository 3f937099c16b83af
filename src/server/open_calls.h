// Finds what stands for a front end's call while that call is open, so that Cancel(call) is safe whenever it comes.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace evenkeel {

template <typename Routed>
class OpenCalls {
 public:
  void Add(const void* call, std::shared_ptr<Routed> routed) {
    const std::lock_guard lock(mutex_);
    open_[call] = std::move(routed);
  }
  void Remove(const void* call) {
    const std::lock_guard lock(mutex_);
    open_.erase(call);
  }
  std::shared_ptr<Routed> Find(const void* call) const {
    const std::lock_guard lock(mutex_);
    const auto at = open_.find(call);
    return at == open_.end() ? nullptr : at->second;
  }
  size_t size() const {
    const std::lock_guard lock(mutex_);
    return open_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<const void*, std::shared_ptr<Routed>> open_;
};

}  // namespace evenkeel
