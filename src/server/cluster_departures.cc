#include "server/cluster_departures.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/format.h"

namespace evenkeel {

using nlohmann::json;
using NodeView = ReplicaTable::NodeView;

void ClusterDepartures::Stop() {
  std::deque<Waiting> waiting;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (auto& [_, those] : departing_) {
      for (Waiting& one : those) waiting.push_back(std::move(one));
      those.clear();
    }
  }
  Resume(std::move(waiting));
}

void ClusterDepartures::Join() {
  std::list<std::future<void>> last;
  {
    const std::lock_guard lock(mutex_);
    last = std::move(running_);
  }
  // A future of std::async waits in its destructor.
}

void ClusterDepartures::Resume(std::deque<Waiting> waiting) {
  for (Waiting& one : waiting) {
    const auto held = std::make_shared<Waiting>(std::move(one));
    if (!post_([this, held] { Begin(held->request, held->done); }))
      held->done(Unavailable("this node is stopping"));
  }
}

// No model is lost, and none stops being served, unless that was asked for in so many words.
Status ClusterDepartures::MayTakeAway(const UndeployRequest& request) {
  const auto nodes = nodes_.All();
  bool served = false, served_elsewhere = false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const bool named = std::ranges::find(request.nodes, nodes[i].name) != request.nodes.end();
    const bool serves = NodeAnswers(nodes[i], i == 0) && NodeServes(nodes[i], request.model);
    (named ? served : served_elsewhere) |= serves && (named || !nodes[i].figures.draining);
  }
  if (request.force) return Status::Ok();
  EK_RETURN_IF_ERROR(CheckOneKind(nodes, request.model));
  if (served && !served_elsewhere)
    return Conflict("no node but {} serves model '{}': deploy it elsewhere first, or say --force",
                    NamesOf(request.nodes), request.model);
  if (request.keep_files) return Status::Ok();
  // Other contents of the name would not stand in for it: then this is refused, too.
  const auto holders = nodes_.Holders(request.model);
  if (!holders.ok())
    return holders.status().code() == Code::kNotFound ? Status::Ok() : holders.status();
  const auto stays = [&request](const ModelNodes::Holder& holder) {
    return std::ranges::find(request.nodes, holder.node) == request.nodes.end();
  };
  if (std::ranges::any_of(*holders, stays)) return Status::Ok();
  return Conflict(
      "no node but {} has the files of model '{}': deploy it elsewhere first, or say --force",
      NamesOf(request.nodes), request.model);
}

// What can be said at once. The nodes are waited for on another thread.
void ClusterDepartures::Begin(const UndeployRequest& request, const Done& done) {
  Status status;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) status = Unavailable("this node is stopping");
    const auto departing = departing_.find(request.model);
    if (status.ok() && departing != departing_.end()) {
      departing->second.push_back({request, done});
      return;
    }
    std::erase_if(running_, [](const std::future<void>& one) {
      return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
    if (status.ok() && running_.size() >= kMostDepartures)
      status = Overloaded("{} models are being taken from nodes already", running_.size());
  }
  const auto nodes = nodes_.All();
  for (const std::string& name : request.nodes) {
    if (!status.ok()) break;
    const NodeView* node = FindNode(nodes, name);
    if (node == nullptr) {
      status = NotFound("the cluster has no node '{}'", name);
    } else if (!NodeAnswers(*node, node == nodes.data())) {
      status = Unavailable("node '{}' does not answer", name);
    }
  }
  if (status.ok()) status = MayTakeAway(request);
  if (!status.ok()) return done(status);
  {
    const std::lock_guard lock(mutex_);
    departing_.try_emplace(request.model);
    try {
      running_.push_back(std::async(std::launch::async, [this, request, done] {
        const auto taken = TakeAway(request);
        End(request.model);
        done(taken);
      }));
    } catch (const std::system_error& error) {
      departing_.erase(request.model);
      status = Overloaded("model '{}' is not taken away: {}", request.model, error.what());
    }
  }
  if (!status.ok()) done(status);
}

// What waited for it begins.
void ClusterDepartures::End(const std::string& model) {
  std::deque<Waiting> waiting;
  {
    const std::lock_guard lock(mutex_);
    auto departing = departing_.extract(model);
    if (!departing.empty()) waiting = std::move(departing.mapped());
  }
  Resume(std::move(waiting));
}

Status ClusterDepartures::TakeFrom(const std::string& node, bool own, const UndeployOrder& order) {
  if (own) {
    auto promise = std::make_shared<std::promise<Status>>();
    own_.Undeploy(order, [promise](const Status& status) { promise->set_value(status); });
    return promise->get_future().get();
  }
  ModelPeer* const link = nodes_.LinkTo(node);
  return link != nullptr ? link->Undeploy(order) : Unavailable("this node is stopping");
}

std::vector<Status> ClusterDepartures::TakeFromAll(std::span<const std::string> nodes,
                                                   const std::string& own,
                                                   const UndeployOrder& order) {
  std::vector<std::future<Status>> answers;
  std::vector<Status> taken;
  Status failed;
  for (const std::string& node : nodes) {
    try {
      answers.push_back(std::async(std::launch::async, [this, &node, &own, &order] {
        return TakeFrom(node, node == own, order);
      }));
    } catch (const std::system_error& error) {
      failed = Overloaded("there is no thread to ask it: {}", error.what());
      break;
    }
  }
  for (auto& answer : answers) taken.push_back(answer.get());
  taken.resize(nodes.size(), failed);
  return taken;
}

Result<json> ClusterDepartures::TakeAway(const UndeployRequest& request) {
  const UndeployOrder order{request.model, !request.keep_files, ReasonOf(request.why),
                            StampOf(request.by), request.force};
  events_.Note(
      fmt::format("model '{}' is {} {}", request.model,
                  request.keep_files ? "unloaded from" : "taken from", NamesOf(request.nodes)),
      order.why);
  const auto nodes = nodes_.All();
  std::vector<std::string> serving = NodesThatServe(nodes, request.model);
  size_t left = 0;
  Status failed;
  const std::span<const std::string> all(request.nodes);
  for (size_t begin = 0; begin < all.size() && failed.ok(); begin += kMostNodesAtOnce) {
    const auto some = all.subspan(begin, std::min(kMostNodesAtOnce, all.size() - begin));
    const auto taken = TakeFromAll(some, nodes[0].name, order);
    for (size_t i = 0; i < some.size(); ++i) {
      if (taken[i].ok()) {
        left += std::erase(serving, some[i]);
      } else if (failed.ok()) {
        failed = taken[i].Annotate(fmt::format("node '{}'", some[i]));
      }
    }
  }
  // Also where a node refused: those that are gone were not to stay.
  if (!request.by.plan && left > 0) asked_(request.model, static_cast<int>(serving.size()));
  if (!failed.ok()) return failed;
  return json{{"model", request.model}, {"nodes", request.nodes}};
}

}  // namespace evenkeel
