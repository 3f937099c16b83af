// What the daemon's profiling remembers of one served version.
//
// Not for use outside self_profile*.cc. Thread-safety: guarded by SelfProfile::mutex_.
#pragma once

#include "server/self_profile.h"

namespace evenkeel {

// Before the setup of a table's key: the choice is of the share of the accelerator. A table of both classes has two choices.
inline constexpr const char* kShareOf = "share of ";

// What was chosen for its instances of one class.
struct SelfProfile::Side {
  std::optional<FormDecision> decision;
  Time decided{};
  double decided_rate = 0;
  Duration decided_objective{};
  DeviceSize decided_room;
  bool redecide = false;
  std::optional<Cell> current;  // adopted
  std::string adopted_why;
  bool adopting = false;
  Time restarted{};    // when its instances were last exchanged
  Time adopt_again{};  // after a failure
  std::string adoption_failure;
  bool to_keep = false;  // `current` is not in the store yet
  DriftDetector drift;
};

struct SelfProfile::Entry {
  std::weak_ptr<ProfiledModel> model;
  std::string label;                       // "digits/1", for messages
  DeviceClass device = DeviceClass::kCpu;  // what it may run on
  Phase phase = Phase::kWaiting;
  std::string why;     // kOff, kFailed
  Time try_at{};       // kWaiting, kFailed, and with left_out: not before
  Time samples_at{};   // with made-up inputs: sampled ones are not looked for before
  bool fresh = false;  // what was measured before is forgotten when the sweep begins
  bool gone = false;   // unloaded or replaced

  // Of the table; `rows` are the complete ones while a new sweep runs.
  TableKey key;
  HostSize host;  // with the accelerator, if it may run on one
  std::string stamp, inputs;
  LoadRows rows;
  bool rows_sampled = false;        // all of them were measured with sampled inputs
  bool complete = false;            // `rows` are a whole table, but for `left_out`
  std::vector<CellShape> left_out;  // shapes that the device had no room for
  size_t cells_run = 0, cells_expected = 0, cells = 0;
  int times_measured = 0;
  Time measured{};
  std::string advice;

  int64_t least_memory = 0;  // instances on the processor with less were killed
  Side cpu, gpu;
  ClassHolding holding;                    // kAuto
  bool held_both = true, held_cpu = true;  // as the model was told at last

  Side& of(DeviceClass one) { return one == DeviceClass::kGpu ? gpu : cpu; }
  // Of the class that a model of one class has, and of kAuto the processor's.
  Side& main() { return of(device); }
  const Side& main() const { return device == DeviceClass::kGpu ? gpu : cpu; }
};

}  // namespace evenkeel
