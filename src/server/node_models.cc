#include "server/node_models.h"

#include <algorithm>
#include <future>
#include <utility>

#include "cluster/live/may_leave.h"
#include "cluster/models/partial_copy.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr size_t kMostArrivals = 1000;  // orders that are remembered
constexpr std::chrono::hours kPartialAge(7 * 24);

Status Stopping() { return Unavailable("this node is stopping"); }

}  // namespace

NodeModels::NodeModels(NodeModelsOptions options, Models models, EventLog& events,
                       const Clock& clock, Cluster cluster)
    : options_(std::move(options)),
      models_(std::move(models)),
      events_(events),
      clock_(clock),
      cluster_(std::move(cluster)),
      files_(options_.models) {
  copies_.Post(
      [this] { RemoveOldPartials(PartialFolder(options_.models, options_.state), kPartialAge); });
}

NodeModels::~NodeModels() { Stop(); }

void NodeModels::Stop() {
  stopped_.store(true);
  const std::lock_guard lock(mutex_);
  wake_.notify_all();
  for (ModelPeer* source : sources_) source->Stop();
}

bool NodeModels::Wait(Duration time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, time, [this] { return stopped_.load(); });
}

void NodeModels::ListModel(std::string model, std::function<void(Result<ModelListing>)> done) {
  if (stopped_.load()) return done(Stopping());
  if (lists_waiting_.fetch_add(1) >= kMostWaiting) {
    lists_waiting_.fetch_sub(1);
    return done(Overloaded("more than {} models wait to be listed", kMostWaiting));
  }
  lists_.Post([this, model = std::move(model), done = std::move(done)] {
    done(files_.List(model, [this] { return stopped_.load(); }));
    lists_waiting_.fetch_sub(1);
  });
}

void NodeModels::ReadPiece(FilePiece piece, std::function<void(Result<std::string>)> done) {
  if (stopped_.load()) return done(Stopping());
  if (pieces_waiting_.fetch_add(1) >= kMostWaiting) {
    pieces_waiting_.fetch_sub(1);
    return done(Overloaded("more than {} pieces of files wait to be read", kMostWaiting));
  }
  pieces_.Post([this, piece = std::move(piece), done = std::move(done)] {
    done(files_.Read(piece));
    pieces_waiting_.fetch_sub(1);
  });
}

template <typename Change>
void NodeModels::Note(const DeployOrder& order, Change change) {
  const std::lock_guard lock(mutex_);
  const auto at = arrivals_.find(order.model);
  if (at != arrivals_.end() && at->second.order.digest == order.digest) change(at->second.progress);
}

void NodeModels::KnowPlan(const PlanStamp& stamp) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto newer = fence_.Offer(stamp); !newer.ok())
      LogInfo("a plan is passed over: {}", newer.status().message());
  }
  wake_.notify_all();
}

Status NodeModels::CheckPlan(const std::optional<PlanStamp>& plan) const {
  return plan ? fence_.Check(*plan) : Status::Ok();
}

Status NodeModels::LookAtPlan(const std::optional<PlanStamp>& plan) const {
  const std::lock_guard lock(mutex_);
  return CheckPlan(plan);
}

Status NodeModels::AwaitPlan(const std::optional<PlanStamp>& plan) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, options_.plan_patience,
                 [&] { return stopped_.load() || CheckPlan(plan).code() != Code::kUnavailable; });
  return CheckPlan(plan);
}

Status NodeModels::Deploy(const DeployOrder& order) {
  if (stopped_.load()) return Stopping();
  {
    const std::lock_guard lock(mutex_);
    EK_RETURN_IF_ERROR(CheckPlan(order.plan));
    if (leaving_.contains(order.model))
      return Conflict("model '{}' is being taken from this node", order.model);
    const auto at = arrivals_.find(order.model);
    if (at != arrivals_.end() && !IsFinal(at->second.progress.state)) {
      if (at->second.order.digest == order.digest) return Status::Ok();
      return Conflict("model '{}' is on its way here as sha256:{}, not sha256:{}", order.model,
                      at->second.order.digest, order.digest);
    }
    if (at == arrivals_.end() && arrivals_.size() >= kMostArrivals)
      std::erase_if(arrivals_, [](const auto& one) { return IsFinal(one.second.progress.state); });
    Arrival& arrival = arrivals_[order.model];
    arrival = {order, {}};
    arrival.progress.state = DeployState::kWaiting;
  }
  copies_.Post([this, order] { CarryOut(order); });
  return Status::Ok();
}

DeployProgress NodeModels::Progress(const std::string& model, const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto at = arrivals_.find(model);
  return at != arrivals_.end() && at->second.order.digest == digest ? at->second.progress
                                                                    : DeployProgress();
}

void NodeModels::CarryOut(const DeployOrder& order) {
  const Status fetched = Fetch(order);
  if (!fetched.ok()) {
    LogWarning("model '{}' is not deployed here: {}", order.model, fetched.message());
    return Note(order, [&](DeployProgress& progress) {
      progress.state = DeployState::kFailed;
      progress.error = fetched.message();
    });
  }
  Load(order);
}

Status NodeModels::Fetch(const DeployOrder& order) {
  Note(order, [](DeployProgress& progress) { progress.state = DeployState::kCopying; });
  std::vector<std::unique_ptr<ModelPeer>> links;
  for (const std::string& holder : order.holders) {
    if (holder == options_.own) continue;
    if (auto link = cluster_.link_to(holder)) links.push_back(std::move(link));
  }
  std::vector<ModelSource*> sources;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& link : links) {
      sources.push_back(link.get());
      sources_.push_back(link.get());
    }
  }
  CopyOptions copy;
  copy.bytes_per_s = options_.copy_rate_bytes_s;
  copy.sleep = [this](Duration time) { Wait(time); };
  copy.stopped = [this] { return stopped_.load(); };
  CopyProgress last;
  copy.report = [&](const CopyProgress& now) {
    last = now;
    Note(order, [&](DeployProgress& progress) {
      progress.bytes_total = now.total;
      progress.bytes_done = now.done;
      progress.bytes_resumed = now.resumed;
      progress.bytes_fetched = now.fetched;
      progress.from = now.from;
    });
  };
  const Time begin = clock_.Now();
  const auto copied =
      stopped_.load()
          ? Result<ModelListing>(Stopping())
          : CopyModel({order.model, order.digest, PartialFolder(options_.models, options_.state)},
                      files_, sources, clock_, copy);
  {
    const std::lock_guard lock(mutex_);
    sources_.clear();
  }
  if (!copied.ok()) return copied.status();
  Note(order, [&](DeployProgress& progress) {
    progress.bytes_total = progress.bytes_done = copied->bytes;
  });
  if (!last.from.empty()) {
    events_.Note(
        fmt::format("model '{}' was copied from node '{}': {} in {:.1f} s", order.model, last.from,
                    FormatBytes(static_cast<int64_t>(last.fetched)), Seconds(clock_.Now() - begin)),
        order.why);
  }
  return Status::Ok();
}

void NodeModels::Load(const DeployOrder& order) {
  if (models_.serves(order.model))
    return Note(order, [](DeployProgress& progress) { progress.state = DeployState::kServing; });
  Note(order, [](DeployProgress& progress) { progress.state = DeployState::kLoading; });
  models_.load(order.model, [this, order](const Status& status) {
    if (status.ok()) events_.Note(fmt::format("model '{}' is served here", order.model), order.why);
    Note(order, [&](DeployProgress& progress) {
      progress.state = status.ok() ? DeployState::kServing : DeployState::kFailed;
      progress.error = status.message();
    });
    if (status.ok()) cluster_.figures_changed();
  });
}

void NodeModels::HideLeaving(NodeFigures* figures) {
  const std::lock_guard lock(mutex_);
  const auto leaves = [this](const ModelFigures& model) {
    const auto at = leaving_.find(model.name);
    if (at == leaving_.end()) return false;
    at->second.served = true;
    return true;
  };
  std::erase_if(figures->models, leaves);
  std::erase_if(figures->graphs, leaves);
  // A model of which only the files are to go is served by nobody here who might stay for others.
  for (const auto& [model, leaving] : leaving_)
    figures->leaving.push_back({model, leaving.certain || !leaving.served});
}

Status NodeModels::Admit(const UndeployOrder& order) {
  const std::lock_guard lock(mutex_);
  EK_RETURN_IF_ERROR(CheckPlan(order.plan));
  const auto at = arrivals_.find(order.model);
  if (at != arrivals_.end() && !IsFinal(at->second.progress.state))
    return Conflict("model '{}' is on its way to this node", order.model);
  if (!leaving_.try_emplace(order.model, Leaving{false, order.force}).second)
    return Conflict("model '{}' is being taken from this node already", order.model);
  return Status::Ok();
}

void NodeModels::Undeploy(UndeployOrder order, std::function<void(Status)> done) {
  if (stopped_.load()) return done(Stopping());
  if (departures_waiting_.fetch_add(1) >= kMostWaiting) {
    departures_waiting_.fetch_sub(1);
    return done(Overloaded("more than {} models are being taken from this node", kMostWaiting));
  }
  const Status admitted = Admit(order);
  if (!admitted.ok() && admitted.code() != Code::kUnavailable) {
    departures_waiting_.fetch_sub(1);
    return done(admitted);
  }
  departures_.Post([this, order = std::move(order), done = std::move(done), admitted] {
    // Nobody hears that the model leaves before the plan that wants it is known.
    Status may = admitted.ok() ? Status::Ok() : AwaitPlan(order.plan);
    if (may.ok() && !admitted.ok()) may = Admit(order);
    const Status ended = may.ok() ? Depart(order) : may;
    departures_waiting_.fetch_sub(1);
    done(ended);
  });
}

Status NodeModels::Depart(const UndeployOrder& order) {
  const Status taken = TakeAway(order);
  {
    const std::lock_guard lock(mutex_);
    leaving_.erase(order.model);
    if (taken.ok()) arrivals_.erase(order.model);
  }
  if (!stopped_.load()) cluster_.figures_changed();
  return taken;
}

// From here on no other node counts on this one.
Status NodeModels::BecomeCertain(const UndeployOrder& order) {
  const auto nodes = cluster_.look();
  {
    const std::lock_guard lock(mutex_);
    Leaving& leaving = leaving_.at(order.model);
    if (!order.force)
      EK_RETURN_IF_ERROR(
          MayLeave(order.model, leaving.served, nodes).Annotate("it stays where it is"));
    leaving.certain = true;
  }
  cluster_.figures_changed();
  return Status::Ok();
}

Status NodeModels::TakeAway(const UndeployOrder& order) {
  const bool known = models_.known(order.model);
  if (order.remove_files || (known && models_.serves(order.model))) {
    cluster_.figures_changed();
    if (!Wait(options_.heard_everywhere)) return Stopping();
    EK_RETURN_IF_ERROR(BecomeCertain(order));
  }
  if (known) {
    auto unloaded = std::make_shared<std::promise<Status>>();
    auto answer = unloaded->get_future();
    models_.unload(order.model, [unloaded](const Status& status) { unloaded->set_value(status); });
    // In slices: a server that stops does not answer what waits for ever.
    while (answer.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
      if (stopped_.load()) return Stopping();
    }
    EK_RETURN_IF_ERROR(answer.get());
    events_.Note(fmt::format("model '{}' was unloaded here", order.model), order.why);
  }
  if (!order.remove_files) return Status::Ok();
  EK_RETURN_IF_ERROR(files_.Remove(order.model));
  events_.Note(fmt::format("the files of model '{}' were removed here", order.model), order.why);
  return Status::Ok();
}

}  // namespace evenkeel
