// Decides which batch sizes of a model get a compiled form of their own.
//
// Why: a graph that was compiled for any batch size works out shapes and buffers anew whenever the size changes. Measured with OpenVINO 2026.4.1: 80 us to
//   1.5 ms a change, which for a small model is more than the batch itself, and live traffic changes size all the time. A graph compiled for one
//   size has nothing to work out, but costs memory and 60 to 300 ms of compiling.
// How: per size, the running means of runs that followed another size, of runs that followed the same, and of runs of its own form. The size whose
//   changes have cost most is compiled next, one at a time; a form that turns out not to be at least 5 % faster is given up for good, and one that
//   has not been used for long makes room for another.
// Contract: pure bookkeeping, no clock, no engine. OnRun() after every run; Next() names the size to compile, at most once a size. The owner reports back
//   with Built() or Refuse(). Thread-safety: thread-compatible.
// Units: sizes in rows, times in Duration.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "core/clock.h"

namespace evenkeel {

class VariantPolicy {
 public:
  static constexpr int kMaxVariants = 8;
  static constexpr uint32_t kRunsBefore =
      32;  // runs after a change of size before it is considered
  static constexpr uint32_t kRunsOnTrial = 64;
  static constexpr double kLeastGain = 0.05;  // of the time of a run
  static constexpr uint64_t kRunsUnused =
      4096;  // after so many runs of other sizes a form may be dropped

  // A run of the common form; `changed`: the run of it before had another size.
  void OnCommonRun(int64_t rows, bool changed, Duration took);
  // A run of the form of its own. False: it has not earned its memory and is to be given up.
  bool OnOwnRun(int64_t rows, Duration took);

  // The size to compile now; nullopt: none is worth it, or one is being compiled, or there are enough.
  std::optional<int64_t> Next();
  // The form to give up before Next() can name another size; nullopt: there is room, or all are in use. It may come back later.
  std::optional<int64_t> Unused();
  void Built(int64_t rows);   // it is in use from now on
  void Refuse(int64_t rows);  // it could not be had: never again

 private:
  struct Mean {
    double ns = 0;
    uint32_t count = 0;
    void Add(Duration took);
  };
  struct Size {
    enum class State : uint8_t { kCommon, kCompiling, kOwn, kRefused } state = State::kCommon;
    Mean changed, same, own;
    uint64_t last_run = 0;
  };
  double GainOf(const Size& size) const;

  std::map<int64_t, Size> sizes_;
  uint64_t runs_ = 0;
  int in_use_ = 0;
  bool compiling_ = false;
};

}  // namespace evenkeel
