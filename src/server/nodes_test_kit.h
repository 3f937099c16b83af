// Nodes of a cluster in one process, for tests: real files, copies, orders and departures (NodeModels), links that are calls, and models that serve as soon as they are told to.
//
// What a node would tell is seen by all others at once; waits are as short as a test wants them.
// Thread-safety: thread-safe, but for Add() and destruction, which waits for what is under way.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cluster/models/models_test_kit.h"
#include "core/format.h"
#include "server/node_models.h"

namespace evenkeel {

class TestNodes;

// A done function that counts, and what came.
template <typename T>
class Once {
 public:
  std::function<void(T)> function() {
    return [held = held_](T result) {
      const std::lock_guard lock(held->mutex);
      ++held->count;
      held->result = std::make_unique<T>(std::move(result));
      held->changed.notify_all();
    };
  }
  // False: nothing came within the time.
  bool Wait(std::chrono::milliseconds most = std::chrono::seconds(20)) const {
    std::unique_lock lock(held_->mutex);
    return held_->changed.wait_for(lock, most, [this] { return held_->count > 0; });
  }
  // Waits; the test has failed where nothing comes.
  T result() const {
    EXPECT_TRUE(Wait()) << "it is not answered";
    const std::lock_guard lock(held_->mutex);
    return held_->result ? *held_->result : T(Status(Code::kInternal, "it was not answered"));
  }
  int count() const {
    const std::lock_guard lock(held_->mutex);
    return held_->count;
  }

 private:
  struct Held {
    std::mutex mutex;
    std::condition_variable changed;
    int count = 0;
    std::unique_ptr<T> result;
  };
  std::shared_ptr<Held> held_ = std::make_shared<Held>();
};

class TestNode {
 public:
  struct Waits {
    Duration heard_everywhere = std::chrono::milliseconds(5), plan = std::chrono::milliseconds(20);
  };
  TestNode(TestNodes& nodes, std::string name, Waits waits)
      : nodes_(nodes), name_(std::move(name)) {
    folder_.MakeFolder("models");
    folder_.MakeFolder("state");
    Start(waits);
  }
  // Anew, as after a restart of the server: the disk is as it was.
  inline void Start(Waits waits);

  NodeModels& models() { return *models_; }
  const std::string& name() const { return name_; }
  const ScratchFolder& folder() const { return folder_; }
  EventLog& events() { return events_; }
  // A model that lies here, and serves.
  void Put(const std::string& model, const std::string& bytes) {
    folder_.Write("models/" + model + "/model.onnx", bytes);
    const std::lock_guard lock(mutex_);
    serving_.insert(model);
  }
  bool Serves(const std::string& model) const {
    const std::lock_guard lock(mutex_);
    return serving_.contains(model);
  }
  bool Has(const std::string& model) const {
    return folder_.Has("models/" + model + "/model.onnx");
  }
  NodeFigures Figures() {
    NodeFigures figures;
    figures.node = name_;
    {
      const std::lock_guard lock(mutex_);
      for (const std::string& model : serving_) {
        ModelFigures one;
        one.name = model;
        one.memory_bytes = 1;
        figures.models.push_back(one);
      }
    }
    models_->HideLeaving(&figures);
    return figures;
  }

  // Faults.
  std::atomic<bool> reachable{true};
  std::atomic<int64_t> gives{int64_t{1} << 40};  // bytes of files, before it is reachable no more
  std::atomic<bool> hold_loads{false};           // they are done when ReleaseLoads() says so
  void ReleaseLoads() {
    hold_loads.store(false);
    std::vector<std::function<void()>> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (const auto& load : held) load();
  }
  std::function<void()> on_unload;  // set before anything is unloaded
  std::atomic<int> loads{0}, unloads{0};
  std::atomic<int> calls{0};  // of other nodes, that are under way

 private:
  friend class TestNodes;
  TestNodes& nodes_;
  const std::string name_;
  ScratchFolder folder_;
  EventLog events_;
  mutable std::mutex mutex_;  // guards what follows
  std::set<std::string> serving_;
  std::vector<std::function<void()>> held_;
  std::unique_ptr<NodeModels> models_;  // not guarded
};

// Another node, by calls.
class TestPeer final : public ModelPeer {
 public:
  explicit TestPeer(TestNode& to) : to_(to) {}
  const std::string& node() const override { return to_.name(); }
  Result<ModelListing> List(const std::string& model) override {
    Once<Result<ModelListing>> listing;
    return Call<Result<ModelListing>>([&] { to_.models().ListModel(model, listing.function()); },
                                      listing);
  }
  Result<std::string> Read(const FilePiece& piece) override {
    if (to_.gives.fetch_sub(static_cast<int64_t>(piece.length)) <= 0) to_.reachable.store(false);
    Once<Result<std::string>> bytes;
    return Call<Result<std::string>>([&] { to_.models().ReadPiece(piece, bytes.function()); },
                                     bytes);
  }
  Status Deploy(const DeployOrder& order) override {
    Once<Status> ordered;
    return Call<Status>([&] { ordered.function()(to_.models().Deploy(order)); }, ordered);
  }
  Result<DeployProgress> Progress(const std::string& model, const std::string& digest) override {
    Once<Result<DeployProgress>> progress;
    return Call<Result<DeployProgress>>(
        [&] { progress.function()(to_.models().Progress(model, digest)); }, progress);
  }
  Status Undeploy(const UndeployOrder& order) override {
    Once<Status> taken;
    return Call<Status>([&] { to_.models().Undeploy(order, taken.function()); }, taken);
  }
  void Stop() override { stopped_.store(true); }

 private:
  template <typename T>
  T Call(const std::function<void()>& ask, const Once<T>& answer) {
    to_.calls.fetch_add(1);
    T result = Status(Code::kUnavailable, "no link");
    if (!stopped_.load() && to_.reachable.load()) {
      ask();
      while (!stopped_.load() && !answer.Wait(std::chrono::milliseconds(5))) {
      }
      result = stopped_.load() ? T(Status(Code::kCancelled, "stopped")) : answer.result();
    }
    to_.calls.fetch_sub(1);
    return result;
  }

  TestNode& to_;
  std::atomic<bool> stopped_{false};
};

class TestNodes {
 public:
  TestNode& Add(const std::string& name, TestNode::Waits waits = {}) {
    nodes_.push_back(std::make_unique<TestNode>(*this, name, waits));
    return *nodes_.back();
  }
  // Nobody is called any more, then everybody goes.
  ~TestNodes() {
    for (const auto& node : nodes_) {
      node->reachable.store(false);
      node->ReleaseLoads();
      node->models().Stop();
    }
    {
      const std::unique_lock lock(looking_);
      closing_ = true;
    }
    for (const auto& node : nodes_) {
      while (node->calls.load() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (const auto& node : nodes_) node->models_.reset();
  }
  // As `from` sees it.
  std::vector<ReplicaTable::NodeView> Look(const std::string& from) const {
    std::vector<ReplicaTable::NodeView> views;
    const std::shared_lock lock(looking_);
    if (closing_) return views;
    for (const auto& node : nodes_) {
      ReplicaTable::NodeView view;
      view.name = node->name();
      view.known = true;
      view.suspect = view.name != from && !node->reachable.load();
      view.figures = node->Figures();
      views.insert(view.name == from ? views.begin() : views.end(), std::move(view));
    }
    return views;
  }
  std::unique_ptr<ModelPeer> LinkTo(const std::string& name) const {
    for (const auto& node : nodes_) {
      if (node->name() == name) return std::make_unique<TestPeer>(*node);
    }
    return nullptr;
  }

 private:
  std::vector<std::unique_ptr<TestNode>> nodes_;
  mutable std::shared_mutex looking_;
  bool closing_ = false;  // guarded by looking_
};

inline void TestNode::Start(Waits waits) {
  models_.reset();
  NodeModels::Models own;
  own.known = own.serves = [this](const std::string& model) { return Serves(model); };
  own.load = [this](const std::string& model, std::function<void(Status)> done) {
    loads.fetch_add(1);
    const auto load = [this, model, done = std::move(done)] {
      {
        const std::lock_guard lock(mutex_);
        serving_.insert(model);
      }
      done(Status::Ok());
    };
    if (!hold_loads.load()) return load();
    const std::lock_guard lock(mutex_);
    held_.emplace_back(load);
  };
  own.unload = [this](const std::string& model, const std::function<void(Status)>& done) {
    unloads.fetch_add(1);
    if (on_unload) on_unload();
    {
      const std::lock_guard lock(mutex_);
      serving_.erase(model);
    }
    done(Status::Ok());
  };
  NodeModelsOptions options;
  options.own = name_;
  options.models = folder_.path() + "/models";
  options.state = folder_.path() + "/state";
  options.copy_rate_bytes_s = int64_t{1} << 32;
  options.heard_everywhere = waits.heard_everywhere;
  options.plan_patience = waits.plan;
  NodeModels::Cluster cluster;
  cluster.look = [this] { return nodes_.Look(name_); };
  cluster.link_to = [this](const std::string& node) { return nodes_.LinkTo(node); };
  cluster.figures_changed = [] {};
  models_ = std::make_unique<NodeModels>(std::move(options), std::move(own), events_,
                                         SteadyClock::Instance(), std::move(cluster));
}

}  // namespace evenkeel
