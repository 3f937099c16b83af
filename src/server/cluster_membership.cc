#include "server/cluster_membership.h"

#include <algorithm>
#include <utility>

#include "cluster/store_membership.h"
#include "cluster/store_table.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 1s;
constexpr Duration kStoreAgain = 10s;
constexpr Duration kPromotionPatience = 30s;
constexpr Duration kPromotionRetry = 300ms;
constexpr Duration kLeavePatience = 1s;

}  // namespace

ClusterMembership::ClusterMembership(ClusterMembershipOptions options, const StoreAccess& access,
                                     EventLoop& loop, const Clock& clock, EventLog& events)
    : options_(std::move(options)),
      access_(access),
      loop_(loop),
      clock_(clock),
      events_(events),
      plan_file_(options_.folder + "/plan.json", options_.home.cluster),
      view_(std::make_shared<const ClusterView>()),
      since_(clock.Now()),
      store_(options_.home.store) {}

ClusterMembership::~ClusterMembership() = default;

void ClusterMembership::Start() {
  auto plan = plan_file_.Load();
  if (!plan.ok()) {
    // Refused as it is: the next plan replaces it.
    plan_trouble_ = fmt::format("the last plan cannot be read: {}", plan.status().message());
    LogError("{}", plan_trouble_);
  } else if (plan->has_value()) {
    last_plan_ = std::make_shared<const StoredPlan>(std::move(**plan));
    plan_since_ = clock_.Now();
    if (on_plan_) on_plan_(last_plan_);
  }
  StoreKeeperOptions keeping;
  keeping.folder = options_.folder;
  keeping.cluster = options_.home.cluster;
  keeping.own = options_.home.own;
  keeping.growth = options_.growth;
  keeping.on_change = [this](const StoreHome& store) {
    // One that is being begun is kept, and told, once it is there.
    if (promotion_ == nullptr) KeepStore(store);
  };
  keeper_ = std::make_unique<StoreKeeper>(std::move(keeping), access_, loop_, clock_, events_);
  keeper_->Use(options_.home.store);
  OpenMembership();
  tick_ = loop_.MakeAlarm([this] { Tick(); });
  Tick();
}

void ClusterMembership::KeepStore(const StoreHome& store) {
  {
    const std::lock_guard lock(mutex_);
    if (store_ == store) return;
    store_ = store;
  }
  if (options_.on_store) options_.on_store(store);
}

void ClusterMembership::OpenMembership() {
  auto store = access_.connect(keeper_->store(), keeper_->endpoints());
  if (!store.ok()) {
    if (open_trouble_ != store.status().message())
      LogError("the cluster's store: {}", store.status().message());
    open_trouble_ = store.status().message();
    return Tell();
  }
  open_trouble_.clear();
  StoreMembershipOptions how;
  how.cluster = options_.home.cluster;
  how.ttl = options_.lease;
  how.last_plan = last_plan_;
  how.on_change = [this] { OnView(); };
  membership_ = std::make_unique<StoreMembership>(std::move(how), std::move(*store), loop_, clock_);
  if (removed_) return;
  if (const Status joined = membership_->Join(options_.record); !joined.ok()) {
    open_trouble_ = joined.message();
    LogError("the cluster's store: {}", open_trouble_);
  }
  membership_->Campaign(true);
}

// After a change, on the loop.
void ClusterMembership::OnView() {
  if (membership_ == nullptr || stopping_) return;
  const auto before = View();
  ClusterView view = *membership_->View();
  view.serial = before->serial + 1;
  const auto now = std::make_shared<const ClusterView>(std::move(view));
  {
    const std::lock_guard lock(mutex_);
    if (now->connected != view_->connected) since_ = clock_.Now();
    view_ = now;
  }
  NoteChanges(*before, *now);
  TakePlan(*now);
  StoreAgain(*now);
  if (now->connected && std::ranges::binary_search(now->removed, options_.record.id)) {
    if (!std::exchange(removed_, true)) {
      events_.Note("this node was taken off the cluster",
                   "an operator said so; to come back it joins with a new token");
      membership_->Leave([] {});
    }
  } else if (now->connected && std::exchange(removed_, false)) {
    static_cast<void>(membership_->Join(options_.record));
    membership_->Campaign(true);
  }
  if (options_.on_view) options_.on_view(*now);
  Tell();
}

void ClusterMembership::NoteChanges(const ClusterView& before, const ClusterView& now) {
  if (before.connected != now.connected) {
    events_.Note(now.connected ? "the cluster's store is there" : "the cluster's store is away",
                 now.connected ? fmt::format("at revision {}", now.revision) : now.trouble);
  }
  if (now.connected && now.leader && now.leader != before.leader) {
    events_.Note(fmt::format("node '{}' leads", now.leader->node), ToText(now.leader->term));
  }
}

void ClusterMembership::TakePlan(const ClusterView& view) {
  if (view.plan == nullptr || view.plan == last_plan_) return;
  if (last_plan_ != nullptr && view.plan->stamp <= last_plan_->stamp) return;
  last_plan_ = view.plan;
  plan_since_ = clock_.Now();
  const Status saved = plan_file_.Save(*last_plan_);
  plan_trouble_ = saved.ok() ? "" : "the plan is not kept on the disk: " + saved.message();
  if (!saved.ok()) LogError("{}", plan_trouble_);
  if (on_plan_) on_plan_(last_plan_);
}

// A store that was begun anew, or put back, has no plan of the present history: what holds is stored again, so that all nodes have it from there.
void ClusterMembership::StoreAgain(const ClusterView& view) {
  if (!view.leading || last_plan_ == nullptr || clock_.Now() < store_again_ ||
      last_plan_->stamp.term.history >= view.leader->term.history)
    return;
  store_again_ = clock_.Now() + kStoreAgain;
  StoredPlan plan;
  plan.plan = last_plan_->plan;
  plan.stamp.term = view.leader->term;
  membership_->Publish(std::move(plan), [this](const Result<PlanStamp>& stored) {
    events_.Note(
        stored.ok() ? "the last plan was stored again" : "the last plan is not stored yet",
        stored.ok() ? "the store had none of its present history" : stored.status().message());
  });
}

void ClusterMembership::Tick() {
  const auto view = View();
  keeper_->Look(view->connected, view->leading, view->nodes);
  if (membership_ != nullptr) {
    StoreAgain(*view);
  } else if (promotion_ == nullptr && !stopping_) {
    OpenMembership();
  }
  Tell();
  tick_->Set(clock_.Now() + kTick);
}

// What a change is refused with while the store is away.
Status ClusterMembership::Away() const {
  const auto view = View();
  if (membership_ != nullptr && view->connected) return Status::Ok();
  std::string why = view->trouble.empty() ? "not reached yet" : view->trouble;
  if (!open_trouble_.empty()) why = open_trouble_;
  if (promotion_ != nullptr) why = "it is being begun anew";
  Time since;
  {
    const std::lock_guard lock(mutex_);
    since = since_;
  }
  std::string hint;
  if (!keeper_->trouble().empty()) hint = "; " + keeper_->trouble();
  return Unavailable("the cluster's store is away for {:.0f} s, so nothing can be changed: {}{}",
                     Seconds(clock_.Now() - since), why, hint);
}

void ClusterMembership::Publish(std::string plan, std::function<void(Result<PlanStamp>)> done) {
  const AnswerOnce<Result<PlanStamp>> answer(std::move(done));
  if (const Status away = Away(); !away.ok()) return answer(away);
  StoredPlan stored;
  stored.plan = std::move(plan);
  if (const auto leader = View()->leader) stored.stamp.term = leader->term;
  membership_->Publish(std::move(stored), answer);
}

void ClusterMembership::set_on_plan(OnPlan on_plan) {
  on_plan_ = std::move(on_plan);
  if (on_plan_ && last_plan_ != nullptr) on_plan_(last_plan_);
}

void ClusterMembership::SetRemoved(const std::string& node, bool removed,
                                   std::function<void(Status)> done) {
  const AnswerOnce<Status> answer(std::move(done));
  if (const Status away = Away(); !away.ok()) return answer(away);
  if (!removed) return membership_->SetRemoved(node, false, answer);
  // A member that is lost with its node would count against the agreement of the others.
  keeper_->Replace(node, [this, node, answer](const Status& replaced) {
    if (!replaced.ok() && replaced.code() != Code::kNotFound &&
        keeper_->store().kind == StoreHome::Kind::kMembers)
      return answer(replaced.Annotate("its member of the store"));
    if (membership_ == nullptr) return;
    membership_->SetRemoved(node, true, answer);
  });
}

void ClusterMembership::ReplaceMember(const std::string& node, std::function<void(Status)> done) {
  const AnswerOnce<Status> answer(std::move(done));
  if (const Status away = Away(); !away.ok()) return answer(away);
  keeper_->Replace(node, answer);
}

// A store that is begun anew.

void ClusterMembership::Promote(std::function<void(Status)> done) {
  AnswerOnce<Status> answer(std::move(done));
  const auto view = View();
  if (keeper_->store().kind != StoreHome::Kind::kMembers)
    return answer(
        Conflict("the nodes do not run the store: it is {}", NameOf(keeper_->store().kind)));
  if (promotion_ != nullptr) return answer(Conflict("the store is being begun anew already"));
  if (view->connected)
    return answer(Conflict("the cluster's store is there (at {}): nothing is to be begun anew",
                           fmt::join(keeper_->store().endpoints, ", ")));
  // Not connected since the start: what is on the disk is the last that is known.
  const bool seen = view->revision > 0;
  int64_t history = std::max(view->history, keeper_->store().generation);
  if (last_plan_ != nullptr) history = std::max(history, last_plan_->stamp.term.history);
  promotion_ = std::make_unique<Promotion>(Promotion{
      std::move(answer), keeper_->store(), history + 1,
      seen ? view->removed : options_.home.removed, clock_.Now() + kPromotionPatience, nullptr});
  membership_.reset();
  StoreHome next;
  next.kind = StoreHome::Kind::kMembers;
  next.generation = keeper_->store().generation + 1;
  next.origin = options_.home.own.name;
  next.member = true;
  const auto own = ParseHostPort(options_.home.own.address);
  if (!own.ok()) return FinishPromotion(own.status());
  next.endpoints = {FormatHostPort(own->host, StoreClientPortOf(own->port))};
  LogWarning("the cluster's store is begun anew here, with history {}", promotion_->history);
  keeper_->Use(next, /*fresh=*/true);
  auto store = access_.connect(next, keeper_->endpoints());
  if (!store.ok()) return FinishPromotion(store.status());
  promotion_->store = std::move(*store);
  BeginHistory();
}

// Reads until the new store answers, then writes the history into it.
void ClusterMembership::BeginHistory() {
  const StoreTable table(options_.home.cluster);
  promotion_->store->Read(table.prefix(), [this, table](const Result<KvSnapshot>& read) {
    if (!read.ok()) {
      if (clock_.Now() > promotion_->until)
        return FinishPromotion(keeper_->trouble().empty() ? read.status()
                                                          : Unavailable("{}", keeper_->trouble()));
      promotion_alarm_ = loop_.MakeAlarm([this] {
        if (promotion_ != nullptr && promotion_->store != nullptr) BeginHistory();
      });
      promotion_alarm_->Set(clock_.Now() + kPromotionRetry);
      return;
    }
    KvTransaction transaction;
    transaction.conditions.push_back({table.HistoryKey(), KvCondition::Field::kCreated, 0});
    transaction.puts.push_back({table.HistoryKey(), std::to_string(promotion_->history), 0});
    for (const std::string& node : promotion_->removed)
      transaction.puts.push_back({table.RemovedKey(node), options_.record.id, 0});
    promotion_->store->Commit(std::move(transaction), [this](const Result<KvCommitted>& done) {
      if (done.ok() && !done->done)
        return FinishPromotion(Internal("the new store holds something already"));
      FinishPromotion(done.status());
    });
  });
}

void ClusterMembership::FinishPromotion(const Status& status) {
  // Later: its store may be in the middle of an answer.
  loop_.Post([this, status, alive = std::weak_ptr<const bool>(alive_)] {
    if (alive.expired() || promotion_ == nullptr) return;
    const auto promotion = std::move(promotion_);
    promotion->store.reset();
    if (status.ok()) {
      events_.Note(
          "the cluster's store was begun anew here",
          fmt::format("it was asked for; plans count from history {} on", promotion->history));
      KeepStore(keeper_->store());
    } else {
      keeper_->Use(promotion->before);
    }
    if (!stopping_) OpenMembership();
    promotion->done(status.Annotate("the store is not begun anew"));
  });
}

void ClusterMembership::HearFigures(const NodeFigures& figures) {
  const StoreHome& known = keeper_->store();
  if (figures.store.kind != StoreHome::Kind::kMembers || known.kind != figures.store.kind ||
      promotion_ != nullptr || stopping_)
    return;
  if (IsNewer(figures.store, known)) {
    events_.Note(
        fmt::format("the cluster's store is the one that '{}' began", figures.store.origin),
        fmt::format("node '{}' told of it", figures.node));
    membership_.reset();
    StoreHome store = figures.store;
    store.member = false;
    keeper_->Use(std::move(store));
    OpenMembership();
  } else if (!IsNewer(known, figures.store) && figures.store_connected && !View()->connected) {
    keeper_->Follow(figures.store.endpoints);
  }
}

// What others ask.

std::shared_ptr<const ClusterView> ClusterMembership::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

StoreHome ClusterMembership::Store() const {
  const std::lock_guard lock(mutex_);
  return store_;
}

std::optional<HeldLeases> ClusterMembership::Leases() const {
  const std::lock_guard lock(mutex_);
  if (!view_->connected) return std::nullopt;
  HeldLeases leases;
  // Leases that lapsed while it was away are taken again in so much time.
  leases.settled = view_->joined && clock_.Now() - since_ >= options_.lease;
  for (const NodeRecord& node : view_->nodes) leases.nodes.insert(node.id);
  return leases;
}

void ClusterMembership::Tell() {
  const auto view = View();
  nlohmann::json document = {{"schema", "evenkeel.membership/v1"},
                             {"cluster", options_.home.cluster},
                             {"node", options_.record.id},
                             {"store", keeper_->Describe()},
                             {"joined", view->joined},
                             {"leading", view->leading},
                             {"history", view->history},
                             {"revision", view->revision},
                             {"removed", view->removed}};
  nlohmann::json& store = document["store"];
  const bool connected = view->connected && membership_ != nullptr;
  store["connected"] = connected;
  store["trouble"] = !open_trouble_.empty()   ? open_trouble_
                     : promotion_ != nullptr  ? "it is being begun anew"
                     : !view->trouble.empty() ? view->trouble
                                              : plan_trouble_;
  if (removed_) store["trouble"] = "this node was taken off the cluster";
  document["leader"] = view->leader ? nlohmann::json{{"node", view->leader->node},
                                                     {"history", view->leader->term.history},
                                                     {"term", view->leader->term.revision}}
                                    : nlohmann::json();
  document["plan"] = nlohmann::json();
  if (last_plan_ != nullptr) {
    const PlanStamp& stamp = last_plan_->stamp;
    document["plan"] = {{"history", stamp.term.history},
                        {"term", stamp.term.revision},
                        {"revision", stamp.revision},
                        {"made_by", last_plan_->made_by},
                        {"age_s", Seconds(clock_.Now() - plan_since_)}};
  }
  nlohmann::json nodes = nlohmann::json::array();
  for (const NodeRecord& node : view->nodes) nodes.push_back(node.id);
  document["leases"] = std::move(nodes);
  const std::lock_guard lock(mutex_);
  document["store"]["since_s"] = Seconds(clock_.Now() - since_);
  described_ = std::move(document);
}

nlohmann::json ClusterMembership::Describe() const {
  const std::lock_guard lock(mutex_);
  return described_;
}

void ClusterMembership::Stop(std::function<void()> done) {
  if (stopping_) return loop_.Post(std::move(done));
  stopping_ = true;
  promotion_.reset();
  if (tick_) tick_->Set(kNever);
  auto end = std::make_shared<std::function<void()>>(std::move(done));
  const auto left = [this, end] {
    if (!*end) return;
    auto last = std::exchange(*end, nullptr);
    stop_alarm_->Set(kNever);
    keeper_ ? keeper_->Stop(std::move(last)) : loop_.Post(std::move(last));
  };
  stop_alarm_ = loop_.MakeAlarm(left);
  stop_alarm_->Set(clock_.Now() + kLeavePatience);
  if (membership_ != nullptr && View()->connected) {
    membership_->Leave(left);
  } else {
    loop_.Post([left, alive = std::weak_ptr<const bool>(alive_)] {
      if (!alive.expired()) left();
    });
  }
}

}  // namespace evenkeel
