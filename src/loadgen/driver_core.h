// The part of a driver that does not depend on the protocol: what to send next, and the books.
//
// Contract: every InFlight that Take() returned goes to exactly one of the four outcome methods.
// Thread-safety: single-owner.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "loadgen/load.h"

namespace evenkeel::loadgen {

class DriverCore {
 public:
  explicit DriverCore(DriverContext context);

  Duration Now() const { return SteadyClock::Instance().Now() - context_.start; }
  const LoadPlan& plan() const { return context_.plan; }
  const PreparedModel& model(const InFlight& r) const {
    return plan().models[static_cast<size_t>(r.model)];
  }
  const PreparedRequest& request(const InFlight& r) const {
    return model(r).requests[static_cast<size_t>(r.input)];
  }
  int outstanding() const { return outstanding_; }

  // The next request to send now, with a model drawn by weight and that model's inputs in turn.
  std::optional<InFlight> Take(Duration now);
  // When to call Take() again at the latest.
  Duration NextWake() const;
  // Nothing will be sent any more and nothing is in flight.
  bool Finished() const { return pacer_.Finished() && outstanding_ == 0; }
  bool interrupted() const { return context_.interrupted.load(std::memory_order_relaxed); }
  void Stop(Duration now) { pacer_.Stop(now); }

  // `compute` as the server reported it; negative: it did not. Checks `answer` when the plan asks
  // for it.
  void Answered(const InFlight& r, Duration now, std::string_view answer, Duration compute);
  // A streamed answer is complete.
  void AnsweredStream(const InFlight& r, Duration now, const TokenStream& answer);
  void TokensArrived(const InFlight& r, Duration now, uint64_t tokens);
  void Error(const InFlight& r, Duration now, const std::string& status, std::string_view message);
  void Unanswered(const InFlight& r, Duration now, NoAnswer why);

  DriverResult Finish();

 private:
  const DriverContext context_;
  Pacer pacer_;
  Tally tally_;
  Rng rng_;
  std::vector<double> cumulative_weight_;
  std::vector<size_t> next_input_;
  int outstanding_ = 0;
  int most_in_flight_ = 0;
  Duration
      paused_until_{};  // closed loop only: no new requests before it, because connecting fails
  double user_at_start_s_ = 0, system_at_start_s_ = 0;
};

}  // namespace evenkeel::loadgen
