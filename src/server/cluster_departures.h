// Takes models from nodes of the cluster, for who asked this node: looks whether that may be, tells each node, and waits for them.
//
// How it goes: what can be said at once is said on the thread that calls Begin(); the nodes are waited for on a thread of the departure's own, kMostNodesAtOnce of them side by side, and where one
//   of those refuses, those after them are not asked. A departure of a model that is being taken away already begins when that has ended. A model is taken from a node only while another one has
//   it and serves it, unless the request says `force`; each node looks once more itself (NodeModels), since other nodes may be asked to do the like.
// Contract: `done` comes once. Departures of one model follow each other, those of others go on side by side, kMostDepartures at most. What people ask, and not a plan, is told as the number
//   of replicas that they want, also where a node refused: those that left were not to stay.
// Errors: kNotFound (no such node), kUnavailable (a node that does not answer; the server stops), kConflict (the last that has it or serves it; two contents of its name), kOverloaded (too many
//   departures, or no thread), and those of NodeModels, with the node's name.
// Ownership: what it is made with outlives it. Thread-safety: Begin() is one thread's, that of `post`; Stop() may come from any other. Source: issue S4, `undeploy`.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "frontends/deploy_request.h"
#include "server/event_log.h"
#include "server/model_nodes.h"
#include "server/node_models.h"

namespace evenkeel {

class ClusterDepartures {
 public:
  static constexpr size_t kMostDepartures = 64;
  static constexpr size_t kMostNodesAtOnce = 8;  // that one model is taken from side by side

  using Done = std::function<void(Result<nlohmann::json>)>;
  // Runs it on the thread of Begin(), later; false: that takes nothing any more.
  using Post = std::function<bool(std::function<void()> task)>;
  // What people want; 0: nothing any more.
  using Asked = std::function<void(const std::string& model, int replicas)>;
  ClusterDepartures(ModelNodes& nodes, NodeModels& own, EventLog& events, Post post, Asked asked)
      : nodes_(nodes),
        own_(own),
        events_(events),
        post_(std::move(post)),
        asked_(std::move(asked)) {}

  // REQUIRES: the request's names are names. {"model", "nodes"} where all nodes have done it. `done` is called inside only where it can't begin.
  void Begin(const UndeployRequest& request, const Done& done);
  // Nothing begins any more, and what waits for another departure is answered with kUnavailable.
  void Stop();
  // Waits for those that run. REQUIRES: Stop(), the same of `nodes` and of NodeModels, else they last; no Begin() runs.
  void Join();

 private:
  struct Waiting {
    UndeployRequest request;
    Done done;
  };
  Status MayTakeAway(const UndeployRequest& request);
  Result<nlohmann::json> TakeAway(const UndeployRequest& request);  // waits for the nodes
  Status TakeFrom(const std::string& node, bool own, const UndeployOrder& order);
  // The same of several at once; each one's answer, in their order.
  std::vector<Status> TakeFromAll(std::span<const std::string> nodes, const std::string& own,
                                  const UndeployOrder& order);
  void End(const std::string& model);
  // Begins them anew; each is answered also where the thread takes nothing any more.
  void Resume(std::deque<Waiting> waiting);

  ModelNodes& nodes_;
  NodeModels& own_;
  EventLog& events_;
  const Post post_;
  const Asked asked_;

  std::mutex mutex_;  // guards what follows; not held while nodes are asked
  bool stopped_ = false;
  // Models that are being taken away, with what waits for the end of that.
  std::map<std::string, std::deque<Waiting>, std::less<>> departing_;
  std::list<std::future<void>> running_;  // or have ended since the last look
};

}  // namespace evenkeel
