// Tells when the live times of a model's batches have left its load table.
//
// Contract: Observe() is fed about once a second with the live T(n) and how many batches of each size have run so far. Of the sizes that
//   ran since the last call, R = sum of live T(n) x batches over sum of table T(n) x batches. R counts as away when it is above
//   1 + tolerance or below 1 / (1 + tolerance), tolerance = max(kLeastTolerance, the table's own scatter at these sizes, i.e. half of
//   (p99 - mean) / mean); differences below kLeastDifference a batch are never away: a table's times hold the way to the worker
//   and back, live ones do not. Nor is a faster side where the container has a quota (`quota`): it binds only a worker that never
//   rests, which the table's never did. Drift is told once R has been away on the same side, whenever anything ran, for at least `persists`, and at least
//   kLeastBatches batches ran meanwhile. A look back inside, or on the other side, starts anew; a second without batches does
//   neither. Where models share cores at will (`shared`), live times say nothing of the table: such a second is passed over,
//   as is one in which the model was being measured.
// Units: Duration of a batch, rows. Thread-safety: thread-compatible; no clock inside. Source: A7.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

// A batch size as a table, or the live curve, has it.
struct TimedSize {
  int rows = 1;
  Duration mean{}, p99{};
};

struct LiveSize {
  int rows = 1;
  Duration mean{};
  uint64_t batches = 0;  // so far
};

class DriftDetector {
 public:
  static constexpr double kLeastTolerance = 0.25;
  static constexpr Duration kLeastDifference = std::chrono::microseconds(100);
  static constexpr uint64_t kLeastBatches = 100;

  explicit DriftDetector(Duration persists = std::chrono::seconds(60)) : persists_(persists) {}

  // REQUIRES: `table` ascending by rows, means above 0. Forgets what was observed.
  void Expect(std::vector<TimedSize> table, bool quota = false);

  // `shared`: see above. True: drift. Afterwards it observes anew.
  bool Observe(std::span<const LiveSize> live, bool shared, Time now);

  // R of the last look at which anything ran; 1 before.
  double ratio() const { return ratio_; }
  // How long it has been away; zero: it is not.
  Duration away_for(Time now) const { return side_ == 0 ? Duration::zero() : now - since_; }

 private:
  const TimedSize* Find(int rows) const;

  Duration persists_;
  std::vector<TimedSize> table_;
  std::map<int, uint64_t> seen_;  // batches at the last look, by size
  bool quota_ = false;
  bool looked_ = false;
  double ratio_ = 1;
  int side_ = 0;  // +1 slower, -1 faster than the table, 0 inside
  Time since_{};
  uint64_t batches_ = 0;  // while away
};

}  // namespace evenkeel
