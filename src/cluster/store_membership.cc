#include "cluster/store_membership.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {

using namespace std::chrono_literals;

StoreMembership::StoreMembership(StoreMembershipOptions options, std::unique_ptr<KvStore> store,
                                 EventLoop& loop, const Clock& clock)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      table_(options_.cluster),
      seen_(options_.last_plan != nullptr ? options_.last_plan->stamp : PlanStamp{}),
      fence_(options_.last_plan != nullptr ? options_.last_plan->stamp : PlanStamp{}),
      plan_(options_.last_plan),
      lost_why_("not connected yet"),
      pause_(options_.first_retry),
      view_(std::make_shared<const ClusterView>()),
      store_(std::move(store)) {
  EK_CHECK(IsNodeId(options_.cluster));
  retry_alarm_ = loop_.MakeAlarm([this] { Connect(); });
  refresh_alarm_ = loop_.MakeAlarm([this] { OnRefreshAlarm(); });
  lapse_alarm_ = loop_.MakeAlarm([this] { Tell(); });
  Tell();
  Connect();
}

StoreMembership::~StoreMembership() = default;

// Connection.

void StoreMembership::Connect() {
  ++attempt_;
  watch_.reset();
  busy_ = refreshing_ = lease_confirmed_ = false;
  wait_revision_ = 0;
  store_->Read(table_.prefix(), IfSame<KvSnapshot>([this](Result<KvSnapshot> snapshot) {
                 OnRead(std::move(snapshot));
               }));
}

void StoreMembership::Lost(const Status& why) {
  if (connected_)
    LogWarning("cluster {}: the store is lost: {}; serving goes on from the last plan",
               options_.cluster, why.message());
  connected_ = false;
  lost_why_ = why.message();
  ReadLater();
  Tell();
}

void StoreMembership::ReadLater() {
  ++attempt_;
  watch_.reset();
  busy_ = refreshing_ = false;
  const Time now = clock_.Now();
  // A connection that held for a while forgives the ones before it.
  if (connected_since_ != Time{} && now - connected_since_ > options_.longest_retry)
    pause_ = options_.first_retry;
  connected_since_ = Time{};
  retry_alarm_->Set(now + pause_);
  pause_ = std::min(2 * pause_, options_.longest_retry);
}

void StoreMembership::OnRead(Result<KvSnapshot> snapshot) {
  const Status status = snapshot.ok() ? table_.Reset(*snapshot) : snapshot.status();
  if (!status.ok()) return Lost(status);
  if (!connected_)
    LogInfo("cluster {}: connected, at revision {}", options_.cluster, table_.revision());
  connected_ = true;
  connected_since_ = clock_.Now();
  if (const std::string why = seen_.WentBack(table_); !why.empty()) {
    count_history_ = true;
    went_back_ = fmt::format(
        "the store was put back to an older state: {}; plans are refused until a new term", why);
    LogError("cluster {}: {}", options_.cluster, went_back_);
  }
  KvWatchEvents events;
  events.changes = [this](KvChanges changes) {
    table_.Apply(changes);
    AfterChange();
  };
  events.ended = [this](Status why, bool compacted) { OnEnd(why, compacted); };
  watch_ = store_->Watch(table_.prefix(), table_.revision() + 1, std::move(events));
  AfterChange();
}

void StoreMembership::OnEnd(const Status& why, bool compacted) {
  if (!compacted) return Lost(why);
  LogInfo("cluster {}: the store has compacted what was to be watched; reading again",
          options_.cluster);
  ReadLater();
}

void StoreMembership::AfterChange() {
  if (count_history_ && table_.history() > seen_.history()) {
    LogWarning("cluster {}: plans count from history {} on", options_.cluster, table_.history());
    count_history_ = false;
  }
  if (!count_history_) {
    seen_.Note(table_);
    TakePlan();
  }
  CheckSuperseded();
  Tell();
  Advance();
}

void StoreMembership::TakePlan() {
  plan_trouble_.clear();
  const auto plan = table_.plan();
  if (plan == nullptr || plan->stamp.term.history != table_.history()) return;
  const auto newer = fence_.Offer(plan->stamp);
  if (!newer.ok()) plan_trouble_ = newer.status().message();
  if (newer.ok() && (*newer || plan_ == nullptr)) plan_ = plan;
}

void StoreMembership::CheckSuperseded() {
  if (!self_) return;
  const KeyValue* const stored = table_.Find(OwnNodeKey());
  if (stored == nullptr) return;
  if (stored->lease == lease_) {
    joined_at_ = stored->modified;
    return;
  }
  // What lay there before we joined is our own earlier run's, and is replaced.
  if (joined_at_ == 0 || stored->modified <= joined_at_) return;
  const auto other = ParseNodeRecord(stored->value);
  if (other.ok() && other->incarnation == self_->incarnation) return;
  superseded_ = fmt::format("node id {} was taken over by another process ({})", self_->id,
                            other.ok() ? other->addresses.front() : "unknown address");
  LogError("cluster {}: {}; this one stays out", options_.cluster, superseded_);
  last_incarnation_ = self_->incarnation;
  if (lease_ != 0) store_->Revoke(lease_, [](const Result<bool>&) {});
  LoseLease();
  self_.reset();
}

std::string StoreMembership::Trouble() const {
  if (!superseded_.empty()) return superseded_;
  if (!connected_) return fmt::format("the store cannot be reached: {}", lost_why_);
  if (count_history_) return went_back_;
  if (plan_ != nullptr && plan_->stamp.term.history < table_.history())
    return fmt::format(
        "the store was put back to an older state; the last plan holds until a leader stores one "
        "of "
        "history {}",
        table_.history());
  if (!plan_trouble_.empty()) return plan_trouble_;
  return table_.trouble();
}

bool StoreMembership::Leading() const {
  const auto leader = table_.leader();
  return campaign_ && leader && self_ && leader->node == self_->id &&
         leader->term.revision != resigned_ && connected_ && !count_history_ && lease_ != 0 &&
         clock_.Now() < lease_until_ && table_.LeadersKey() == OwnLeaderKey();
}

void StoreMembership::Tell() {
  auto view = std::make_shared<ClusterView>();
  view->connected = connected_;
  view->trouble = Trouble();
  view->history = table_.history();
  view->revision = table_.revision();
  view->nodes = table_.Nodes();
  view->removed = table_.Removed();
  if (self_) {
    const KeyValue* const own = table_.Find(OwnNodeKey());
    view->joined = own != nullptr && lease_ != 0 && own->lease == lease_;
  }
  if (!count_history_) view->leader = table_.leader();
  view->leading = Leading();
  view->plan = plan_;
  {
    const std::lock_guard lock(mutex_);
    view->serial = view_->serial;
    if (*view == *view_ && view->serial > 0) return;
    ++view->serial;
    view_ = std::move(view);
  }
  if (!options_.on_change || std::exchange(told_, true)) return;
  loop_.Post([this, alive = std::weak_ptr<const bool>(alive_)] {
    if (alive.expired()) return;
    told_ = false;
    options_.on_change();
  });
}

std::shared_ptr<const ClusterView> StoreMembership::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

// Steps.

void StoreMembership::Advance() {
  if (!connected_ || watch_ == nullptr || busy_ || table_.revision() < wait_revision_) return;
  if (count_history_) return CountHistory();
  if (!self_) return;
  if (lease_ == 0) return Grant();
  if (!lease_confirmed_) return Refresh();
  const KeyValue* const record = table_.Find(OwnNodeKey());
  if (record == nullptr || record->lease != lease_ || record->value != self_text_)
    return PutRecord();
  const KeyValue* const candidacy = table_.Find(OwnLeaderKey());
  if (candidacy == nullptr && campaign_) return PutCandidacy();
  if (candidacy != nullptr && (!campaign_ || candidacy->created == resigned_))
    return DropCandidacy();
}

void StoreMembership::Send(KvTransaction transaction) {
  busy_ = true;
  const int64_t lease = lease_;
  store_->Commit(std::move(transaction),
                 IfSame<KvCommitted>([this, lease](Result<KvCommitted> committed) {
                   busy_ = false;
                   if (committed.status().code() == Code::kNotFound) {
                     if (lease == lease_) LoseLease();
                     return ReadLater();
                   }
                   if (!committed.ok()) return Lost(committed.status());
                   // Something else came first: what it was is in the store.
                   if (!committed->done) return ReadLater();
                   wait_revision_ = committed->revision;
                   Advance();
                 }));
}

void StoreMembership::CountHistory() {
  KvTransaction transaction;
  transaction.conditions.push_back(
      {table_.HistoryKey(), KvCondition::Field::kModified, table_.history_modified()});
  transaction.puts.push_back(
      {table_.HistoryKey(), std::to_string(std::max(seen_.history(), table_.history()) + 1), 0});
  Send(std::move(transaction));
}

void StoreMembership::PutRecord() {
  KvTransaction transaction;
  transaction.puts.push_back({OwnNodeKey(), self_text_, lease_});
  Send(std::move(transaction));
}

void StoreMembership::PutCandidacy() {
  KvTransaction transaction;
  const std::string key = OwnLeaderKey();
  transaction.conditions.push_back({key, KvCondition::Field::kCreated, 0});
  transaction.conditions.push_back(
      {table_.HistoryKey(), KvCondition::Field::kModified, table_.history_modified()});
  transaction.puts.push_back({key, self_->id, lease_});
  Send(std::move(transaction));
}

void StoreMembership::DropCandidacy() {
  const KeyValue* const own = table_.Find(OwnLeaderKey());
  resigned_ = own->created;
  KvTransaction transaction;
  transaction.conditions.push_back({own->key, KvCondition::Field::kCreated, own->created});
  transaction.deletes.push_back(own->key);
  Send(std::move(transaction));
}

// Lease.

void StoreMembership::Grant() {
  busy_ = true;
  const Time sent = clock_.Now();
  store_->Grant(options_.ttl, IfSame<KvLease>([this, sent](Result<KvLease> lease) {
                  busy_ = false;
                  if (!lease.ok()) return Lost(lease.status());
                  OnGranted(*lease, sent);
                }));
}

void StoreMembership::OnGranted(const KvLease& lease, Time sent) {
  if (!self_) {  // left meanwhile
    store_->Revoke(lease.id, [](const Result<bool>&) {});
    return;
  }
  lease_ = lease.id;
  ttl_ = std::max<Duration>(lease.ttl, 3ms);
  lease_confirmed_ = true;
  lease_until_ = sent + ttl_;
  lapse_alarm_->Set(lease_until_);
  next_refresh_ = sent + ttl_ / 3;
  refresh_alarm_->Set(next_refresh_);
  Advance();
}

void StoreMembership::OnRefreshAlarm() {
  if (lease_ == 0) return;
  // The schedule is fixed: a late alarm does not move the later ones.
  const Time now = clock_.Now();
  while (next_refresh_ <= now) next_refresh_ += ttl_ / 3;
  refresh_alarm_->Set(next_refresh_);
  Refresh();
}

void StoreMembership::Refresh() {
  if (!connected_ || watch_ == nullptr || refreshing_) return;
  refreshing_ = true;
  const Time sent = clock_.Now();
  const int64_t lease = lease_;
  store_->Refresh(lease, IfSame<Duration>([this, sent, lease](Result<Duration> left) {
                    refreshing_ = false;
                    if (lease != lease_) return;
                    if (left.status().code() == Code::kNotFound) {
                      LogWarning("cluster {}: this node's lease has lapsed; joining again",
                                 options_.cluster);
                      LoseLease();
                    } else if (!left.ok()) {
                      return Lost(left.status());
                    } else {
                      lease_confirmed_ = true;
                      lease_until_ = sent + *left;
                      lapse_alarm_->Set(lease_until_);
                    }
                    Tell();
                    Advance();
                  }));
}

void StoreMembership::LoseLease() {
  lease_ = 0;
  lease_confirmed_ = false;
  refresh_alarm_->Set(kNever);
  lapse_alarm_->Set(kNever);
}

// What is wanted.

Status StoreMembership::Join(const NodeRecord& self) {
  EK_RETURN_IF_ERROR(CheckNodeRecord(self));
  if (self_ && self_->id != self.id)
    return InvalidArgument("this node has joined as {}; it cannot be {} too", self_->id, self.id);
  if (!superseded_.empty() && self.incarnation == last_incarnation_)
    return Conflict("{}", superseded_);
  superseded_.clear();
  if (!self_) joined_at_ = 0;
  self_ = self;
  self_text_ = WriteNodeRecord(self);
  Tell();
  Advance();
  return Status::Ok();
}

void StoreMembership::Campaign(bool wanted) {
  campaign_ = wanted;
  Tell();
  Advance();
}

void StoreMembership::Leave(std::function<void()> done) {
  self_.reset();
  campaign_ = false;
  const int64_t lease = lease_;
  LoseLease();
  Tell();
  if (lease != 0) {
    store_->Revoke(lease, [done = std::move(done)](const Result<bool>&) { done(); });
    return;
  }
  loop_.Post([alive = std::weak_ptr<const bool>(alive_), done = std::move(done)] {
    if (!alive.expired()) done();
  });
}

void StoreMembership::Publish(StoredPlan plan, PublishDone done) {
  const auto leader = table_.leader();
  Status status;
  if (!connected_) {
    status = Unavailable("{}", Trouble());
  } else if (!Leading()) {
    status = Conflict("this node does not lead the cluster");
  } else if (plan.stamp.term != leader->term) {
    status = Conflict("the plan was made under {}; now it is {}", ToText(plan.stamp.term),
                      ToText(leader->term));
  } else {
    plan.cluster = options_.cluster;
    plan.made_by = self_->id;
    plan.stamp.revision = 0;  // the store's to say
  }
  Result<std::string> text = status.ok() ? WriteStoredPlan(plan) : Result<std::string>(status);
  if (!text.ok()) {
    loop_.Post([alive = std::weak_ptr<const bool>(alive_), done = std::move(done),
                refused = text.status()] {
      if (!alive.expired()) done(refused);
    });
    return;
  }
  KvTransaction transaction;
  transaction.conditions.push_back(
      {OwnLeaderKey(), KvCondition::Field::kCreated, leader->term.revision});
  transaction.conditions.push_back(
      {table_.HistoryKey(), KvCondition::Field::kModified, table_.history_modified()});
  transaction.puts.push_back({table_.PlanKey(), std::move(*text), 0});
  store_->Commit(std::move(transaction),
                 [this, attempt = attempt_, term = leader->term,
                  done = std::move(done)](const Result<KvCommitted>& committed) {
                   const bool same = attempt == attempt_;
                   if (!committed.ok()) {
                     if (same) Lost(committed.status());
                     return done(committed.status());
                   }
                   if (committed->done) return done(PlanStamp{term, committed->revision});
                   if (same) ReadLater();
                   done(Conflict("the plan was made under {}, which has ended", ToText(term)));
                 });
}

void StoreMembership::SetRemoved(const std::string& node, bool removed, ChangeDone done) {
  Status status;
  if (!IsNodeId(node)) {
    status = InvalidArgument("expected a node's id, got {}", Excerpt(node));
  } else if (removed && self_ && node == self_->id) {
    status = InvalidArgument("node '{}' cannot take itself off the cluster", node);
  } else if (!connected_) {
    status = Unavailable("{}", Trouble());
  }
  if (!status.ok()) {
    loop_.Post([alive = std::weak_ptr<const bool>(alive_), done = std::move(done), status] {
      if (!alive.expired()) done(status);
    });
    return;
  }
  KvTransaction transaction;
  if (removed) {
    transaction.puts.push_back({table_.RemovedKey(node), self_ ? self_->id : "", 0});
    transaction.deletes.push_back(table_.NodeKey(node));
  } else {
    transaction.deletes.push_back(table_.RemovedKey(node));
  }
  store_->Commit(std::move(transaction), [this, attempt = attempt_, done = std::move(done)](
                                             const Result<KvCommitted>& committed) {
    if (!committed.ok() && attempt == attempt_) Lost(committed.status());
    done(committed.status());
  });
}

}  // namespace evenkeel
