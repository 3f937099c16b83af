// etcd with certificates: who shows none of the CA's gets nothing.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "cluster/etcd/etcd_arena.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

class EtcdTlsTest : public testing::Test {
 protected:
  EtcdTlsTest() : loop_(IoLoop::Create("test-loop").value()) {
    loop_->Start();
    MakeCertificates("ours");
    MakeCertificates("other");
  }
  ~EtcdTlsTest() override {
    OnLoop([this] { process_.reset(); });
    loop_->Stop();
    loop_->Join();
  }

  // NAME.ca, NAME.pem and NAME.key: a CA of its own, and a certificate for loopback.
  void MakeCertificates(const std::string& name) {
    const std::string at = folder_ / name;
    std::ofstream(at + ".ext") << "subjectAltName=IP:127.0.0.1\n"
                                  "extendedKeyUsage=serverAuth,clientAuth\n";
    const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ";
    Shell("openssl req -x509 " + key + at + ".cakey -out " + at + ".ca -subj /CN=ca-" + name +
          " -days 2");
    Shell("openssl req " + key + at + ".key -out " + at + ".csr -subj /CN=node");
    Shell("openssl x509 -req -in " + at + ".csr -CA " + at + ".ca -CAkey " + at +
          ".cakey -CAcreateserial -out " + at + ".pem -days 2 -extfile " + at + ".ext");
  }
  static void Shell(const std::string& command) {
    EK_CHECK(std::system((command + " >/dev/null 2>&1").c_str()) == 0);  // NOLINT: a test
  }
  std::string Text(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void OnLoop(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  Status ReadWith(std::shared_ptr<grpc::ChannelCredentials> credentials) {
    std::unique_ptr<KvStore> store;
    std::promise<Status> answer;
    OnLoop([&] {
      EtcdStoreOptions options;
      options.endpoints = {process_->endpoint()};
      options.credentials = std::move(credentials);
      options.call_timeout = 3s;
      auto made = MakeEtcdStore(options, *loop_);
      EK_CHECK(made.ok());
      store = std::move(*made);
      store->Read("/x/", [&](const Result<KvSnapshot>& read) { answer.set_value(read.status()); });
    });
    const Status status = answer.get_future().get();
    OnLoop([&] { store.reset(); });
    return status;
  }
  std::shared_ptr<grpc::ChannelCredentials> Ssl(const std::string& ca, const std::string& own) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Text(ca + ".ca");
    if (!own.empty()) {
      options.pem_private_key = Text(own + ".key");
      options.pem_cert_chain = Text(own + ".pem");
    }
    return grpc::SslCredentials(options);
  }

  ScratchFolder folder_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<EtcdProcess> process_;
};

TEST_F(EtcdTlsTest, OnlyWhoHasACertificateOfTheCaIsAnswered) {
  EtcdProcessOptions options;
  options.data = folder_ / "data";
  options.name = "m1";
  options.token = "tls";
  options.client_port = FreePort();
  options.peer_port = FreePort();
  options.tls = EtcdFiles{folder_ / "ours.pem", folder_ / "ours.key", folder_ / "ours.ca"};
  OnLoop([&] {
    auto started = EtcdProcess::Start(options, *loop_, SteadyClock::Instance());
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    process_ = std::move(*started);
  });
  Status status;
  for (const Time end = SteadyClock::Instance().Now() + 20s; SteadyClock::Instance().Now() < end;) {
    status = ReadWith(Ssl("ours", "ours"));
    if (status.ok()) break;
    std::this_thread::sleep_for(100ms);
  }
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(ReadWith(grpc::InsecureChannelCredentials()).code(), Code::kUnavailable);
  EXPECT_EQ(ReadWith(Ssl("ours", "")).code(), Code::kUnavailable);       // shows none
  EXPECT_EQ(ReadWith(Ssl("ours", "other")).code(), Code::kUnavailable);  // of another CA
  EXPECT_EQ(ReadWith(Ssl("other", "ours")).code(),
            Code::kUnavailable);  // does not trust the server
  EXPECT_TRUE(ReadWith(Ssl("ours", "ours")).ok());
}

}  // namespace
}  // namespace evenkeel
