// B9 on this node: what all nodes measure is looked at once a second, and a plan that is worth its moves becomes an event, or is carried out.
//
// Every node looks, from about the same figures, so that each can be asked; carried out is a plan by one alone: by default the first by name of those that are not
// suspect, and where a leader is elected, that one. The looking is done on a thread of its own: a plan for many models takes longer than a loop may stand still.
// Contract: Apply is called on that thread, at most once each Feedback::kQuiet, with a document that has what `evenkeel plan -o json` has of its names:
//   "rules", "placement" {node: [model]}, "makespan_s"; and "reason", "gain_s", "cost_s"; "leaves": the node that a replica beyond what was asked for leaves, if it is that.
//   Not called after Stop(). No replica leaves while a plan is under way: that would cut it off.
// Thread-safety: Look() is the loop's; the rest is thread-safe. Source: B9; cluster/live/feedback.h has the policy.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cluster/live/feedback.h"
#include "core/clock.h"
#include "server/event_log.h"
#include "server/task_thread.h"

namespace evenkeel {

class ClusterFeedback {
 public:
  using Apply = std::function<void(const nlohmann::json& plan)>;

  // `automatic`: proposals are applied where there is who can; else they are only told.
  ClusterFeedback(EventLog& events, bool automatic, ReplanOptions options = {})
      : events_(events), automatic_(automatic), feedback_(options) {}

  void set_apply(Apply apply);
  // Whether this node leads the cluster, asked on the thread that applies; nullopt: nobody is elected here, and the first by name applies.
  using Leads = std::function<std::optional<bool>()>;
  void set_leads(Leads leads);

  // Why no plan may be carried out at the moment, asked like that; "": one may.
  using Hindrance = std::function<std::string()>;
  void set_hindrance(Hindrance hindrance);

  // Whether a plan is being carried out here, or waits, asked on that thread.
  using Busy = std::function<bool()>;
  void set_busy(Busy busy);

  bool Due(Time now) const { return now >= at_; }
  // `views`: of all nodes, the own one first.
  void Look(Time now, std::vector<ReplicaTable::NodeView> views);
  bool looking() const { return looking_.load(); }  // a look is under way
  // The last look ends.
  void Stop() { thread_.reset(); }

  // What is known, as of some seconds ago.
  struct Learnt {
    MeasuredCosts costs;
    std::map<std::string, double, std::less<>> rates;  // calls of a model a second, of all nodes
    double at_s = 0;
  };
  std::shared_ptr<const Learnt> learnt() const;  // null: nothing was looked at yet
  // {"asking", "passed_over", "proposals", "last": {"reason", "age_s", "gain_s", "cost_s", "present", "planned", "moves": [{"model", "to", "seconds"}], "leaves"}}; what there is of it.
  nlohmann::json Document(Time now) const;
  uint64_t proposals() const { return proposals_.load(); }

 private:
  void LookNow(double now_s, const std::vector<ReplicaTable::NodeView>& views);
  bool IsBusy() const;
  // False: something held it up.
  bool Propose(const Feedback::Proposal& proposal,
               const std::vector<ReplicaTable::NodeView>& views);

  // In the event log. `what_then`: who does what.
  void Note(const Feedback::Proposal& proposal, const std::string& what_then);

  EventLog& events_;
  const bool automatic_;
  Time at_{};                         // the loop's
  std::atomic<bool> looking_{false};  // one at a time: a look that is late replaces none
  std::atomic<uint64_t> proposals_{0};
  Feedback feedback_;          // the thread's
  double published_s_ = -1e9;  // the thread's

  mutable std::mutex mutex_;  // guards what follows
  Apply apply_;
  Leads leads_;
  Hindrance hindrance_;
  Busy busy_;
  std::shared_ptr<const Learnt> learnt_;
  std::string asking_, passed_over_;
  std::optional<Feedback::Proposal> last_;

  std::unique_ptr<TaskThread> thread_ = std::make_unique<TaskThread>();  // goes first
};

}  // namespace evenkeel
