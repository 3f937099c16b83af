// A port with a bound on its connections, alone and before gRPC.
#include "frontends/connection_door.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "frontends/grpc_test_server.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

int NewSocket() { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

TEST(OpenSocketsTest, WhatOthersClosedCountsNoMoreEvenIfItsNumberIsTakenAgain) {
  OpenSockets open(2);
  Time now{1s};
  const int first = NewSocket(), second = NewSocket(), third = NewSocket();
  EXPECT_TRUE(open.Add(first, now));
  EXPECT_TRUE(open.Add(second, now));
  EXPECT_FALSE(open.Add(third, now));
  // Another socket at the first one's number: the first is gone all the same.
  ASSERT_EQ(::dup2(third, first), first);
  EXPECT_FALSE(open.Add(third, now)) << "it was looked at a moment ago";
  now += OpenSockets::kSweepEvery;
  EXPECT_TRUE(open.Add(third, now));
  now += OpenSockets::kSweepEvery;
  EXPECT_FALSE(open.Add(first, now)) << "the second and the third are open";
  for (const int fd : {first, second, third}) ::close(fd);
}

class ConnectionDoorTest : public testing::Test {
 protected:
  void TearDown() override {
    door_.reset();
    for (const int fd : passed_) {
      if (fd >= 0) ::close(fd);
    }
  }
  int Connect() const {
    const int fd = NewSocket();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(door_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return fd;
  }
  // So many were let in, in all.
  bool AwaitPassed(size_t count, std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, most, [&] { return passed_.size() >= count; });
  }
  void Open(int most) {
    auto door = ConnectionDoor::Listen("127.0.0.1", 0, most);
    ASSERT_TRUE(door.ok()) << door.status().ToString();
    door_ = std::move(*door);
    door_->Open([this](int fd) {
      const std::lock_guard lock(mutex_);
      passed_.push_back(fd);
      changed_.notify_all();
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> passed_;
  std::unique_ptr<ConnectionDoor> door_;  // last
};

TEST_F(ConnectionDoorTest, BeyondTheMostConnectionsAreClosedUntilOneEnds) {
  Open(2);
  const int first = Connect(), second = Connect();
  ASSERT_TRUE(AwaitPassed(2, 10s));
  const int third = Connect();
  char byte = 0;
  EXPECT_EQ(::recv(third, &byte, 1, 0), 0) << "it was closed";
  EXPECT_EQ(door_->refused(), 1U);
  {
    const std::lock_guard lock(mutex_);
    ::close(std::exchange(passed_[0], -1));
  }
  // The bound is looked at again after a moment.
  std::vector<int> more;
  for (int tries = 0; tries < 100 && !AwaitPassed(3, 50ms); ++tries) more.push_back(Connect());
  EXPECT_TRUE(AwaitPassed(3, 10s));
  for (const int fd : {first, second, third}) ::close(fd);
  for (const int fd : more) ::close(fd);
}

TEST_F(ConnectionDoorTest, APortThatIsTakenAndAnAddressThatIsNoneAreErrors) {
  Open(2);
  EXPECT_EQ(ConnectionDoor::Listen("127.0.0.1", door_->port(), 2).status().code(), Code::kConflict);
  EXPECT_EQ(ConnectionDoor::Listen("localhost", 0, 2).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(IsNumericAddress("::1") && IsNumericAddress("0.0.0.0"));
  EXPECT_FALSE(IsNumericAddress("[::1]") || IsNumericAddress("") || IsNumericAddress("localhost"));
}

class GrpcConnectionsTest : public GrpcServerTest {
 protected:
  static grpc::StatusCode Ask(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = inference::GRPCInferenceService::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    const inference::ServerLiveRequest request;
    inference::ServerLiveResponse response;
    return stub->ServerLive(&context, request, &response).error_code();
  }
};

TEST_F(GrpcConnectionsTest, BeyondTheMostCallersAreUnavailableUntilAnotherGoes) {
  GrpcOptions options;
  options.max_connections = 2;
  StartServer(options);
  auto second = NewChannel();
  const auto third = NewChannel();
  EXPECT_EQ(Ask(channel_), grpc::StatusCode::OK);
  EXPECT_EQ(Ask(second), grpc::StatusCode::OK);
  EXPECT_EQ(Ask(third), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(channel_), grpc::StatusCode::OK) << "those that are there go on";
  second.reset();
  EXPECT_TRUE(Eventually([&] { return Ask(third) == grpc::StatusCode::OK; }));
}

}  // namespace
}  // namespace evenkeel
