// The gRPC front end over TLS.
#include <grpcpp/security/credentials.h>

#include <fstream>
#include <iterator>

#include "frontends/grpc_test_server.h"
#include "net/http_test_client.h"
#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

class KServeGrpcTlsTest : public GrpcServerTest {
 protected:
  void SetUp() override {
    GrpcOptions options;
    options.tls = pair_.files();
    StartServer(options);
  }
  std::string Certificate() const {
    std::ifstream file(pair_.files().certificate);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  grpc::Status Ask(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = inference::GRPCInferenceService::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(server_->port()), credentials, arguments));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    inference::ModelInferResponse response;
    const grpc::Status status = stub->ModelInfer(&context, Echo({1, 2, 3, 4}), &response);
    if (status.ok()) {
      EXPECT_EQ(response.raw_output_contents(0), Bytes({1, 2, 3, 4}));
    }
    return status;
  }
  static std::shared_ptr<grpc::ChannelCredentials> Trusting(const std::string& certificate) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = certificate;
    return grpc::SslCredentials(options);
  }
  // What the server shows to a client of `version`; empty: it speaks no such version.
  std::string NameShown(int version) {
    RawClient socket(static_cast<uint16_t>(server_->port()));
    TlsTestClient client(socket.fd(), version);
    const unsigned char h2[] = {2, 'h', '2'};
    SSL_set_alpn_protos(client.session(), h2, sizeof h2);
    if (!client.Handshake()) return {};
    return FactsOf(SSL_get0_peer_certificate(client.session())).subject;
  }

  TlsTestPair pair_;
};

TEST_F(KServeGrpcTlsTest, AnswersThoseWhoTrustItsCertificate) {
  EXPECT_TRUE(Ask(Trusting(Certificate())).ok());
  const TlsTestPair other;
  std::ifstream file(other.files().certificate);
  EXPECT_EQ(Ask(Trusting({std::istreambuf_iterator<char>(file), {}})).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(grpc::InsecureChannelCredentials()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(KServeGrpcTlsTest, SpeaksTls12And13) {
  EXPECT_EQ(NameShown(TLS1_2_VERSION), "CN = test");
  EXPECT_EQ(NameShown(TLS1_3_VERSION), "CN = test");
  EXPECT_EQ(NameShown(TLS1_1_VERSION), "");
}

TEST_F(KServeGrpcTlsTest, ARenewedPairIsUsedAndABrokenOneIsMendedInPlace) {
  TlsTestPair::Wanted renewed;
  renewed.name = "renewed";
  pair_.Write(renewed);
  EXPECT_TRUE(Eventually([&] { return NameShown(TLS1_3_VERSION) == "CN = renewed"; }));
  EXPECT_TRUE(Ask(Trusting(Certificate())).ok());
  const std::string good = Certificate();
  TlsTestPair::Replace(pair_.files().certificate, "no certificate");
  std::this_thread::sleep_for(std::chrono::seconds(5));  // gRPC looks every two
  TlsTestPair::Replace(pair_.files().certificate, good);
  EXPECT_TRUE(Eventually([&] { return Ask(Trusting(good)).ok(); }));
}

TEST_F(KServeGrpcTlsTest, APairThatIsNoneIsAnErrorAtTheStart) {
  const TlsTestPair other;
  GrpcOptions options;
  options.port = 0;
  options.tls = {pair_.files().certificate, other.files().key};
  const auto started = KServeGrpc::Start(service_, *authorizer_, options);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.status().message().find("belong to different pairs"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel
