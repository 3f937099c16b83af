// Watches whether waiting for larger batches costs deadlines: the node as it would be at price 0 runs in shadow beside the node as it
// is steered, both on the same arrivals and with the same mean T(n).
//
// Rule: over the last 10 s, if the shadow at price 0 missed fewer objectives by more than 0.2 % of the rows (and 16 rows), the price stays 0 for the
//   next 30 s. Both sides are shadows, so that what the model of service leaves out (scatter, other load) weighs on both alike.
// Model: a queue a model, instances of k threads, the core gate over what language models leave of the cores, batches of at most the knee; a model is ready at once (price 0), or when its
//   target is reached or its oldest row has waited for target/lambda or half its objective. Rows that come together are one group;
//   at most kGroups groups wait a model, the last one takes what comes beyond.
// Contract: Tick() is called with times that never go back, at each decision while the price is above 0; Reset() when it is not.
//   Cost: some 100 ns an arrival, O(models) a call. Memory: under 20 KiB a model.
// Units: rows, seconds. Thread-safety: thread-compatible. Source: "The window, ours", guard.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

// How a model is steered now.
struct Steering {
  int knee = 1;
  int target = 1;
  double rate_rps = 0;
};

// One node in shadow.
class ShadowNode {
 public:
  explicit ShadowNode(bool waits) : waits_(waits) {}
  // `arrived[i]` rows of model i came just now.
  void Advance(const NodeView& node, std::span<const Steering> steering,
               std::span<const int64_t> arrived, Time now);
  int64_t TakeMissed() { return std::exchange(missed_, 0); }

 private:
  static constexpr size_t kGroups = 512;
  struct Group {
    Time arrived{};
    int64_t rows = 0;
  };
  struct Queue {
    std::array<Group, kGroups> ring;
    size_t head = 0, size = 0;
    int64_t rows = 0;
    int busy = 0;  // instances
    Group& front() { return ring[head]; }
    void Push(Group group);
    void PopFront();
  };
  struct Running {
    size_t model;
    int threads;
    Time end;
  };
  void StartWhatMay(const NodeView& node, std::span<const Steering> steering, Time at);
  bool Ready(const ModelView& model, const Steering& steering, Queue& queue, Time at) const;
  void Start(const NodeView& node, const Steering& steering, size_t model, Time at);

  bool waits_;
  std::vector<Queue> queues_;
  std::vector<Running> running_;
  int64_t missed_ = 0;
};

class Guard {
 public:
  // Accounts for the time up to `now`; true while the price must stay 0.
  bool Tick(const NodeView& node, std::span<const Steering> steering, Time now);
  // The price is 0 anyway: nothing to compare. True while it must stay so.
  bool Idle(Time now);

 private:
  static constexpr int kSeconds = 10;
  struct Second {
    int64_t rows = 0, missed_at_zero = 0, missed_as_is = 0;
  };
  bool Worse() const;
  void Clear();

  ShadowNode at_zero_{false}, as_is_{true};
  std::array<Second, kSeconds> seconds_{};
  int64_t second_ = 0;
  std::vector<int64_t> seen_, arrived_;
  Time guarded_until_{};
};

}  // namespace evenkeel::policy
