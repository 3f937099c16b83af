// Whether another node is alive, suspect or dead, by what this node sees of it.
//
//   dead     its lease is gone and its probe has failed, or the data path to it has failed
//   suspect  one sign only: its lease is gone, or its probe has failed, or a call on the data path just failed. It gets no new work; nothing is taken from it
//   alive    none of these, for `hold`
// A lapsed lease alone never kills: the store may be the one that is away. A probe or the data path "has failed" after so many failures one after the other,
// over at least such a time: one lost packet is no failure. An answered probe is a sign of life for the data path too, which nobody would try otherwise.
// Contract: pure; worse at once, better only after `hold` without any bad sign. So from one return to alive to the next there is at least `hold`, and at most
//   three changes come between (alive, suspect, dead): a flapping link makes at most 3 (1 + t / first_hold) changes in a time t. A node that fails again
//   within `forgive` of its return is held twice as long, up to `longest_hold`.
// Time: this node's monotonic clock only; what time another node believes it is plays no role.
// Thread-safety: thread-compatible.
#pragma once

#include <chrono>
#include <string_view>

#include "core/clock.h"

namespace evenkeel {

enum class Health : uint8_t { kAlive, kSuspect, kDead };
std::string_view NameOf(Health health);  // "alive", "suspect", "dead"

struct HealthOptions {
  int probe_failures = 3;                         // >= 1
  Duration probe_span = std::chrono::seconds(2);  // from the first of them to the last
  int data_failures = 3;                          // >= 1
  Duration data_span = std::chrono::seconds(1);
  Duration first_hold = std::chrono::seconds(5);
  Duration longest_hold = std::chrono::seconds(60);
  Duration forgive = std::chrono::minutes(2);
};

class NodeHealth {
 public:
  // A node that was just seen to join: alive.
  explicit NodeHealth(const HealthOptions& options = {})
      : options_(options), hold_(options.first_hold) {}

  // Times never fall. `held` is told of a *connected* view only: one that is not says nothing.
  void OnLease(bool held, Time now);
  void OnProbe(bool answered, Time now);
  void OnDataPath(bool worked, Time now);

  // REQUIRES: now >= every time told before.
  Health At(Time now);
  // When At() may change with nothing more told; kNever: it won't.
  Time NextChange() const;
  // The sign that it is not alive for: "lease gone, probe failed", "data path failed", "lease gone", "probe failed", "a call failed", "recovering"; "": alive.
  std::string_view why() const;

 private:
  // Failures one after the other.
  struct Failures {
    int count = 0;
    Time first{}, last{};
    void Add(bool failed, Time now);
    bool Count(int least, Duration span) const { return count >= least && last - first >= span; }
  };

  bool probe_failed() const { return probe_.Count(options_.probe_failures, options_.probe_span); }
  bool data_failed() const { return data_.Count(options_.data_failures, options_.data_span); }
  Health Signs() const;
  void Judge(Time now);

  HealthOptions options_;
  bool lease_held_ = true;
  Failures probe_, data_;
  Health health_ = Health::kAlive;
  Time good_since_ =
      kNever;           // while not alive: since when there is no bad sign; kNever: there is one
  Time alive_since_{};  // of the last return; Time{}: never was away
  Duration hold_;
};

}  // namespace evenkeel
