#include "ipc/stream_channel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel::ipc {
namespace {

// Both ends in one process; descriptors are duplicated since each end owns its own.
struct Pair {
  std::unique_ptr<StreamChannel> daemon, worker;
};

Pair MakePair(const StreamLayout& layout = {4096, 4096}) {
  Pair pair;
  pair.daemon = StreamChannel::Create(layout).value();
  WorkerFds fds = pair.daemon->worker_fds();
  fds.memory = ::dup(fds.memory);
  fds.wake = ::dup(fds.wake);
  fds.done = ::dup(fds.done);
  fds.control = ::dup(fds.control);
  pair.worker = StreamChannel::Attach(fds).value();
  pair.daemon->CloseWorkerEnds();
  return pair;
}

std::string PayloadOf(uint32_t number) {
  std::mt19937 random(number);
  std::string payload(random() % 700, '\0');
  for (char& c : payload) c = static_cast<char>(random());
  return payload;
}

void SendAll(StreamChannel& channel, uint32_t count) {
  for (uint32_t i = 1; i <= count; ++i) {
    while (channel.Send(i, PayloadOf(i)).code() == Code::kOverloaded) std::this_thread::yield();
    channel.Wake();
  }
}

void ReceiveAll(StreamChannel& channel, uint32_t count) {
  uint32_t type = 0;
  std::string payload;
  for (uint32_t i = 1; i <= count; ++i) {
    for (;;) {
      channel.DrainWake();
      const auto got = channel.Receive(&type, &payload);
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      if (*got) break;
      channel.Wait(10);
    }
    ASSERT_EQ(type, i);
    ASSERT_EQ(payload, PayloadOf(i));
  }
}

TEST(StreamChannelTest, FramesArriveWholeAndInOrderBothWaysAtOnce) {
  constexpr uint32_t kFrames = 5000;  // several hundred times around the ring
  Pair pair = MakePair();
  std::thread down([&] { SendAll(*pair.daemon, kFrames); });
  std::thread worker([&] {
    std::thread up([&] { SendAll(*pair.worker, kFrames); });
    ReceiveAll(*pair.worker, kFrames);
    up.join();
  });
  ReceiveAll(*pair.daemon, kFrames);
  down.join();
  worker.join();
}

TEST(StreamChannelTest, AFullRingRefusesAndTakesAgainOnceRead) {
  Pair pair = MakePair();
  const std::string payload(1000, 'x');
  int sent = 0;
  while (pair.daemon->Send(7, payload).ok()) ++sent;
  EXPECT_EQ(sent, 4);
  EXPECT_EQ(pair.daemon->Send(7, payload).code(), Code::kOverloaded);
  uint32_t type = 0;
  std::string got;
  ASSERT_TRUE(pair.worker->Receive(&type, &got).value());
  EXPECT_TRUE(pair.daemon->Send(7, payload).ok());
}

TEST(StreamChannelTest, AFrameThatCanNeverFitIsTooLarge) {
  Pair pair = MakePair();
  EXPECT_EQ(pair.daemon->Send(1, std::string(4096, 'x')).code(), Code::kTooLarge);
  EXPECT_TRUE(pair.daemon->Send(1, std::string(4096 - sizeof(FrameHeader), 'x')).ok());
}

TEST(StreamChannelTest, WhatIsSentAsideLeavesHalfOfTheRingToOthers) {
  Pair pair = MakePair();
  const std::string payload(500, 'x');  // 512 bytes as a frame
  int aside = 0;
  while (pair.daemon->SendAside(7, payload).ok()) ++aside;
  EXPECT_EQ(aside, 4);
  EXPECT_EQ(pair.daemon->SendAside(7, payload).code(), Code::kOverloaded);
  EXPECT_EQ(pair.daemon->SendAside(7, std::string(2048, 'x')).code(), Code::kTooLarge);
  EXPECT_TRUE(pair.daemon->Send(8, std::string(1000, 'y')).ok());
  uint32_t type = 0;
  std::string got;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(pair.worker->Receive(&type, &got).value());
  EXPECT_FALSE(pair.daemon->SendAside(7, payload).ok()) << "others' frames count as well";
  ASSERT_TRUE(pair.worker->Receive(&type, &got).value());
  EXPECT_TRUE(pair.daemon->SendAside(7, payload).ok());
}

TEST(StreamChannelTest, WaitSaysThatTheOtherSideIsGone) {
  Pair pair = MakePair();
  EXPECT_TRUE(pair.worker->Wait(0));
  pair.daemon.reset();
  EXPECT_FALSE(pair.worker->Wait(1000));
}

TEST(StreamChannelTest, AnotherVersionOrALyingSizeIsRefused) {
  auto daemon = StreamChannel::Create({4096, 4096}).value();
  const WorkerFds fds = daemon->worker_fds();
  const auto attach = [&] {
    return StreamChannel::Attach(
               {::dup(fds.memory), ::dup(fds.wake), ::dup(fds.done), ::dup(fds.control), false})
        .status()
        .code();
  };
  const uint64_t size = uint64_t{1} << 20;
  ASSERT_EQ(::pwrite(fds.memory, &size, sizeof size, 8), 8);
  EXPECT_EQ(attach(), Code::kInvalidArgument);
  const uint32_t magic = 1;
  ASSERT_EQ(::pwrite(fds.memory, &magic, sizeof magic, 0), 4);
  EXPECT_EQ(attach(), Code::kInvalidArgument);
}

struct Ring {
  RingControl control{};
  std::vector<std::byte> data = std::vector<std::byte>(256);
};

TEST(ByteRingTest, PositionsThatLieEndInAnError) {
  uint32_t type = 0;
  std::string payload;
  for (const uint64_t written : {uint64_t{4}, uint64_t{257}, uint64_t{264}, ~uint64_t{7}}) {
    Ring ring;
    ring.control.written = written;
    RingReader reader(&ring.control, ring.data);
    EXPECT_EQ(reader.Read(&type, &payload).status().code(), Code::kInternal) << written;
  }
  Ring ring;
  RingWriter writer(&ring.control, ring.data);
  ring.control.read = 8;  // more than was ever written
  EXPECT_EQ(writer.Write(1, "x").code(), Code::kInternal);
}

TEST(ByteRingTest, AHeaderThatReachesBeyondWhatIsThereEndsInAnError) {
  for (const FrameHeader header :
       {FrameHeader{9, 1}, FrameHeader{UINT32_MAX, 1}, FrameHeader{0, 0}}) {
    Ring ring;
    std::memcpy(ring.data.data(), &header, sizeof header);
    ring.control.written = 16;
    RingReader reader(&ring.control, ring.data);
    uint32_t type = 0;
    std::string payload;
    EXPECT_EQ(reader.Read(&type, &payload).status().code(), Code::kInternal);
  }
}

}  // namespace
}  // namespace evenkeel::ipc
