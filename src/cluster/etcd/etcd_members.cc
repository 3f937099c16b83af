#include "cluster/etcd/etcd_members.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace pb = etcdserverpb;

// "https://10.0.0.2:8012" to "10.0.0.2:8012".
std::string WithoutScheme(const std::string& url) {
  const size_t at = url.find("://");
  return at == std::string::npos ? url : url.substr(at + 3);
}

template <typename Response>
EtcdClient::Done<Response> Only(StoreMembers::Done done) {
  return [done = std::move(done)](const Result<Response>& response) { done(response.status()); };
}

class EtcdMembers final : public StoreMembers {
 public:
  EtcdMembers(EtcdClientOptions options, EventLoop& loop) : client_(std::move(options), loop) {}

  void List(Listed done) override {
    // etcd 3.4 lists what this member knows, which may be old. A read that all members agree on brings it up to the present first.
    pb::RangeRequest any;
    any.set_key("/");
    client_.Range(std::move(any), [this,
                                   done = std::move(done)](const Result<pb::RangeResponse>& read) {
      if (!read.ok()) return done(read.status());
      const uint64_t connection = client_.connection();
      client_.MemberList([this, connection, done](const Result<pb::MemberListResponse>& response) {
        if (!response.ok()) return done(response.status());
        if (connection != client_.connection())
          return done(Unavailable("etcd: another member was asked meanwhile"));
        done(ToMembers(*response));
      });
    });
  }

  void AddLearner(const std::string& peer_url, Done done) override {
    pb::MemberAddRequest request;
    request.add_peerurls(peer_url);
    request.set_islearner(true);
    client_.MemberAdd(std::move(request), Only<pb::MemberAddResponse>(std::move(done)));
  }

  void Promote(uint64_t id, Done done) override {
    pb::MemberPromoteRequest request;
    request.set_id(id);
    client_.MemberPromote(request, Only<pb::MemberPromoteResponse>(std::move(done)));
  }

  void Remove(uint64_t id, Done done) override {
    pb::MemberRemoveRequest request;
    request.set_id(id);
    client_.MemberRemove(request, Only<pb::MemberRemoveResponse>(std::move(done)));
  }

 private:
  static std::vector<StoreMember> ToMembers(const pb::MemberListResponse& response) {
    std::vector<StoreMember> members;
    for (const pb::Member& one : response.members()) {
      StoreMember& member = members.emplace_back();
      member.id = one.id();
      member.name = one.name();
      if (one.peerurls_size() > 0) member.peer_url = one.peerurls(0);
      if (one.clienturls_size() > 0) member.endpoint = WithoutScheme(one.clienturls(0));
      member.learner = one.islearner();
    }
    return members;
  }

  EtcdClient client_;
};

}  // namespace

Result<std::unique_ptr<StoreMembers>> MakeEtcdMembers(EtcdClientOptions options, EventLoop& loop) {
  EK_RETURN_IF_ERROR(
      CheckEtcdEndpoints(options.changing != nullptr ? *options.changing : options.endpoints));
  if (options.credentials == nullptr) return InvalidArgument("etcd: credentials are missing");
  return std::unique_ptr<StoreMembers>(std::make_unique<EtcdMembers>(std::move(options), loop));
}

}  // namespace evenkeel
