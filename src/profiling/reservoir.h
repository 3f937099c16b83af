// Which rows of a stream to keep so that, at any time, the kept ones are a uniform sample.
//
// Use for: decisions only; the rows themselves are the caller's, in slots 0 to size()-1.
// Contract: every row has a (never drawn) uniform key; kept are the rows with the least keys, at
//   most `capacity` of them; threshold() is the key from which a row is refused. Instead of keys,
//   the number of rows to pass before the next candidate is drawn (TakeSkip), which is what makes a
//   row that is not chosen nearly free. While rows only come, every subset of the kept size is
//   equally likely. Where rows leave early (Evict, Forget) and their places are filled again, a
//   row's chance depends on its age by about 1/capacity (measured in the test).
// Thread-safety: thread-compatible.
// Source: K.-H. Li, ACM TOMS 20 (1994), algorithm L; distribution of Vitter's R. Differs: the
//   threshold is the key of the row evicted last, not the largest kept, so that the kept rows'
//   number may fall below capacity and rise again.
#pragma once

#include <cstdint>
#include <random>

namespace evenkeel {

class Reservoir {
 public:
  static constexpr int64_t kNotKept = -1;
  static constexpr int64_t kLongestSkip = int64_t{1} << 61;

  // REQUIRES: capacity >= 1.
  Reservoir(int64_t capacity, uint64_t seed) : capacity_(capacity), random_(seed) {}

  int64_t capacity() const { return capacity_; }
  int64_t size() const { return size_; }
  double threshold() const { return threshold_; }  // in (0, 1]

  // Draws how many rows pass before the next candidate. The candidate is then given to Admit(), and
  // the next skip is drawn. After Evict() or Forget() a skip drawn before must be drawn again.
  int64_t TakeSkip();
  // A candidate came: its slot (size() - 1 when appended, else the row there is replaced), or
  // kNotKept.
  int64_t Admit();
  // Drops a row drawn at random and lowers the threshold: the slot to free; the caller moves its
  // last row there. REQUIRES: size() > 0.
  int64_t Evict();
  // One row left for reasons of its own (age): its place is filled again by later rows. REQUIRES:
  // size() > 0.
  void Forget() { --size_; }
  // Continues an earlier reservoir. REQUIRES: 0 <= size <= capacity, 0 < threshold <= 1.
  void Restore(int64_t size, double threshold);

 private:
  double Uniform();  // in (0, 1)
  // To the largest of `keys` uniform keys below it, which leaves keys - 1 rows there.
  void LowerThreshold(int64_t keys);

  int64_t capacity_;
  int64_t size_ = 0;
  double threshold_ = 1.0;
  // Rows kept when the threshold became a row's key; 0: it is none. See TakeSkip().
  int64_t kept_below_ = 0;
  std::mt19937_64 random_;
};

}  // namespace evenkeel
