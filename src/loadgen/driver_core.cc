#include "loadgen/driver_core.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>

namespace evenkeel::loadgen {
namespace {

// A closed loop would spin on a server that refuses connections.
constexpr Duration kPauseAfterFailedConnect = std::chrono::milliseconds(10);

void ThreadCpu(double* user_s, double* system_s) {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  *user_s = static_cast<double>(usage.ru_utime.tv_sec) +
            static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
  *system_s = static_cast<double>(usage.ru_stime.tv_sec) +
              static_cast<double>(usage.ru_stime.tv_usec) * 1e-6;
}

}  // namespace

std::vector<Objectives> ObjectivesOf(const LoadPlan& plan) {
  std::vector<Objectives> objectives;
  for (const PreparedModel& model : plan.models) objectives.push_back(model.objectives);
  return objectives;
}

DriverCore::DriverCore(DriverContext context)
    : context_(context),
      pacer_(context.plan.stages, context.part, std::max(1, context.plan.cap / context.part.count),
             context.plan.seed),
      tally_(static_cast<int>(context.plan.stages.size()), ObjectivesOf(context.plan),
             context.plan.window),
      rng_(context.plan.seed * 7919 + static_cast<uint64_t>(context.part.index)) {
  double sum = 0;
  for (const PreparedModel& model : plan().models) {
    cumulative_weight_.push_back(sum += model.weight);
    // Threads start at different inputs, so that they do not send the same one at the same time.
    const size_t n = model.requests.size();
    next_input_.push_back(n * static_cast<size_t>(context.part.index) /
                          static_cast<size_t>(context.part.count));
  }
  // Open-loop sends are late by the kernel's timer slack, 50 us by default.
  prctl(PR_SET_TIMERSLACK, 1);
  ThreadCpu(&user_at_start_s_, &system_at_start_s_);
}

std::optional<InFlight> DriverCore::Take(Duration now) {
  if (paused_until_ > Duration::zero()) {
    if (now < paused_until_ && pacer_.closed_loop()) return std::nullopt;
    paused_until_ = Duration::zero();
  }
  const std::optional<Pacer::Due> due = pacer_.Take(now, outstanding_);
  if (!due) return std::nullopt;
  InFlight r;
  r.stage = due->stage;
  r.intended = due->intended;
  r.sent = now;
  if (cumulative_weight_.size() > 1) {
    const double at = rng_.Uniform() * cumulative_weight_.back();
    const auto it = std::upper_bound(cumulative_weight_.begin(), cumulative_weight_.end() - 1, at);
    r.model = static_cast<int>(it - cumulative_weight_.begin());
  }
  size_t& next = next_input_[static_cast<size_t>(r.model)];
  const std::vector<PreparedRequest>& requests = model(r).requests;
  r.input = static_cast<int>(next);
  next = next + 1 == requests.size() ? 0 : next + 1;
  r.rows = requests[static_cast<size_t>(r.input)].rows;
  most_in_flight_ = std::max(most_in_flight_, ++outstanding_);
  tally_.Sent(r);
  return r;
}

Duration DriverCore::NextWake() const {
  const Duration wake = pacer_.NextWake();
  return pacer_.closed_loop() && paused_until_ > Duration::zero() ? std::min(wake, paused_until_)
                                                                  : wake;
}

void DriverCore::Answered(const InFlight& r, Duration now, std::string_view answer,
                          Duration compute) {
  --outstanding_;
  paused_until_ = Duration::zero();
  if (plan().check_answers && !AnswerIsRight(plan(), model(r), request(r), answer)) {
    tally_.Wrong(r, now);
    context_.progress.failed.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  tally_.Ok(r, now, pacer_.StageAt(now), compute);
  context_.progress.answered.fetch_add(1, std::memory_order_relaxed);
}

void DriverCore::AnsweredStream(const InFlight& r, Duration now, const TokenStream& answer) {
  --outstanding_;
  paused_until_ = Duration::zero();
  tally_.OkStream(r, now, pacer_.StageAt(now), answer);
  context_.progress.answered.fetch_add(1, std::memory_order_relaxed);
}

void DriverCore::TokensArrived(const InFlight& r, Duration now, uint64_t tokens) {
  tally_.TokensArrived(r, tokens, pacer_.StageAt(now));
}

void DriverCore::Error(const InFlight& r, Duration now, const std::string& status,
                       std::string_view message) {
  --outstanding_;
  tally_.Error(r, now, status, message);
  context_.progress.failed.fetch_add(1, std::memory_order_relaxed);
}

void DriverCore::Unanswered(const InFlight& r, Duration now, NoAnswer why) {
  --outstanding_;
  tally_.Unanswered(r, why);
  if (why == NoAnswer::kConnect) paused_until_ = now + kPauseAfterFailedConnect;
  context_.progress.failed.fetch_add(1, std::memory_order_relaxed);
}

DriverResult DriverCore::Finish() {
  DriverResult result{std::move(tally_), {}, {}, {}, {}, 0, 0, most_in_flight_};
  for (int stage = 0; stage < static_cast<int>(plan().stages.size()); ++stage) {
    result.held_back.push_back(pacer_.held_back(stage));
    result.not_sent.push_back(pacer_.not_sent(stage));
    result.started.push_back(pacer_.started(stage));
    result.ended.push_back(pacer_.ended(stage));
  }
  ThreadCpu(&result.user_cpu_s, &result.system_cpu_s);
  result.user_cpu_s -= user_at_start_s_;
  result.system_cpu_s -= system_at_start_s_;
  return result;
}

}  // namespace evenkeel::loadgen
