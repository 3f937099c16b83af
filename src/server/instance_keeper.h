// Asks twice a second how many instances each model is to have (policy/plan_instances.h), and tells them.
//
// Use for: the daemon; one a node. Not for: what instances are made of, starting them (InstanceSet).
// Contract: a member is told a plan in each round, after it was asked; a round comes every kRound while some model has work, every
//   kQuietRound otherwise, when a plan's keep-alive ends, and in the next turn of the loop after Ask().
// Ownership: members outlive their Leave(). The loop and the clock outlive this object.
// Thread-safety: single-owner (the loop); Ask() is thread-safe.
// Source: A13.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/clock.h"
#include "core/event_loop.h"
#include "server/policy/plan_instances.h"

namespace evenkeel {

class InstanceKeeper {
 public:
  static constexpr Duration kRound = std::chrono::milliseconds(500);
  static constexpr Duration kQuietRound = std::chrono::seconds(2);

  class Member {
   public:
    virtual ~Member() = default;
    virtual policy::InstancesView Look(Time now) = 0;
    // Must not call Join() or Leave().
    virtual void Follow(const policy::InstancesPlan& plan) = 0;
  };

  struct Options {
    double cores = 1;
    int64_t headroom_bytes = 0;  // of memory, to be left free
    // Bytes, now. Empty: not known, and memory decides nothing in that round.
    std::function<std::optional<int64_t>()> free_memory;
  };

  InstanceKeeper(Options options, EventLoop& loop, const Clock& clock);

  void Join(Member* member);
  void Leave(Member* member);  // a member that never joined, or left, is no error
  void Ask();
  // No alarm rings any more.
  void Close();

 private:
  void Round();

  const Options options_;
  EventLoop& loop_;
  const Clock& clock_;
  std::vector<Member*> members_;
  std::unique_ptr<Alarm> alarm_;
  std::atomic<bool> asked_{false};  // a round is posted
};

}  // namespace evenkeel
