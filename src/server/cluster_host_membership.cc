// The part of ClusterHost that goes by the cluster's store.
#include <algorithm>
#include <future>
#include <utility>

#include "cluster/join/request_check.h"
#include "cluster/pki/signing_request.h"
#include "core/format.h"
#include "core/log.h"
#include "server/answer_once.h"
#include "server/cluster_host.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kForwardTimeout = 5s;
constexpr Duration kEndPatience = 8s;
constexpr Duration kCertificateEvery = 1h;

pki::WallTime WallNow() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

Status NoStore() {
  return Unavailable(
      "this cluster has no store (evenkeel cluster init --no-store, or an older one): plans, "
      "members and the list of nodes can't be changed");
}

}  // namespace

MembershipHooks ClusterHost::Hooks() {
  MembershipHooks hooks;
  hooks.add = [this](NodeFigures* figures) {
    figures->holds_authority = authority_.has_value();
    const ClusterMembership* const membership = membership_now_.load();
    if (membership == nullptr) return;
    figures->store = membership->Store();
    figures->store_connected = membership->View()->connected;
  };
  hooks.hear = [this](const NodeFigures& figures) {
    ClusterMembership* const membership = membership_now_.load();
    if (membership == nullptr || figures.store.kind != StoreHome::Kind::kMembers) return;
    const StoreHome known = membership->Store();
    const bool elsewhere = figures.store_connected && figures.store.endpoints != known.endpoints &&
                           !membership->View()->connected;
    if (!IsNewer(figures.store, known) && !elsewhere) return;
    NodeFigures news;
    news.node = figures.node;
    news.store = figures.store;
    news.store_connected = figures.store_connected;
    store_loop_->Post([membership, news = std::move(news)] { membership->HearFigures(news); });
  };
  hooks.leases = [this]() -> std::optional<HeldLeases> {
    const ClusterMembership* const membership = membership_now_.load();
    return membership != nullptr ? membership->Leases() : std::nullopt;
  };
  hooks.publish = [this](std::string plan, std::function<void(Result<PlanStamp>)> done) {
    PublishHere(std::move(plan), std::move(done));
  };
  hooks.renew = [this](const std::string& caller, const std::string& request_pem) {
    return Renew(caller, request_pem);
  };
  return hooks;
}

Status ClusterHost::OpenMembership(const ServeOptions& options, const Clock& clock) {
  auto loop = IoLoop::Create("ek-store");
  if (!loop.ok()) return loop.status();
  store_loop_ = std::move(*loop);
  store_loop_->Start();
  const auto address = ParseHostPort(home_->own.address);
  if (!address.ok()) return address.status();
  ClusterMembershipOptions how;
  how.folder = folder_;
  {
    const std::lock_guard lock(home_mutex_);
    how.home = *home_;
  }
  const bool has_store = how.home.store.kind != StoreHome::Kind::kNone;
  how.lease = options.cluster.lease;
  how.record.id = how.record.name = home_->own.name;
  how.record.addresses = {home_->own.address};
  how.record.version = EVENKEEL_VERSION;
  how.record.started_unix_s = WallNow().time_since_epoch().count();
  how.record.incarnation = RandomId();
  how.on_view = [this](const ClusterView& view) { OnView(view); };
  how.on_store = [this](const StoreHome& store) {
    Keep([&](ClusterHome* kept) { kept->store = store; });
  };
  std::promise<void> opened;
  store_loop_->Post([&] {
    renewal_ = std::make_unique<CertificateRenewal>(
        CertificateRenewal::Options{folder_, address->host, std::chrono::hours(1)},
        credentials_->certificate(),
        [this](const std::string& request, std::function<void(Result<std::string>)> done) {
          AskForCertificate(request, std::move(done));
        },
        *store_loop_, node_->events());
    renewal_alarm_ = store_loop_->MakeAlarm([this] { LookAtCertificate(); });
    renewal_alarm_->Set(clock.Now() + 10s);  // the others were heard of by then
    if (has_store) {
      access_ = EtcdAccess(folder_, *credentials_, *store_loop_, clock);
      membership_ = std::make_unique<ClusterMembership>(std::move(how), access_, *store_loop_,
                                                        clock, node_->events());
      membership_->Start();
      membership_now_.store(membership_.get());
    }
    opened.set_value();
  });
  opened.get_future().wait();
  return Status::Ok();
}

void ClusterHost::CloseMembership() {
  if (!store_loop_ || std::exchange(store_closed_, true)) return;
  if (ClusterMembership* const membership = membership_now_.exchange(nullptr)) {
    auto ended = std::make_shared<std::promise<void>>();
    auto end = ended->get_future();
    store_loop_->Post([membership, ended] { membership->Stop([ended] { ended->set_value(); }); });
    if (end.wait_for(kEndPatience) != std::future_status::ready)
      LogWarning("the member of the cluster's store does not end: it is killed");
  }
  std::promise<void> gone;
  store_loop_->Post([&] {
    membership_.reset();
    renewal_alarm_.reset();
    renewal_.reset();
    gone.set_value();
  });
  gone.get_future().wait();
  // It stays: a request that is under way may still hand it something, which is answered when it goes.
  store_loop_->Stop();
  store_loop_->Join();
}

// Plans are stored before they are carried out, and what holds is known to this node's models.
void ClusterHost::WatchPlans() {
  node_->plans().set_store([this](std::string text, auto done) {
    if (View() == nullptr) return done(std::optional<PlanStamp>());
    Publish(std::move(text), [done = std::move(done)](const Result<PlanStamp>& stored) {
      if (!stored.ok()) return done(stored.status());
      done(std::optional<PlanStamp>(*stored));
    });
  });
  const auto hindrance = [this] {
    std::string why = WhyAway();
    return why.empty() ? node_->WhyFrozen() : why;
  };
  node_->feedback().set_hindrance(hindrance);
  node_->plans().set_hindrance(hindrance);
  set_on_plan(
      [this](const std::shared_ptr<const StoredPlan>& plan) { node_->KnowPlan(plan->stamp); });
}

std::string ClusterHost::WhyAway() const {
  const ClusterMembership* const membership = membership_now_.load();
  if (membership == nullptr) return "";
  const auto view = membership->View();
  if (view->connected) return "";
  const nlohmann::json store = membership->Describe().value("store", nlohmann::json::object());
  return fmt::format("the cluster's store is away for {:.0f} s{}{}", store.value("since_s", 0.0),
                     view->trouble.empty() ? "" : ": ", view->trouble);
}

// On the store's thread.
void ClusterHost::OnView(const ClusterView& view) {
  for (const NodeRecord& record : view.nodes) {
    if (record.id != home_->own.name) node_->AddPeer({record.id, record.addresses.front()});
  }
  if (!view.connected || view.removed == removed_told_) return;
  removed_told_ = view.removed;
  node_->SetRemoved(view.removed);
  Keep([&](ClusterHome* kept) { kept->removed = view.removed; });
}

// A node joins, on the desk's thread, which may wait.
Status ClusterHost::Admit(const NodeAddress& node) {
  const auto view = View();
  if (view != nullptr && std::ranges::binary_search(view->removed, node.name)) {
    std::promise<Status> answer;
    WithMembership([&](const Status& status) { answer.set_value(status); },
                   [&](ClusterMembership& membership, std::function<void(Status)> done) {
                     membership.SetRemoved(node.name, false, std::move(done));
                   });
    const Status status = answer.get_future().get();
    if (!status.ok())
      return status.Annotate(fmt::format("node '{}' was taken off the cluster", node.name));
  }
  node_->AddPeer(node);
  return Status::Ok();
}

std::shared_ptr<const ClusterView> ClusterHost::View() const {
  const ClusterMembership* const membership = membership_now_.load();
  return membership != nullptr ? membership->View() : nullptr;
}

void ClusterHost::WithMembership(
    std::function<void(Status)> done,
    std::function<void(ClusterMembership&, std::function<void(Status)>)> task) {
  const AnswerOnce<Status> answer(std::move(done));
  ClusterMembership* const membership = membership_now_.load();
  if (membership == nullptr) return answer(NoStore());
  store_loop_->Post([this, answer, task = std::move(task)] {
    if (membership_ != nullptr) task(*membership_, answer);
  });
}

void ClusterHost::PublishHere(std::string plan, std::function<void(Result<PlanStamp>)> done) {
  const AnswerOnce<Result<PlanStamp>> answer(std::move(done));
  if (membership_now_.load() == nullptr) return answer(NoStore());
  store_loop_->Post([this, answer, plan = std::move(plan)] {
    if (membership_ != nullptr) membership_->Publish(plan, answer);
  });
}

void ClusterHost::Publish(std::string plan_text, std::function<void(Result<PlanStamp>)> done) {
  const auto view = View();
  if (view == nullptr) return done(NoStore());
  if (!view->connected || view->leading) return PublishHere(std::move(plan_text), std::move(done));
  LinkClient* const leader = view->leader ? node_->LinkTo(view->leader->node) : nullptr;
  if (leader == nullptr)
    return done(Unavailable(
        "{}", view->leader
                  ? fmt::format("node '{}' leads, and is not known yet", view->leader->node)
                  : "no node leads the cluster at the moment"));
  leader->Publish(plan_text, kForwardTimeout,
                  [name = view->leader->node, done = std::move(done)](Result<PlanStamp> stored) {
                    if (stored.ok()) return done(std::move(stored));
                    done(stored.status().Annotate(fmt::format("node '{}', which leads", name)));
                  });
}

void ClusterHost::set_on_plan(std::function<void(std::shared_ptr<const StoredPlan>)> on_plan) {
  if (membership_now_.load() == nullptr) return;
  store_loop_->Post([this, on_plan = std::move(on_plan)] {
    if (membership_ != nullptr) membership_->set_on_plan(on_plan);
  });
}

nlohmann::json ClusterHost::DescribeMembership() const {
  nlohmann::json document = {{"schema", "evenkeel.membership/v1"}, {"store", {{"kind", "none"}}}};
  if (const ClusterMembership* const membership = membership_now_.load())
    document = membership->Describe();
  document["cluster"] = home_ ? home_->cluster : "";
  document["node"] = node_->NameOf(0);
  document["moves_frozen"] = node_->WhyFrozen();
  return document;
}

void ClusterHost::RemoveNode(const std::string& node, std::function<void(Status)> done) {
  const auto view = View();
  if (view == nullptr) return done(NoStore());
  if (node == node_->NameOf(0))
    return done(InvalidArgument("node '{}' is the one that was asked: ask another one", node));
  const bool leased = std::ranges::find(view->nodes, node, &NodeRecord::id) != view->nodes.end();
  const auto views = node_->Look();
  const auto known =
      std::ranges::find_if(views, [&](const auto& one) { return one.name == node && !one.gone; });
  if (known == views.end() && !leased) return done(NotFound("the cluster has no node '{}'", node));
  const ClusterNode::NodeState state = node_->StateOf(node);
  const bool drained = known != views.end() && known->known && known->figures.draining;
  const bool unseen = (known == views.end() || !known->known) && !leased;
  if (view->connected && !drained && !unseen && state.health != Health::kDead)
    return done(Conflict("node '{}' is {}{}: drain it first (evenkeel node drain {}), or stop it",
                         node, NameOf(state.health),
                         state.why.empty() ? "" : fmt::format(" ({})", state.why), node));
  WithMembership(std::move(done),
                 [node](ClusterMembership& membership, std::function<void(Status)> removed) {
                   membership.SetRemoved(node, true, std::move(removed));
                 });
}

void ClusterHost::ReplaceMember(const std::string& node, std::function<void(Status)> done) {
  WithMembership(std::move(done),
                 [node](ClusterMembership& membership, std::function<void(Status)> replaced) {
                   membership.ReplaceMember(node, std::move(replaced));
                 });
}

void ClusterHost::Promote(std::function<void(Status)> done) {
  WithMembership(std::move(done),
                 [](ClusterMembership& membership, std::function<void(Status)> begun) {
                   membership.Promote(std::move(begun));
                 });
}

// Certificates.

Result<std::string> ClusterHost::Renew(const std::string& caller, const std::string& request_pem) {
  if (!authority_) return NotFound("this node does not hold the cluster's authority");
  const auto request = pki::ReadSigningRequest(request_pem);
  if (!request.ok()) return request.status();
  NodeAddress known;
  {
    // Not node_'s list: others may ask before it is there.
    const std::lock_guard lock(home_mutex_);
    const auto at = std::ranges::find(home_->peers, caller, &NodeAddress::name);
    if (caller != home_->own.name && at == home_->peers.end())
      return Unavailable("node '{}' is not known here yet, or was taken off the cluster", caller);
    known = caller == home_->own.name ? home_->own : *at;
  }
  EK_RETURN_IF_ERROR(CheckRequest(request->identity, known));
  const auto view = View();
  if (view != nullptr && std::ranges::binary_search(view->removed, caller))
    return PermissionDenied("node '{}' was taken off the cluster", caller);
  LogInfo("node '{}' gets a new certificate", caller);
  return authority_->Sign(*request, WallNow());
}

void ClusterHost::AskForCertificate(const std::string& request_pem,
                                    std::function<void(Result<std::string>)> done) {
  if (authority_) return done(Renew(home_->own.name, request_pem));
  for (const auto& view : node_->Look()) {
    LinkClient* const link = view.figures.holds_authority ? node_->LinkTo(view.name) : nullptr;
    if (link != nullptr) return link->Renew(request_pem, kForwardTimeout, std::move(done));
  }
  done(Unavailable("no node that holds the cluster's authority was heard of"));
}

void ClusterHost::LookAtCertificate() {
  renewal_->Look(WallNow());
  renewal_alarm_->Set(SteadyClock::Instance().Now() + kCertificateEvery);
}

}  // namespace evenkeel
