// The contracts over a real etcd (memory_store_test.cc runs the same ones in memory), and what only the way there can show.
#include "cluster/etcd/etcd_store.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "cluster/etcd/etcd_arena.h"
#include "cluster/etcd/etcd_version.h"
#include "cluster/membership_contract.h"
#include "proto/etcd.grpc.pb.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

INSTANTIATE_TYPED_TEST_SUITE_P(Etcd, KvStoreContract, EtcdArena);
INSTANTIATE_TYPED_TEST_SUITE_P(Etcd, MembershipContract, EtcdArena);

// A server that says it is some version, and stays silent on everything else.
class OldEtcd final : public etcdserverpb::Maintenance::Service {
 public:
  explicit OldEtcd(std::string version) : version_(std::move(version)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    EK_CHECK(server_ != nullptr);
  }
  ~OldEtcd() override { server_->Shutdown(); }
  grpc::Status Status(grpc::ServerContext*, const etcdserverpb::StatusRequest*,
                      etcdserverpb::StatusResponse* response) override {
    response->set_version(version_);
    return grpc::Status::OK;
  }
  std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const std::string version_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class EtcdStoreTest : public testing::Test {
 protected:
  EtcdStoreTest() : loop_(IoLoop::Create("test-loop").value()) { loop_->Start(); }
  ~EtcdStoreTest() override {
    OnLoop([this] { store_.reset(); });
    loop_->Stop();
    loop_->Join();
  }
  void OnLoop(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  void Make(std::vector<std::string> endpoints, Duration call_timeout) {
    OnLoop([&] {
      EtcdStoreOptions options;
      options.endpoints = std::move(endpoints);
      options.credentials = grpc::InsecureChannelCredentials();
      options.call_timeout = call_timeout;
      auto store = MakeEtcdStore(options, *loop_);
      ASSERT_TRUE(store.ok()) << store.status().ToString();
      store_ = std::move(*store);
    });
  }
  Status Read() {
    std::promise<Status> answer;
    OnLoop([&] {
      store_->Read("/x/", [&](const Result<KvSnapshot>& read) { answer.set_value(read.status()); });
    });
    return answer.get_future().get();
  }

  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<KvStore> store_;
};

TEST_F(EtcdStoreTest, RefusesAVersionThatWeDoNotSpeak) {
  OldEtcd old("3.3.27");
  Make({old.endpoint()}, 5s);
  const Status status = Read();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find("3.3.27"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("3.4 to 3.6"), std::string::npos);
}

TEST_F(EtcdStoreTest, AnEndpointWhereNobodyListensIsSaidByName) {
  const int port = FreePort();
  Make({"127.0.0.1:" + std::to_string(port)}, 5s);
  const Status status = Read();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find(std::to_string(port)), std::string::npos) << status.message();
}

TEST_F(EtcdStoreTest, AnEndpointThatStaysSilentIsGivenUpAtTheDeadline) {
  int port = 0;
  const int silent = BoundSocket(&port);  // connections are made by the kernel, nobody answers
  ASSERT_EQ(::listen(silent, 8), 0);
  Make({"127.0.0.1:" + std::to_string(port)}, 300ms);
  const Time begin = SteadyClock::Instance().Now();
  EXPECT_EQ(Read().code(), Code::kUnavailable);
  EXPECT_LT(SteadyClock::Instance().Now() - begin, 10s);
  ::close(silent);
}

TEST_F(EtcdStoreTest, DestroyedWithCallsUnderWayNothingComesAnyMore) {
  int port = 0;
  const int silent = BoundSocket(&port);
  ASSERT_EQ(::listen(silent, 8), 0);
  Make({"127.0.0.1:" + std::to_string(port)}, 60s);
  std::atomic<int> answers{0};
  OnLoop([&] {
    for (int i = 0; i < 10; ++i) {
      store_->Read("/x/", [&](const Result<KvSnapshot>&) { ++answers; });
      store_->Refresh(i + 1, [&](const Result<Duration>&) { ++answers; });
    }
    KvWatchEvents events;
    events.changes = [&](KvChanges) { ++answers; };
    events.ended = [&](Status, bool) { ++answers; };
    auto watch = store_->Watch("/x/", 1, std::move(events));
    watch.reset();
    const Time begin = SteadyClock::Instance().Now();
    store_.reset();
    EXPECT_LT(SteadyClock::Instance().Now() - begin, 10s);
  });
  OnLoop([] {});  // what was posted before has run
  EXPECT_EQ(answers, 0);
  ::close(silent);
}

TEST(EtcdStoreOptionsTest, EndpointsAreChecked) {
  const std::unique_ptr<IoLoop> loop = IoLoop::Create("test-loop").value();
  EtcdStoreOptions options;
  options.credentials = grpc::InsecureChannelCredentials();
  for (const char* const bad : {"", "localhost", ":2379", "host:0", "host:70000", "host:port",
                                "http://host:2379", "user@host:2379", "host:2379/x"}) {
    options.endpoints = {"127.0.0.1:2379", bad};
    EXPECT_EQ(MakeEtcdStore(options, *loop).status().code(), Code::kInvalidArgument) << bad;
  }
  options.endpoints = {};
  EXPECT_EQ(MakeEtcdStore(options, *loop).status().code(), Code::kInvalidArgument);
  options.endpoints = {"127.0.0.1:2379", "[::1]:2379", "etcd-1.example:2379"};
  EXPECT_TRUE(MakeEtcdStore(options, *loop).ok());
  options.credentials = nullptr;
  EXPECT_EQ(MakeEtcdStore(options, *loop).status().code(), Code::kInvalidArgument);
}

// One node with two ways to the store: when the first is cut it goes on over the second.
TEST(EtcdFailoverTest, TheNextEndpointIsUsedWhenOneIsAway) {
  EtcdArena arena;
  std::unique_ptr<StoreMembership> membership;
  arena.OnLoop([&] {
    EtcdStoreOptions options;
    options.endpoints = {"127.0.0.1:" + std::to_string(FreePort()),
                         arena.RelayOf("first").endpoint(), arena.RelayOf("second").endpoint()};
    options.credentials = grpc::InsecureChannelCredentials();
    options.call_timeout = 500ms;
    auto store = MakeEtcdStore(options, arena.loop());
    ASSERT_TRUE(store.ok());
    StoreMembershipOptions how;
    how.cluster = "test";
    how.ttl = arena.ttl();
    membership =
        std::make_unique<StoreMembership>(how, std::move(*store), arena.loop(), arena.clock());
    ASSERT_TRUE(membership->Join(TestRecord("a")).ok());
  });
  ASSERT_TRUE(arena.Eventually([&] { return membership->View()->joined; }, 20s))
      << membership->View()->trouble;
  const int64_t revision = membership->View()->revision;
  arena.Cut("first");
  const auto cut = std::chrono::steady_clock::now();
  ASSERT_TRUE(arena.Eventually([&] { return !membership->View()->connected; }, 20s));
  ASSERT_TRUE(arena.Eventually(
      [&] { return membership->View()->connected && membership->View()->joined; }, 20s));
  // In time the lease does not lapse; a machine that is busy with other tests may take longer.
  if (std::chrono::steady_clock::now() - cut < arena.ttl() / 2) {
    EXPECT_EQ(membership->View()->revision, revision);
  }
  arena.OnLoop([&] { membership.reset(); });
}

TEST(EtcdVersionTest, ThreeFourToThreeSix) {
  for (const char* const good : {"3.4.23", "3.4.0", "3.5.15", "3.6.0-rc.1"})
    EXPECT_TRUE(CheckEtcdVersion(good).ok()) << good;
  for (const char* const bad : {"3.3.27", "3.7.0", "2.3.8", "4.4.0", "13.4.1"})
    EXPECT_EQ(CheckEtcdVersion(bad).code(), Code::kUnsupported) << bad;
  for (const char* const none : {"", "3", "3.4", "a.b.c", "3..1", "not_decided", "3.4x.1"})
    EXPECT_EQ(CheckEtcdVersion(none).code(), Code::kInvalidArgument) << none;
}

}  // namespace
}  // namespace evenkeel
