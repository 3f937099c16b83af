#include "ipc/channel.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include "ipc/control_socket.h"
#include "ipc/worker_end.h"

namespace evenkeel::ipc {
namespace {

constexpr Layout kSmall{64 << 10, 64 << 10};

bool Readable(int fd, int timeout_ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, timeout_ms) == 1;
}

std::unique_ptr<Channel> MakeChannel(const Layout& layout = kSmall) {
  auto channel = Channel::Create(layout);
  EXPECT_TRUE(channel.ok()) << channel.status().ToString();
  return std::move(channel).value();
}

// The worker's end in this process, on descriptors of its own.
std::unique_ptr<WorkerEnd> AttachHere(Channel& channel) {
  WorkerFds fds = channel.worker_fds();
  for (int* fd : {&fds.memory, &fds.wake, &fds.done, &fds.control}) *fd = ::dup(*fd);
  channel.CloseWorkerEnds();
  auto end = WorkerEnd::Attach(fds);
  EXPECT_TRUE(end.ok()) << end.status().ToString();
  return std::move(end).value();
}

// Writes floats into the slot and returns the view of them.
TensorView PutFloats(Channel& channel, uint32_t slot, std::initializer_list<float> values) {
  const auto arena = channel.input_arena(slot);
  std::memcpy(arena.data(), values.begin(), values.size() * sizeof(float));
  return {0, DataType::kFp32, Shape{static_cast<int64_t>(values.size())},
          arena.subspan(0, values.size() * sizeof(float))};
}

uint32_t SubmitFloats(Channel& channel, uint64_t id, std::initializer_list<float> values) {
  const uint32_t slot = channel.Reserve();
  const TensorView view = PutFloats(channel, slot, values);
  channel.Submit(slot, id, {&view, 1});
  return slot;
}

// Echoes the batch whose turn it is, or blocks.
void EchoOne(WorkerEnd& end) {
  ASSERT_EQ(end.Wait(), WorkerEnd::Event::kBatch);
  std::vector<TensorView> inputs;
  ASSERT_TRUE(end.Take(&inputs).ok());
  const Time start = SteadyClock::Instance().Now();
  size_t at = 0;
  for (TensorView& view : inputs) {
    std::byte* to = end.output_arena().data() + at;
    std::memcpy(to, view.data.data(), view.data.size());
    view.data = {to, view.data.size()};
    at += (view.data.size() + kAlign - 1) / kAlign * kAlign;
  }
  end.Finish(Status::Ok(), inputs, start, SteadyClock::Instance().Now());
}

std::optional<Completion> WaitPoll(Channel& channel) {
  for (;;) {
    if (auto done = channel.Poll()) return done;
    if (!Readable(channel.done_fd(), 20'000)) return std::nullopt;
    channel.DrainDone();
  }
}

// Runs `worker` in a child process with the worker's end; the parent's end is closed there, as after an exec.
pid_t ForkWorker(Channel& channel, const std::function<void(WorkerEnd&)>& worker) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(channel.control_fd());
    auto end = WorkerEnd::Attach(channel.worker_fds());
    if (end.ok()) worker(**end);
    ::_exit(end.ok() ? 0 : 1);
  }
  channel.CloseWorkerEnds();
  return pid;
}

TEST(ChannelTest, CarriesABatchThereAndBack) {
  auto channel = MakeChannel();
  const pid_t pid = ForkWorker(*channel, [](WorkerEnd& end) { EchoOne(end); });
  const uint32_t slot = SubmitFloats(*channel, 77, {1, 2, 3});
  auto done = WaitPoll(*channel);
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->status.ok()) << done->status.ToString();
  EXPECT_EQ(done->slot, slot);
  EXPECT_EQ(done->batch_id, 77u);
  ASSERT_EQ(done->outputs.size(), 1u);
  EXPECT_EQ(done->outputs[0].shape, (Shape{3}));
  float values[3];
  std::memcpy(values, done->outputs[0].data.data(), sizeof values);
  EXPECT_EQ(values[2], 3.0f);
  EXPECT_GE(done->compute.count(), 0);
  channel->Release(slot);
  EXPECT_EQ(channel->free_slots(), 2);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(ChannelTest, BothSlotsInFlightAnswerInOrderOfSubmission) {
  auto channel = MakeChannel();
  auto end = AttachHere(*channel);
  for (uint64_t round = 0; round < 50; ++round) {
    SubmitFloats(*channel, 2 * round, {1});
    SubmitFloats(*channel, 2 * round + 1, {2, 2});
    EXPECT_EQ(channel->free_slots(), 0);
    EXPECT_FALSE(channel->Poll());
    EchoOne(*end);
    EchoOne(*end);
    auto first = channel->Poll();
    auto second = channel->Poll();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->batch_id, 2 * round);
    EXPECT_EQ(second->batch_id, 2 * round + 1);
    EXPECT_EQ(second->outputs[0].shape, (Shape{2}));
    // Released out of order: the turn is the first one's, so nothing is free until it is.
    channel->Release(second->slot);
    EXPECT_EQ(channel->free_slots(), 0);
    channel->Release(first->slot);
    EXPECT_EQ(channel->free_slots(), 2);
  }
}

TEST(ChannelTest, AbandonedSlotIsReservedAgain) {
  auto channel = MakeChannel();
  const uint32_t slot = channel->Reserve();
  EXPECT_EQ(channel->free_slots(), 1);
  channel->Abandon(slot);
  EXPECT_EQ(channel->free_slots(), 2);
  EXPECT_EQ(channel->Reserve(), slot);
}

TEST(ChannelTest, NoWakeUpIsLostBetweenTwoThreads) {
  auto channel = MakeChannel();
  auto end = AttachHere(*channel);
  constexpr uint64_t kRounds = 5000;
  std::thread worker([&] {
    for (uint64_t i = 0; i < kRounds; ++i) EchoOne(*end);
  });
  uint64_t sent = 0;
  for (uint64_t got = 0; got < kRounds;) {
    while (sent < kRounds && channel->free_slots() > 0) SubmitFloats(*channel, sent++, {1, 2});
    auto done = WaitPoll(*channel);
    if (!done) break;
    ASSERT_EQ(done->batch_id, got);
    channel->Release(done->slot);
    ++got;
  }
  worker.join();
}

TEST(ChannelTest, CarriesTheEnginesError) {
  auto channel = MakeChannel();
  auto end = AttachHere(*channel);
  SubmitFloats(*channel, 1, {1});
  ASSERT_EQ(end->Wait(), WorkerEnd::Event::kBatch);
  std::vector<TensorView> inputs;
  ASSERT_TRUE(end->Take(&inputs).ok());
  const Time now = SteadyClock::Instance().Now();
  end->Finish(Status(Code::kInvalidArgument, "bad\nrow \xff" + std::string(5000, 'x')), {}, now,
              now);
  auto done = channel->Poll();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->status.code(), Code::kInvalidArgument);
  EXPECT_EQ(done->status.message().size(), kMaxMessage);
  EXPECT_EQ(done->status.message().substr(0, 10), "bad row ?x");
  EXPECT_TRUE(done->outputs.empty());
}

// A worker that answers with whatever `forge` makes of a good answer.
class NonsenseTest : public testing::Test {
 protected:
  Status AnswerWith(const std::function<void(SlotHeader&)>& forge) {
    auto channel = MakeChannel();
    const TensorSpec spec{"y", DataType::kFp32, Shape{kDynamic}, {}, {}};
    channel->Expect({&spec, 1});
    const int memory = ::dup(channel->worker_fds().memory);
    auto end = AttachHere(*channel);
    Region region;
    EXPECT_TRUE(region.Map(memory, kSmall).ok());
    SubmitFloats(*channel, 5, {1, 2, 3, 4});
    EchoOne(*end);
    forge(*region.header(0));
    auto done = channel->Poll();
    ::close(memory);
    if (!done) return Status(Code::kUnavailable, "no completion");
    EXPECT_EQ(done->batch_id, 5u);
    EXPECT_EQ(done->status.ok(), !done->outputs.empty());
    EXPECT_LE(done->started, SteadyClock::Instance().Now());
    EXPECT_GE(done->compute.count(), 0);
    EXPECT_LT(Seconds(done->compute), 20.0);
    return done->status;
  }
};

TEST_F(NonsenseTest, GoodAnswerPasses) {
  const Status status = AnswerWith([](SlotHeader&) {});
  EXPECT_TRUE(status.ok()) << status.ToString();
}
TEST_F(NonsenseTest, ClockIsHeldBetweenSubmissionAndNow) {
  EXPECT_TRUE(AnswerWith([](SlotHeader& h) { h.start_ns = 1, h.end_ns = ~0ull; }).ok());
  EXPECT_TRUE(AnswerWith([](SlotHeader& h) { h.start_ns = ~0ull, h.end_ns = 0; }).ok());
}
TEST_F(NonsenseTest, UnknownStateIsNoCompletion) {
  EXPECT_EQ(AnswerWith([](SlotHeader& h) { h.state = 99; }).message(), "no completion");
}

struct Forgery {
  const char* name;
  std::function<void(SlotHeader&)> forge;
  const char* expected;
};
TEST_F(NonsenseTest, BecomesInternalNamingTheField) {
  const std::vector<Forgery> forgeries = {
      {"count", [](SlotHeader& h) { h.output_count = 4'000'000; },
       "at most 128 tensors, got 4000000"},
      {"too many",
       [](SlotHeader& h) {
         h.output_count = 2, h.outputs[1] = h.outputs[0], h.outputs[1].spec = 1;
       },
       "gave 2 outputs, the model has 1"},
      {"too few", [](SlotHeader& h) { h.output_count = 0; }, "gave 0 outputs"},
      {"code", [](SlotHeader& h) { h.code = 200; }, "unknown code 200"},
      {"dtype", [](SlotHeader& h) { h.outputs[0].dtype = 99; }, "unknown dtype 99"},
      {"other dtype",
       [](SlotHeader& h) { h.outputs[0].dtype = static_cast<uint8_t>(DataType::kInt32); },
       "output 'y': expected FP32 [-1], worker gave INT32 [4]"},
      {"rank", [](SlotHeader& h) { h.outputs[0].rank = 9; }, "rank of at most 8, got 9"},
      {"other rank", [](SlotHeader& h) { h.outputs[0].rank = 2, h.outputs[0].dims[1] = 1; },
       "worker gave FP32 [4,1]"},
      {"spec", [](SlotHeader& h) { h.outputs[0].spec = 3; }, "expected spec 0, got 3"},
      {"offset", [](SlotHeader& h) { h.outputs[0].offset = 64 << 10; }, "run past the arena"},
      {"wrapping offset", [](SlotHeader& h) { h.outputs[0].offset = ~0ull - 63; },
       "run past the arena"},
      {"crooked offset", [](SlotHeader& h) { h.outputs[0].offset = 2; }, "not a multiple of 64"},
      {"bytes", [](SlotHeader& h) { h.outputs[0].bytes = 15; }, "needs 16 bytes, got 15"},
      {"dims", [](SlotHeader& h) { h.outputs[0].dims[0] = 5; }, "needs 20 bytes, got 16"},
      {"negative", [](SlotHeader& h) { h.outputs[0].dims[0] = -1; }, "negative or too large"},
  };
  for (const Forgery& f : forgeries) {
    const Status status = AnswerWith(f.forge);
    EXPECT_EQ(status.code(), Code::kInternal) << f.name;
    EXPECT_NE(status.message().find(f.expected), std::string::npos)
        << f.name << ": " << status.message();
  }
}

TEST(ChannelTest, WorkerRefusesDescriptorsOutsideTheArena) {
  auto channel = MakeChannel();
  const int memory = ::dup(channel->worker_fds().memory);
  auto end = AttachHere(*channel);
  Region region;
  ASSERT_TRUE(region.Map(memory, kSmall).ok());
  SubmitFloats(*channel, 1, {1});
  region.header(0)->inputs[0].offset = 1 << 20;
  ASSERT_EQ(end->Wait(), WorkerEnd::Event::kBatch);
  std::vector<TensorView> inputs;
  EXPECT_EQ(end->Take(&inputs).code(), Code::kInternal);
  EXPECT_TRUE(inputs.empty());
  ::close(memory);
}

TEST(ChannelTest, WorkerThatDiesInABatchClosesTheControlSocket) {
  auto channel = MakeChannel();
  const pid_t pid = ForkWorker(*channel, [](WorkerEnd& end) {
    if (end.Wait() == WorkerEnd::Event::kBatch) ::raise(SIGKILL);
  });
  SubmitFloats(*channel, 1, {1});
  ASSERT_TRUE(Readable(channel->control_fd(), 20'000));
  EXPECT_EQ(channel->ReceiveControl().status().code(), Code::kUnavailable);
  EXPECT_FALSE(channel->Poll());
  EXPECT_EQ(channel->SendControl("late").code(), Code::kUnavailable) << "and no SIGPIPE";
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(ChannelTest, ResultPublishedBeforeTheDeathIsStillThere) {
  auto channel = MakeChannel();
  const pid_t pid = ForkWorker(*channel, [](WorkerEnd& end) {
    EchoOne(end);
    ::raise(SIGKILL);
  });
  SubmitFloats(*channel, 1, {4});
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
  auto done = channel->Poll();
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->status.ok());
}

TEST(ChannelTest, WorkerLeavesWhenTheDaemonIsGone) {
  auto channel = MakeChannel();
  const pid_t pid = ForkWorker(
      *channel, [](WorkerEnd& end) { ::_exit(end.Wait() == WorkerEnd::Event::kClosed ? 42 : 1); });
  channel.reset();
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(ChannelTest, ControlMessagesUpToAMegabyteArriveWhole) {
  auto channel = MakeChannel();
  const std::string big(kMaxControlMessage, 'b');
  const pid_t pid = ForkWorker(*channel, [&](WorkerEnd& end) {
    static_cast<void>(end.SendControl("small"));
    static_cast<void>(end.SendControl(big));
    static_cast<void>(end.SendControl(""));
    ::_exit(end.SendControl(big + "x").code() == Code::kTooLarge ? 0 : 1);
  });
  std::vector<std::string> got;
  while (got.size() < 3 && Readable(channel->control_fd(), 20'000)) {
    auto message = channel->ReceiveControl();
    ASSERT_TRUE(message.ok()) << message.status().ToString();
    if (message->has_value()) got.push_back(**message);
  }
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0], "small");
  EXPECT_TRUE(got[1] == big);
  EXPECT_EQ(got[2], "");
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(ChannelTest, DaemonNeverBlocksOnAWorkerThatDoesNotRead) {
  auto channel = MakeChannel();
  auto end = AttachHere(*channel);
  EXPECT_EQ(channel->SendControl(std::string(kMaxControlMessage, 'x')).code(), Code::kUnavailable);
}

TEST(ChannelTest, EndlessControlMessageIsRefused) {
  auto channel = MakeChannel();
  const int raw = ::dup(channel->worker_fds().control);
  channel->CloseWorkerEnds();
  std::string fragment(1000, 'x');
  fragment[0] = 1;  // "more follows"
  Status status;
  for (int i = 0; i < 2000 && status.ok(); ++i) {
    ASSERT_GT(::write(raw, fragment.data(), fragment.size()), 0);
    status = channel->ReceiveControl().status();
  }
  EXPECT_EQ(status.code(), Code::kInternal);
  // So is a packet that is no fragment.
  fragment[0] = 7;
  ASSERT_GT(::write(raw, fragment.data(), fragment.size()), 0);
  EXPECT_EQ(channel->ReceiveControl().status().code(), Code::kInternal);
  ::close(raw);
}

TEST(ChannelTest, MemoryIsNotTakenBeforeItIsUsed) {
  const auto shared_kib = [] {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line)) {
      if (line.rfind("RssShmem:", 0) == 0) return std::stol(line.substr(9));
    }
    return -1L;
  };
  const long before = shared_kib();
  auto channel = MakeChannel({size_t{4} << 30, size_t{4} << 30});
  auto end = AttachHere(*channel);
  SubmitFloats(*channel, 1, {1});
  EchoOne(*end);
  ASSERT_TRUE(channel->Poll());
  EXPECT_LT(shared_kib() - before, 256) << "16 GiB of address space";
}

TEST(ChannelTest, WorkerCannotShrinkTheRegionUnderTheDaemon) {
  auto channel = MakeChannel();
  EXPECT_NE(::ftruncate(channel->worker_fds().memory, 0), 0);
  EXPECT_NE(::ftruncate(channel->worker_fds().memory, 1 << 30), 0);
}

TEST(ChannelTest, AWorkerThatLooksFindsEveryBatchAndLosesNoControlMessage) {
  auto channel = MakeChannel();
  WorkerFds fds = channel->worker_fds();
  for (int* fd : {&fds.memory, &fds.wake, &fds.done, &fds.control}) *fd = ::dup(*fd);
  fds.spin = true;
  channel->CloseWorkerEnds();
  auto end = WorkerEnd::Attach(fds);
  ASSERT_TRUE(end.ok());
  std::thread worker([&end] {
    for (;;) {
      switch ((*end)->Wait()) {
        case WorkerEnd::Event::kBatch: (*end)->Finish(Status::Ok(), {}, {}, {}); break;
        case WorkerEnd::Event::kControl: {
          auto message = (*end)->ReceiveControl();
          if (!message.ok()) return;
          if (!message->has_value()) break;
          EXPECT_TRUE((*end)->SendControl(**message).ok());
          break;
        }
        case WorkerEnd::Event::kClosed: return;
      }
    }
  });
  // Pauses shorter and longer than a look, in no order.
  for (uint64_t id = 1; id <= 200; ++id) {
    if (id % 3 != 0) ::usleep(static_cast<useconds_t>(id * 7919 % 700));
    const uint32_t slot = SubmitFloats(*channel, id, {1});
    ASSERT_TRUE(Readable(channel->done_fd(), 20'000)) << id;
    channel->DrainDone();
    const auto done = channel->Poll();
    ASSERT_TRUE(done && done->batch_id == id);
    channel->Release(slot);
    if (id % 50 == 0) {
      ASSERT_TRUE(channel->SendControl("hello").ok());
      ASSERT_TRUE(Readable(channel->control_fd(), 20'000));
      EXPECT_EQ((*channel->ReceiveControl()).value(), "hello");
    }
  }
  channel.reset();
  worker.join();
}

TEST(WorkerEndTest, ArgumentsRoundTrip) {
  const std::vector<std::string> args = WorkerFds{3, 4, 5, 6, true}.Args();
  std::vector<const char*> argv = {"worker"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  auto fds = ParseWorkerFds(static_cast<int>(argv.size()), argv.data());
  ASSERT_TRUE(fds.ok());
  EXPECT_EQ(fds->memory, 3);
  EXPECT_EQ(fds->control, 6);
  EXPECT_TRUE(fds->spin);
  EXPECT_EQ(ParseWorkerFds(7, argv.data()).status().code(), Code::kInvalidArgument);
  argv[2] = "3x";
  EXPECT_EQ(ParseWorkerFds(9, argv.data()).status().code(), Code::kInvalidArgument);
  argv[1] = "--surprise";
  EXPECT_EQ(ParseWorkerFds(9, argv.data()).status().code(), Code::kInvalidArgument);
}

TEST(WorkerEndTest, RefusesMemoryOfAnotherKind) {
  const auto attach = [](const Control& control, size_t size) {
    auto channel = MakeChannel();
    WorkerFds fds = channel->worker_fds();
    fds.memory = ::memfd_create("test", 0);
    EXPECT_EQ(::ftruncate(fds.memory, static_cast<off_t>(size)), 0);
    EXPECT_EQ(::pwrite(fds.memory, &control, sizeof control, 0),
              static_cast<ssize_t>(sizeof control));
    for (int* fd : {&fds.wake, &fds.done, &fds.control}) *fd = ::dup(*fd);
    return WorkerEnd::Attach(fds).status().code();
  };
  const size_t total = kSmall.total();
  EXPECT_EQ(attach({kMagic, kSlots, 64 << 10, 64 << 10}, total), Code::kOk);
  EXPECT_EQ(attach({kMagic + 1, kSlots, 64 << 10, 64 << 10}, total), Code::kInvalidArgument);
  EXPECT_EQ(attach({kMagic, kSlots + 1, 64 << 10, 64 << 10}, total), Code::kInvalidArgument);
  EXPECT_EQ(attach({kMagic, kSlots, 128 << 10, 64 << 10}, total), Code::kInvalidArgument);
  EXPECT_EQ(attach({kMagic, kSlots, ~0ull, ~0ull}, total), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel::ipc
