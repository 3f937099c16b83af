// What happened to every request of one thread; merged over threads and turned into a report.
//
// Contract: each request that was sent is counted once by Sent() and once by exactly one of Ok(),
//   Wrong(), Error() and Unanswered(), so sent = ok + wrong + errors + unanswered once a run is
//   over. Counts of requests belong to the stage that sent them; the *rates* count answers in the
//   stage during which they arrived, so that requests in flight at a border do not inflate either
//   side. Latency is measured from the intended send time and includes ok and wrong answers only;
//   each error status has a histogram of its own.
// Units: nanoseconds.
// Thread-safety: single-owner; Merge() after the owners ended.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/clock.h"
#include "loadgen/histogram.h"
#include "loadgen/token_stream.h"

namespace evenkeel::loadgen {

// Why a request got no complete answer.
enum class NoAnswer : uint8_t {
  kTimeout,      // nothing complete within the timeout
  kClosed,       // the connection was closed or reset before the answer was complete
  kConnect,      // no connection could be made
  kMalformed,    // what came is not the protocol
  kInterrupted,  // the user ended the run
};
inline constexpr int kNoAnswerCount = 5;
const char* NameOf(NoAnswer why);

// A request on its way.
struct InFlight {
  int stage = 0;
  int model = 0;
  int input = 0;  // index into the model's prepared requests
  int rows = 1;
  Duration intended{};
  Duration sent{};
};

// Answers within all of them are goodput. max(): none.
struct Objectives {
  Duration whole = Duration::max();        // latency of the answer
  Duration first_token = Duration::max();  // streamed answers: until the first token
  Duration inter_token = Duration::max();  // streamed answers: mean time between tokens
  bool any() const { return *this != Objectives{}; }
  bool operator==(const Objectives&) const = default;
};

struct ErrorTally {
  uint64_t count = 0;
  std::string first_message;  // of the first one, shortened
  Histogram latency{7};
};

// Of streamed answers.
struct TokenCounts {
  uint64_t prompt = 0, cached = 0, output = 0;  // of ok answers, as the server counts them
  uint64_t arrived = 0;                         // by time of arrival, for rates
  Histogram first;                              // from the intended send time
  Histogram gaps;                               // between tokens of one answer
  void Merge(const TokenCounts& other);
};

// One stage and one model.
struct Counts {
  uint64_t sent = 0;
  uint64_t ok = 0;
  uint64_t good = 0;   // ok and within the model's objectives
  uint64_t wrong = 0;  // answered well, but not with the answer that this input has
  std::array<uint64_t, kNoAnswerCount> unanswered{};
  std::map<std::string, ErrorTally> errors;  // by status: "429", "UNAVAILABLE"
  Histogram latency;
  Histogram lateness{7};  // actual minus intended send time: the generator's own delay
  Histogram compute{7};   // as the server reports it, where it does
  Histogram added;        // latency minus the server's compute time, where reported
  // By time of the answer, for rates.
  uint64_t ok_arrived = 0;
  uint64_t ok_rows_arrived = 0;
  uint64_t good_arrived = 0;  // ok and within the model's objectives
  TokenCounts tokens;

  uint64_t errors_total() const;
  uint64_t unanswered_total() const;
  void Merge(const Counts& other);
};

// All requests that were meant to be sent in one interval of the timeline.
struct Window {
  uint64_t sent = 0, ok = 0, failed = 0, unanswered = 0;  // failed: errors and wrong answers
  Histogram latency{7};
  void Merge(const Window& other);
};

class Tally {
 public:
  // `objectives`: one a model. `window` 0: no timeline.
  Tally(int stages, std::vector<Objectives> objectives, Duration window);

  void Sent(const InFlight& r);
  // `current_stage` is the stage that runs now; `compute` is negative when the server did not say.
  void Ok(const InFlight& r, Duration now, int current_stage, Duration compute);
  // The same for a streamed answer, whose tokens arrived before.
  void OkStream(const InFlight& r, Duration now, int current_stage, const TokenStream& answer);
  // Tokens of an answer that goes on.
  void TokensArrived(const InFlight& r, uint64_t tokens, int current_stage);
  void Wrong(const InFlight& r, Duration now);
  void Error(const InFlight& r, Duration now, const std::string& status, std::string_view message);
  void Unanswered(const InFlight& r, NoAnswer why);

  void Merge(const Tally& other);

  const Counts& counts(int stage, int model) const { return counts_[Index(stage, model)]; }
  const std::vector<Window>& timeline() const { return timeline_; }
  int stages() const { return stages_; }
  int models() const { return static_cast<int>(objectives_.size()); }

 private:
  size_t Index(int stage, int model) const {
    return static_cast<size_t>(stage) * objectives_.size() + static_cast<size_t>(model);
  }
  Window* WindowOf(const InFlight& r);
  void CountOk(const InFlight& r, Duration latency, int current_stage, bool good);

  int stages_;
  std::vector<Objectives> objectives_;  // by model
  Duration window_;
  std::vector<Counts> counts_;
  std::vector<Window> timeline_;
};

}  // namespace evenkeel::loadgen
