// Two clusters and their nodes over real sockets: who is let in, and who is not.
#include "cluster/link/node_credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include "cluster/link/grpc_door.h"
#include "cluster/pki/pki_test_kit.h"
#include "net/http_test_client.h"
#include "net/io_loop.h"

namespace evenkeel::link {
namespace {

using pki::NodeCertificate;
using pki::TestCluster;
using pki::WallNow;
using testing::HasSubstr;

// Answers every call with an error whose message is the caller's name, or why it is not known.
class WhoAreYou final : public grpc::CallbackGenericService {
 public:
  explicit WhoAreYou(const NodeCredentials& credentials) : credentials_(credentials) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* call) override {
    const Result<std::string> node = credentials_.CallerOf(*call->auth_context(), WallNow());
    class Reactor final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Reactor(const grpc::Status& status) { Finish(status); }
      void OnDone() override { delete this; }
    };
    return new Reactor(node.ok()
                           ? grpc::Status(grpc::StatusCode::ALREADY_EXISTS, *node)
                           : grpc::Status(grpc::StatusCode::INTERNAL, node.status().message()));
  }

 private:
  const NodeCredentials& credentials_;
};

// A node with a gRPC server behind a door.
class ServingNode {
 public:
  explicit ServingNode(NodeCertificate certificate, HelloGateOptions options = {})
      : credentials_(pki::Must(NodeCredentials::Create(std::move(certificate)))),
        service_(credentials_),
        loop_(pki::Must(IoLoop::Create("gate"))) {
    loop_->Start();
    grpc::ServerBuilder builder;
    door_ = pki::Must(GrpcDoor::Attach(builder, credentials_, options, *loop_));
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    door_->Open();
  }
  ~ServingNode() {
    door_.reset();
    server_->Shutdown(std::chrono::system_clock::now());
  }
  uint16_t port() const { return door_->port(); }

 private:
  const NodeCredentials credentials_;
  WhoAreYou service_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<GrpcDoor> door_;
  std::unique_ptr<grpc::Server> server_;
};

// What a call to node `name` at `port` ends with.
grpc::Status Call(uint16_t port, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                  const std::string& name) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  NodeCredentials::ExpectNode(name, &arguments);
  grpc::GenericStub stub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), credentials, arguments));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  const grpc::Slice slice("x");
  const auto reader = stub.PrepareUnaryCall(&context, "/a/B", grpc::ByteBuffer(&slice, 1), &queue);
  grpc::Status status;
  grpc::ByteBuffer answer;
  int tag = 0;
  reader->StartCall();
  reader->Finish(&answer, &status, &tag);
  void* got = nullptr;
  bool ok = false;
  queue.Next(&got, &ok);
  queue.Shutdown();
  while (queue.Next(&got, &ok)) continue;
  return status;
}

grpc::Status CallAs(const NodeCertificate& caller, uint16_t port, const std::string& name) {
  return Call(port, pki::Must(NodeCredentials::Create(caller)).Client(), name);
}

void ExpectRefused(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST(NodeCredentialsTest, NodesOfOneClusterTalkAndKnowEachOther) {
  const TestCluster cluster;
  const ServingNode a(cluster.Node("a"));
  for (const std::string name : {"b", "node-77"}) {
    const grpc::Status status = CallAs(cluster.Node(name), a.port(), "a");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS) << status.error_message();
    EXPECT_EQ(status.error_message(), name);
  }
}

TEST(NodeCredentialsTest, AnotherNodeThanTheOneThatWasMeantIsNotTalkedTo) {
  const TestCluster cluster;
  // Its certificate is good for the address, and for being a.
  const ServingNode a(cluster.Node("a", {"127.0.0.1", "localhost"}));
  ExpectRefused(CallAs(cluster.Node("b"), a.port(), "c"));
}

TEST(NodeCredentialsTest, NodesOfAnotherClusterAreRefusedByBothEnds) {
  const TestCluster cluster, twin;
  const ServingNode a(cluster.Node("a"));
  ExpectRefused(CallAs(twin.Node("b"), a.port(), "a"));
  // A client that trusts the right authority and shows the wrong certificate.
  NodeCertificate forged = twin.Node("b");
  forged.authority_pem = cluster.authority.certificate_pem();
  ExpectRefused(CallAs(forged, a.port(), "a"));
  // A server that is certified by the wrong one, for clients of the right one.
  const ServingNode impostor(twin.Node("a"));
  ExpectRefused(CallAs(cluster.Node("b"), impostor.port(), "a"));
}

TEST(NodeCredentialsTest, WhoShowsNoCertificateIsRefused) {
  const TestCluster cluster;
  const ServingNode a(cluster.Node("a"));
  grpc::SslCredentialsOptions bare;
  bare.pem_root_certs = cluster.authority.certificate_pem();
  ExpectRefused(Call(a.port(), grpc::SslCredentials(bare), "a"));
  ExpectRefused(Call(a.port(), grpc::InsecureChannelCredentials(), "a"));
}

TEST(NodeCredentialsTest, ExpiredCertificatesAreRefusedByBothEnds) {
  const TestCluster cluster;
  const pki::WallTime long_ago = WallNow() - pki::kNodeLife - std::chrono::hours(1);
  const NodeCertificate old = cluster.Node("b", {"127.0.0.1"}, long_ago);
  const ServingNode a(cluster.Node("a"));
  ExpectRefused(CallAs(old, a.port(), "a"));
  const ServingNode stale(cluster.Node("c", {"127.0.0.1"}, long_ago));
  ExpectRefused(CallAs(cluster.Node("b"), stale.port(), "c"));
}

// OpenSSL itself as the client: what is agreed on, and with whom.
class RawNode {
 public:
  RawNode(uint16_t port, int least, int most, const NodeCertificate* own)
      : socket_(port), tls_(socket_.fd(), TLS1_3_VERSION) {
    SSL* const session = tls_.session();
    SSL_set_min_proto_version(session, least);
    SSL_set_max_proto_version(session, most);
    const unsigned char h2[] = {2, 'h', '2'};
    SSL_set_alpn_protos(session, h2, sizeof h2);
    if (own != nullptr) {
      const openssl::Bio chain = openssl::ReadFrom(own->chain_pem);
      const openssl::Certificate certificate(
          PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr));
      const openssl::Bio secret = openssl::ReadFrom(own->key_pem);
      const openssl::Key key(PEM_read_bio_PrivateKey(secret.get(), nullptr, nullptr, nullptr));
      SSL_use_certificate(session, certificate.get());
      SSL_use_PrivateKey(session, key.get());
    }
  }
  // Whether the server, with the handshake behind it, begins to speak HTTP/2.
  bool LetIn() {
    std::string settings;
    return tls_.Handshake() && tls_.Fill(&settings, std::chrono::seconds(10)) == 1;
  }
  SSL* session() { return tls_.session(); }

 private:
  RawClient socket_;
  TlsTestClient tls_;
};

TEST(NodeCredentialsTest, TlsIs13AndNothingElse) {
  const TestCluster cluster;
  const ServingNode a(cluster.Node("a"));
  const NodeCertificate b = cluster.Node("b");
  RawNode newest(a.port(), TLS1_3_VERSION, TLS1_3_VERSION, &b);
  EXPECT_TRUE(newest.LetIn());
  EXPECT_EQ(SSL_version(newest.session()), TLS1_3_VERSION);
  RawNode either(a.port(), TLS1_2_VERSION, TLS1_3_VERSION, &b);
  EXPECT_TRUE(either.LetIn());
  EXPECT_EQ(SSL_version(either.session()), TLS1_3_VERSION);
  RawNode older(a.port(), TLS1_2_VERSION, TLS1_2_VERSION, &b);
  EXPECT_FALSE(older.LetIn());
}

TEST(NodeCredentialsTest, TheHandshakeItselfRefusesStrangers) {
  const TestCluster cluster, twin;
  const ServingNode a(cluster.Node("a"));
  const NodeCertificate stranger = twin.Node("b");
  const NodeCertificate old =
      cluster.Node("b", {}, WallNow() - pki::kNodeLife - std::chrono::hours(1));
  EXPECT_FALSE(RawNode(a.port(), TLS1_3_VERSION, TLS1_3_VERSION, nullptr).LetIn());
  EXPECT_FALSE(RawNode(a.port(), TLS1_3_VERSION, TLS1_3_VERSION, &stranger).LetIn());
  EXPECT_FALSE(RawNode(a.port(), TLS1_3_VERSION, TLS1_3_VERSION, &old).LetIn());
  const NodeCertificate good = cluster.Node("b");
  EXPECT_TRUE(RawNode(a.port(), TLS1_3_VERSION, TLS1_3_VERSION, &good).LetIn());
}

}  // namespace
}  // namespace evenkeel::link
