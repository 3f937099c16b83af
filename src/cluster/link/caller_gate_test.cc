// The gate in front of every method that other nodes call, over real connections.
#include "cluster/link/caller_gate.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cluster/link/link_server.h"
#include "cluster/pki/pki_test_kit.h"
#include "core/format.h"
#include "net/io_loop.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;
using testing::Not;

// Counts what gets as far as this.
class ListHost final : public NodeHost, public ModelHost {
 public:
  bool IsOfCluster(std::string_view node) const override {
    const std::lock_guard lock(mutex_);
    return list_.contains(node);
  }
  void SetList(std::set<std::string, std::less<>> list) {
    const std::lock_guard lock(mutex_);
    list_ = std::move(list);
  }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override {
    ++asked;
    return {};
  }
  void OnFigures(const NodeFigures& /*theirs*/) override { ++asked; }
  Status SetOwnState(std::string_view /*state*/) override {
    ++asked;
    return Status::Ok();
  }
  void PublishPlan(std::string /*plan*/, std::function<void(Result<PlanStamp>)> done) override {
    ++asked;
    done(Unavailable("no store"));
  }
  Result<std::string> Renew(const std::string& /*caller*/,
                            const std::string& /*request_pem*/) override {
    ++asked;
    return NotFound("no authority");
  }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view, std::string_view) override {
    ++asked;
    return NotFound("no model");
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view) override {
    ++asked;
    return NotFound("no model");
  }
  void ListModel(std::string, std::function<void(Result<ModelListing>)> done) override {
    ++asked;
    done(NotFound("no model"));
  }
  void ReadPiece(FilePiece, std::function<void(Result<std::string>)> done) override {
    ++asked;
    done(NotFound("no model"));
  }
  Status Deploy(const DeployOrder& /*order*/) override {
    ++asked;
    return Status::Ok();
  }
  DeployProgress Progress(const std::string&, const std::string&) const override {
    ++asked;
    return {};
  }
  void Undeploy(UndeployOrder, std::function<void(Status)> done) override {
    ++asked;
    done(Status::Ok());
  }

  mutable std::atomic<int> asked{0};

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::set<std::string, std::less<>> list_;
};

// "/evenkeel.node.v1.Node/Tell" and all the others, also those that are yet to come.
std::vector<std::string> AllMethods() {
  std::vector<std::string> methods;
  const auto* const file = node::v1::Figures::descriptor()->file();
  for (int i = 0; i < file->service_count(); ++i) {
    const auto* const service = file->service(i);
    for (int j = 0; j < service->method_count(); ++j)
      methods.push_back(fmt::format("/{}/{}", service->full_name(), service->method(j)->name()));
  }
  return methods;
}

// Calls a method of any kind with an empty message.
grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  void* const tag = &queue;
  const auto next = [&queue] {
    void* ended = nullptr;
    bool good = false;
    return queue.Next(&ended, &good) && good;
  };
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(tag);
  next();
  const grpc::Slice nothing;
  call->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions(), tag);
  next();
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, tag);
  } while (next());
  grpc::Status status;
  call->Finish(&status, tag);
  next();
  queue.Shutdown();
  while (next()) continue;
  return status;
}

class CallerGateTest : public testing::Test {
 protected:
  void Start(const link::NodeCredentials* credentials) {
    LinkServerOptions options;
    options.credentials = credentials;
    options.models = &host_;
    if (credentials != nullptr) {
      loop_ = pki::Must(IoLoop::Create("link"));
      loop_->Start();
      options.loop = loop_.get();
    }
    server_ = pki::Must(LinkServer::Start(host_, SteadyClock::Instance(), options));
  }
  std::shared_ptr<grpc::Channel> ChannelOf(const link::NodeCredentials& caller) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    link::NodeCredentials::ExpectNode("desk", &arguments);
    return grpc::CreateCustomChannel(Address(), caller.Client(), arguments);
  }
  std::string Address() const { return fmt::format("127.0.0.1:{}", server_->port()); }
  static link::NodeCredentials Of(const pki::TestCluster& cluster, const std::string& node) {
    return pki::Must(link::NodeCredentials::Create(cluster.Node(node)));
  }
  void TearDown() override {
    server_.reset();
    if (loop_) {
      loop_->Stop();
      loop_->Join();
    }
  }

  const pki::TestCluster cluster_{"home"}, elsewhere_{"home"};
  const link::NodeCredentials desk_ = Of(cluster_, "desk");
  ListHost host_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<LinkServer> server_;
};

TEST_F(CallerGateTest, WhoIsNotOnTheListGetsNothingWhateverHeAsksFor) {
  Start(&desk_);
  host_.SetList({"desk", "attic"});
  const auto methods = AllMethods();
  ASSERT_GE(methods.size(), 15U);
  const auto unlisted = ChannelOf(Of(cluster_, "shelf"));
  for (const std::string& method : methods) {
    const grpc::Status status = Call(unlisted, method);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("node 'shelf' is not known here yet")) << method;
  }
  EXPECT_EQ(host_.asked, 0);
}

TEST_F(CallerGateTest, ANodeIsLetInFromTheMomentItIsListedAndNoLonger) {
  Start(&desk_);
  const auto attic = ChannelOf(Of(cluster_, "attic"));
  for (const bool listed : {false, true, false}) {
    host_.SetList(listed ? std::set<std::string, std::less<>>{"attic"}
                         : std::set<std::string, std::less<>>{});
    for (const std::string& method : AllMethods()) {
      const grpc::Status status = Call(attic, method);
      EXPECT_EQ(status.error_message().find("not known here yet") == std::string::npos, listed)
          << method << ": " << status.error_message();
      EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << method;
    }
  }
}

TEST_F(CallerGateTest, ACertificateOfAnotherAuthorityDoesNotGetAsFarAsTheGate) {
  Start(&desk_);
  host_.SetList({"desk", "attic"});
  for (const std::string& method : AllMethods()) {
    const grpc::Status status = Call(ChannelOf(Of(elsewhere_, "attic")), method);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << method;
    EXPECT_THAT(status.error_message(), Not(HasSubstr("not known here yet"))) << method;
  }
  EXPECT_EQ(host_.asked, 0);
}

TEST(MayChangeTest, OnlyThisMachineAndThePeersAddressesMay) {
  const std::vector<std::string> peers{"10.0.0.2", "fd00::2"};
  for (const char* caller : {"ipv4:127.0.0.1:4711", "ipv4:127.9.9.9:1", "ipv6:%5B::1%5D:4711",
                             "ipv6:[::1]:4711", "ipv4:10.0.0.2:4711", "ipv6:%5Bfd00::2%5D:1",
                             "ipv6:[fd00:0::2]:1", "ipv6:[::ffff:10.0.0.2]:1"})
    EXPECT_TRUE(link::MayChange(caller, peers)) << caller;
  for (const char* caller : {"ipv4:10.0.0.3:4711", "ipv4:10.0.0.22:4711", "ipv4:110.0.0.2:4711",
                             "ipv6:%5Bfd00::3%5D:1", "ipv6:[127::1]:1", "unix:/tmp/socket",
                             "unix:127.0.0.1:4711", "", "ipv4:", "ipv4:127.0.0.1"})
    EXPECT_FALSE(link::MayChange(caller, peers)) << caller;
  EXPECT_FALSE(link::MayChange("ipv4:10.0.0.2:4711", {}));
}

TEST_F(CallerGateTest, WithoutCertificatesThisMachineMayDoEverything) {
  Start(nullptr);
  const auto channel = grpc::CreateChannel(Address(), grpc::InsecureChannelCredentials());
  for (const std::string& method : AllMethods()) {
    const grpc::Status status = Call(channel, method);
    EXPECT_NE(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << method;
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << method;
    EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << method;
  }
  EXPECT_GT(host_.asked, 0);
}

}  // namespace
}  // namespace evenkeel
