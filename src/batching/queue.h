// The rows of one model that wait: requests cut into parts, sorted into lanes of rows that can share a batch.
//
// A Request is one InferCall; a Part is a run of its rows that stays together (the whole request unless it has more than max_batch
// rows). A Lane holds the waiting parts of one row shape, by priority and then arrival.
// Contract: Add/Remove are O(1) (plus O(log n) for a deadline). Arrival order is kept within a priority. Rows and bytes are counted exactly.
// Ownership: the dispatcher owns Requests; the queue only links their parts.
// Thread-safety: thread-compatible (the dispatcher's lock).
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "batching/policy/node_policy.h"
#include "core/clock.h"
#include "core/infer.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr int kPriorities = 16;  // 1 (first) to 16 (last)

struct Request;
struct Lane;

struct Part {
  enum class State : uint8_t {
    kWaiting,  // linked in a lane, or in a batch that is to be run again
    kTaken,    // in a batch that is being gathered or run
    kEnded,    // answered, or no longer wanted
  };
  Request* request = nullptr;
  int64_t first_row = 0;
  int rows = 1;
  State state = State::kEnded;
  size_t bytes = 0;   // in a batch's input arena, alignment included
  uint8_t kills = 0;  // workers that died while this part ran
  Lane* lane = nullptr;
  Part* previous = nullptr;
  Part* next = nullptr;
  std::vector<std::span<const std::byte>> slices;  // split requests: its rows of every input
  // Split requests only: this part's rows of every output, kept until the last part is there.
  std::vector<TensorView> outputs;
  std::vector<std::vector<std::byte>> output_bytes;

  // The bytes of this part's rows of input `i`.
  std::span<const std::byte> input(size_t i) const;
};

struct Request {
  InferCall* call =
      nullptr;  // null once answered; the record stays while parts of it are in batches
  int64_t rows = 0;
  size_t bytes = 0;
  int priority = kPriorities;  // 1 to 16
  size_t ended_parts = 0;
  size_t parts_read =
      0;           // parts whose batch is being filled: until then the call's memory is needed
  Status failure;  // first failure of any part
  Timings timings;
  std::vector<Part> parts;  // never resized once queued: lanes point into it
  Time taken_at{};
  Time accepted{};       // when it was
  Duration predicted{};  // from then to its answer, as it seemed then; zero: nothing stood before
  // The call's deadline less what goes on the way in and out (policy/loop_lag.h): by then its batch is to be back.
  Time answer_by = kNever;
};

inline std::span<const std::byte> Part::input(size_t i) const {
  return slices.empty() ? request->call->inputs[i].data : slices[i];
}

struct Lane {
  struct List {
    Part* head = nullptr;
    Part* tail = nullptr;
  };
  std::array<List, kPriorities> lists;
  uint32_t used = 0;  // bit p-1: lists[p-1] is not empty
  int64_t waiting_rows = 0;
  std::string key;
  std::multiset<Time> deadlines;  // Request::answer_by of waiting parts that have one
  std::list<Lane*>::iterator place;

  Part* head() const {
    return used ? lists[static_cast<size_t>(__builtin_ctz(used))].head : nullptr;
  }
  int priority() const { return __builtin_ctz(used) + 1; }
};

class RowQueue {
 public:
  // `shapes_vary`: rows of the model can differ in shape, so lanes are keyed by it. Else there is one lane.
  explicit RowQueue(bool shapes_vary) : shapes_vary_(shapes_vary) {}

  // Links every part of `request` behind the others of its lane and priority.
  void Add(Request& request, bool batched);
  // Unlinks a waiting part. It becomes kEnded; the caller changes that where it takes it.
  void Remove(Part& part);

  // The latest waiting parts of movable requests that are not cut, least urgent first, until they have so many rows.
  std::vector<Part*> LatestMovable(int64_t rows) const;

  int64_t waiting_rows() const { return waiting_rows_; }
  // Waiting rows that are served before a newcomer of this priority.
  int64_t RowsAhead(int priority) const;
  int64_t waiting_bytes() const { return waiting_bytes_; }
  bool empty() const { return active_.empty(); }
  // Lanes with something waiting, oldest creation first.
  const std::list<Lane*>& lanes() const { return active_; }
  // Without `max_rows`, which depends on the instance.
  policy::LaneView View(const Lane& lane) const;

  // Waiting requests that have a deadline, earliest first.
  Time earliest_deadline() const { return deadlines_.empty() ? kNever : deadlines_.begin()->first; }
  Part* first_due() const { return deadlines_.empty() ? nullptr : deadlines_.begin()->second; }

 private:
  Lane& LaneFor(const Request& request, bool batched);

  const bool shapes_vary_;
  std::unordered_map<std::string, std::unique_ptr<Lane>> lanes_;
  std::list<Lane*> active_;
  std::set<std::pair<Time, Part*>> deadlines_;
  int64_t waiting_rows_ = 0;
  int64_t waiting_bytes_ = 0;
  std::array<int64_t, kPriorities> rows_by_priority_{};
};

}  // namespace evenkeel
