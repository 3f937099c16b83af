#include "cluster/link/hello_gate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "net/http_test_client.h"
#include "net/io_loop.h"

namespace evenkeel::link {
namespace {

using std::chrono::milliseconds;

class HelloGateTest : public testing::Test {
 protected:
  void Start() {
    auto loop = IoLoop::Create("gate");
    ASSERT_TRUE(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    auto gate = HelloGate::Listen(options_, *loop_);
    ASSERT_TRUE(gate.ok()) << gate.status().ToString();
    gate_ = std::move(*gate);
  }
  void Open() {
    gate_->Open([this](int fd, std::string read) {
      ::close(fd);
      const std::lock_guard lock(mutex_);
      passed_.push_back(std::move(read));
      changed_.notify_all();
    });
  }
  // What the n-th that was let in had said.
  std::string Passed(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return passed_.size() > n; });
    return passed_.size() > n ? passed_[n] : "nobody";
  }
  static std::string Hello(int version) {
    const openssl::Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_max_proto_version(context.get(), version);
    SSL* const session = SSL_new(context.get());
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(session, BIO_new(BIO_s_mem()), out);
    SSL_connect(session);
    std::string text = openssl::TextOf(out);
    SSL_free(session);
    return text;
  }

  HelloGateOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> passed_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HelloGate> gate_;
};

TEST_F(HelloGateTest, PassesOnWhatItHasRead) {
  Start();
  Open();
  const std::string hello = Hello(TLS1_3_VERSION);
  RawClient whole(gate_->port());
  whole.Send(hello);
  EXPECT_EQ(Passed(0), hello);
  RawClient pieces(gate_->port());
  for (const char c : hello) pieces.Send({&c, 1});
  EXPECT_EQ(Passed(1), hello);
}

TEST_F(HelloGateTest, ClosesAllOthers) {
  Start();
  Open();
  const std::string hello = Hello(TLS1_3_VERSION);
  for (const std::string& bytes : {Hello(TLS1_2_VERSION), std::string("GET / HTTP/1.1\r\n\r\n"),
                                   std::string(30'000, '\x16')}) {
    RawClient client(gate_->port());
    client.Send(bytes);
    EXPECT_TRUE(client.AtEnd());
  }
  RawClient gone(gate_->port());
  gone.Send(std::string_view(hello).substr(0, 50));
  gone.EndSending();
  EXPECT_TRUE(gone.AtEnd());
  EXPECT_TRUE(passed_.empty());
}

TEST_F(HelloGateTest, HasPatienceOfACertainLength) {
  options_.patience = milliseconds(600);
  Start();
  Open();
  const std::string hello = Hello(TLS1_3_VERSION);
  const Time start = SteadyClock::Instance().Now();
  RawClient silent(gate_->port()), half(gate_->port());
  half.Send(std::string_view(hello).substr(0, 50));
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_TRUE(half.AtEnd());
  EXPECT_GE(SteadyClock::Instance().Now() - start, milliseconds(500));
  RawClient later(gate_->port());
  later.Send(hello);
  EXPECT_EQ(Passed(0), hello);
}

TEST_F(HelloGateTest, TheOldestMakesRoom) {
  options_.most = 3;
  Start();
  Open();
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 6; ++i) silent.push_back(std::make_unique<RawClient>(gate_->port()));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(silent[i]->AtEnd());
  const std::string hello = Hello(TLS1_3_VERSION);
  RawClient client(gate_->port());
  client.Send(hello);
  EXPECT_EQ(Passed(0), hello);
  EXPECT_TRUE(silent[3]->AtEnd());
  EXPECT_FALSE(silent[5]->Readable(milliseconds(0)));
}

TEST_F(HelloGateTest, NobodyIsLetInBeforeItOpensOrAfterItIsGone) {
  Start();
  RawClient early(gate_->port());
  const std::string hello = Hello(TLS1_3_VERSION);
  early.Send(hello);
  EXPECT_FALSE(early.Readable(milliseconds(50)));
  EXPECT_TRUE(passed_.empty());
  Open();
  EXPECT_EQ(Passed(0), hello);
  RawClient waiting(gate_->port());
  const uint16_t port = gate_->port();
  gate_.reset();
  EXPECT_TRUE(waiting.AtEnd());
  EXPECT_FALSE(RawClient(port).connected());
}

TEST_F(HelloGateTest, ATakenPortAndABadAddressAreErrors) {
  Start();
  options_.port = gate_->port();
  EXPECT_EQ(HelloGate::Listen(options_, *loop_).status().code(), Code::kUnavailable);
  options_.address = "localhost";
  EXPECT_EQ(HelloGate::Listen(options_, *loop_).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel::link
