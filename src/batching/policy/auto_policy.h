// The class behind `auto` and `oracle`; auto.cc says how it decides.
//
// Not for use outside auto.cc and oracle.cc. Thread-safety: thread-compatible.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "batching/policy/core_shares.h"
#include "batching/policy/guard.h"
#include "batching/policy/node_policy.h"
#include "batching/policy/overflow.h"
#include "batching/policy/target.h"

namespace evenkeel::policy {

class AutoPolicy : public NodePolicy {
 public:
  // `price`: of core time, in place of the one that the load gives; the guard does not watch over it. REQUIRES: >= 0.
  explicit AutoPolicy(std::optional<double> price = {}) : given_price_(price) {}
  Decision Decide(const NodeView& node, Time now) override;
  std::string_view name() const override { return "auto"; }
  void Forget(int index) override;
  ModelOutlook Outlook(int index) const override;

 protected:
  struct State {
    int knee = 0;    // 0: nothing is known of T yet, what waits is taken
    int most = 0;    // rows under pressure; >= knee
    int resort = 0;  // the same where it gains little: only once it can't keep up
    int target = 1;
    double rate_rps = 0;
    Duration core_wait{};  // p99
    double stretch = 1;
    ClassKnees classes;
  };
  // What a model is used to. Kept from one Refresh() to the next.
  struct Habit {
    double cores = 0;  // mean that it wanted
    int looks = 0;
  };
  // How far a model is behind the cores it was granted, while not everything fits.
  struct Account {
    Duration carried{};       // behind when the shares were last made out
    double share = 0;         // cores that it could count on since then
    bool wants_more = false;  // than that
    double used_s = 0;        // core time that batches took since then
  };

  static int Farther(const ModelView& model, int size, Duration objective);
  static bool Strained(const NodeView& node, const ModelView& model, const State& state);
  // Rows a second that prices and targets are made for.
  virtual double RateOf(const ModelView& model, Time now) const;
  // Until when what waits is held; <= now: it is not. REQUIRES: 0 < lane.waiting_rows < state.knee, price > 0.
  virtual Time HeldUntil(const ModelView& model, const State& state, const LaneView& lane,
                         Time now) const;
  // The same for how long what waits is held: of the last moments, so that a hold sees that the flow has changed.
  virtual double HoldRate(const ModelView& model, const State& state, Time now) const;
  double price() const { return price_; }

 private:
  Time OfferLane(const NodeView& node, size_t m, int lane, Time now, Gate* gate) const;
  Decision Close(const ModelView& model, const State& state, const LaneView& lane, double urgency,
                 Time now) const;
  // The same on an accelerator: its time has no price, and what waits is taken.
  static Decision CloseOnDevice(const ModelView& model, const State& state, const LaneView& lane);
  void Refresh(const NodeView& node, Time now);
  void SetPrice(const NodeView& node, double price);
  Duration LongestOther(const NodeView& node, size_t i) const;
  void ShareOut(const NodeView& node);
  Duration Behind(const NodeView& node, size_t i) const;

  const std::optional<double> given_price_;
  std::vector<State> models_;
  std::vector<Steering> steering_;  // the same, as the guard's shadows need it
  Guard guard_;
  bool guarded_ = false;
  std::vector<TargetCurve> targets_;
  std::vector<Habit> habits_;
  std::vector<Account> accounts_;
  double used_s_ = 0, granted_ = 0;  // of the accounts that want more
  double bound_ = 0;  // how far shares bind: 0 while what the models want fits, 1 at kBound beyond
  double price_ = 0;
  bool save_power_ = false;
  bool shared_ = false;  // more threads than cores
  Time refresh_at_{};
};

}  // namespace evenkeel::policy
