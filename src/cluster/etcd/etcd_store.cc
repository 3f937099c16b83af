#include "cluster/etcd/etcd_store.h"

#include <algorithm>
#include <utility>

#include "cluster/etcd/etcd_client.h"
#include "cluster/etcd/etcd_version.h"
#include "core/format.h"

namespace evenkeel {
namespace {

namespace pb = etcdserverpb;

constexpr int64_t kMostKeys = 20'000;  // in one read

// What follows every key with this prefix.
std::string EndOfPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (prefix.empty()) return std::string(1, '\0');  // etcd's "to the end"
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

KeyValue ToKeyValue(pb::KeyValue* from) {
  KeyValue value;
  value.key = std::move(*from->mutable_key());
  value.value = std::move(*from->mutable_value());
  value.created = from->create_revision();
  value.modified = from->mod_revision();
  value.lease = from->lease();
  return value;
}

pb::TxnRequest ToRequest(KvTransaction transaction) {
  pb::TxnRequest request;
  for (KvCondition& condition : transaction.conditions) {
    pb::Compare* const compare = request.add_compare();
    compare->set_result(pb::Compare::EQUAL);
    compare->set_key(std::move(condition.key));
    if (condition.field == KvCondition::Field::kCreated) {
      compare->set_target(pb::Compare::CREATE);
      compare->set_create_revision(condition.revision);
    } else {
      compare->set_target(pb::Compare::MOD);
      compare->set_mod_revision(condition.revision);
    }
  }
  for (KvTransaction::Put& put : transaction.puts) {
    pb::PutRequest* const one = request.add_success()->mutable_request_put();
    one->set_key(std::move(put.key));
    one->set_value(std::move(put.value));
    one->set_lease(put.lease);
  }
  for (std::string& key : transaction.deletes)
    request.add_success()->mutable_request_delete_range()->set_key(std::move(key));
  return request;
}

class EtcdStore final : public KvStore {
 public:
  EtcdStore(EtcdStoreOptions options, EventLoop& loop)
      : loop_(loop),
        call_timeout_(options.call_timeout),
        client_({std::move(options.endpoints), std::move(options.changing),
                 std::move(options.credentials), options.call_timeout},
                loop) {}

  void Read(const std::string& prefix, Done<KvSnapshot> done) override {
    if (checked_ == client_.connection() + 1) return ReadChecked(prefix, std::move(done));
    const uint64_t asked = client_.connection();
    client_.EndpointStatus(
        [this, asked, prefix, done = std::move(done)](const Result<pb::StatusResponse>& status) {
          if (!status.ok()) return done(status.status());
          if (const Status version = CheckEtcdVersion(status->version()); !version.ok())
            return done(version.Annotate(client_.endpoint()));
          if (asked != client_.connection())
            return done(Unavailable("etcd: another endpoint is asked since"));
          checked_ = asked + 1;
          ReadChecked(prefix, done);
        });
  }

  void Commit(KvTransaction transaction, Done<KvCommitted> done) override {
    client_.Txn(ToRequest(std::move(transaction)),
                [done = std::move(done)](const Result<pb::TxnResponse>& response) {
                  if (!response.ok()) return done(response.status());
                  done(KvCommitted{response->succeeded(), response->header().revision()});
                });
  }

  void Grant(Duration ttl, Done<KvLease> done) override {
    pb::LeaseGrantRequest request;
    const auto whole = std::chrono::ceil<std::chrono::seconds>(ttl).count();
    request.set_ttl(std::max<int64_t>(whole, 1));
    client_.LeaseGrant(request,
                       [done = std::move(done)](const Result<pb::LeaseGrantResponse>& response) {
                         if (!response.ok()) return done(response.status());
                         if (!response->error().empty() || response->id() == 0)
                           return done(Internal("etcd granted no lease: {}", response->error()));
                         done(KvLease{response->id(), std::chrono::seconds(response->ttl())});
                       });
  }

  void Refresh(int64_t lease, Done<Duration> done) override {
    pb::LeaseKeepAliveRequest request;
    request.set_id(lease);
    client_.LeaseKeepAlive(request, [lease, done = std::move(done)](
                                        const Result<pb::LeaseKeepAliveResponse>& response) {
      if (!response.ok()) return done(response.status());
      if (response->ttl() <= 0) return done(NotFound("etcd has no lease {:x}", lease));
      done(Duration(std::chrono::seconds(response->ttl())));
    });
  }

  void Revoke(int64_t lease, Done<bool> done) override {
    pb::LeaseRevokeRequest request;
    request.set_id(lease);
    client_.LeaseRevoke(request,
                        [done = std::move(done)](const Result<pb::LeaseRevokeResponse>& response) {
                          if (response.status().code() == Code::kNotFound) return done(false);
                          if (!response.ok()) return done(response.status());
                          done(true);
                        });
  }

  std::unique_ptr<KvWatch> Watch(const std::string& prefix, int64_t from_revision,
                                 KvWatchEvents events) override {
    return std::make_unique<PrefixWatch>(*this, prefix, from_revision, std::move(events));
  }

 private:
  // What etcd says of a watch as the events of KvWatch.
  class PrefixWatch final : public KvWatch {
   public:
    PrefixWatch(EtcdStore& store, const std::string& prefix, int64_t from_revision,
                KvWatchEvents events)
        : from_(from_revision),
          events_(std::make_shared<const KvWatchEvents>(std::move(events))),
          late_(store.loop_.MakeAlarm(
              [this] { End(Unavailable("etcd did not set up the watch in time"), false); })) {
      pb::WatchCreateRequest request;
      request.set_key(prefix);
      request.set_range_end(EndOfPrefix(prefix));
      request.set_start_revision(from_revision);
      request.set_progress_notify(true);
      late_->Set(SteadyClock::Instance().Now() + store.call_timeout_);
      watch_ = store.client_.Watch(
          std::move(request), {[this](const pb::WatchResponse& response) { OnResponse(response); },
                               [this](Status why) { End(std::move(why), false); }});
    }

   private:
    void OnResponse(const pb::WatchResponse& response) {
      if (response.canceled()) {
        const bool compacted = response.compact_revision() > 0;
        return End(Unavailable("etcd ended the watch: {}",
                               compacted ? "compacted" : response.cancel_reason()),
                   compacted);
      }
      if (response.created()) {
        late_->Set(kNever);
        // Put back to an older state since it was read: the watch would be silent until it is as far again.
        if (response.header().revision() < from_ - 1)
          return End(Unavailable("etcd's revision is {}, and was {}", response.header().revision(),
                                 from_ - 1),
                     false);
      }
      KvChanges changes;
      changes.revision =
          response.events().empty() && !response.created() ? response.header().revision() : 0;
      for (const pb::Event& event : response.events()) {
        pb::KeyValue stored = event.kv();
        if (event.type() == pb::Event::DELETE) stored.set_create_revision(0);
        changes.revision = stored.mod_revision();
        changes.keys.push_back(ToKeyValue(&stored));
      }
      if (changes.revision == 0) return;
      const auto events = events_;  // the receiver may destroy this
      events->changes(std::move(changes));
    }

    void End(Status why, bool compacted) {
      if (std::exchange(over_, true)) return;
      late_->Set(kNever);
      const auto events = events_;
      events->ended(std::move(why), compacted);
    }

    const int64_t from_;
    const std::shared_ptr<const KvWatchEvents> events_;
    const std::unique_ptr<Alarm> late_;
    bool over_ = false;
    std::unique_ptr<KvWatch> watch_;
  };

  void ReadChecked(const std::string& prefix, Done<KvSnapshot> done) {
    pb::RangeRequest request;
    request.set_key(prefix);
    request.set_range_end(EndOfPrefix(prefix));
    request.set_limit(kMostKeys);
    client_.Range(std::move(request),
                  [prefix, done = std::move(done)](Result<pb::RangeResponse> response) {
                    if (!response.ok()) return done(response.status());
                    if (response->more())
                      return done(TooLarge("etcd has {} keys below {}; at most {} are read",
                                           response->count(), prefix, kMostKeys));
                    KvSnapshot snapshot;
                    snapshot.revision = response->header().revision();
                    for (pb::KeyValue& stored : *response->mutable_kvs())
                      snapshot.keys.push_back(ToKeyValue(&stored));
                    done(std::move(snapshot));
                  });
  }

  EventLoop& loop_;
  const Duration call_timeout_;
  EtcdClient client_;
  uint64_t checked_ = 0;  // connection whose version was right, and one
};

}  // namespace

Result<std::unique_ptr<KvStore>> MakeEtcdStore(EtcdStoreOptions options, EventLoop& loop) {
  EK_RETURN_IF_ERROR(
      CheckEtcdEndpoints(options.changing != nullptr ? *options.changing : options.endpoints));
  if (options.credentials == nullptr) return InvalidArgument("etcd: credentials are missing");
  return std::unique_ptr<KvStore>(std::make_unique<EtcdStore>(std::move(options), loop));
}

}  // namespace evenkeel
