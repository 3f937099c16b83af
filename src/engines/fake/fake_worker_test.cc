// The whole worker side, from the channel to the engine and back, in a child process.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engines/control_codec.h"
#include "engines/fake/fake_engine.h"
#include "ipc/channel.h"

namespace evenkeel {
namespace {

constexpr size_t kArena = 64 << 10;

class FakeWorkerTest : public testing::Test {
 protected:
  void Start(const std::string& yaml) {
    path_ = std::filesystem::temp_directory_path() /
            ("evenkeel-" + std::to_string(::getpid()) + ".fake");
    std::ofstream(path_) << yaml;
    channel_ = ipc::Channel::Create({kArena, kArena}).value();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(channel_->control_fd());
      std::vector<std::string> args = channel_->worker_fds().Args();
      std::string name = "worker";
      std::vector<char*> argv = {name.data()};
      for (std::string& arg : args) argv.push_back(arg.data());
      const auto engine = MakeFakeEngine();
      ::_exit(RunWorker(*engine, static_cast<int>(argv.size()), argv.data()));
    }
    channel_->CloseWorkerEnds();
  }
  void TearDown() override {
    channel_.reset();
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove(path_);
  }
  static bool Readable(int fd) {
    pollfd p{fd, POLLIN, 0};
    return ::poll(&p, 1, 20'000) == 1;
  }
  Result<LoadedModel> Load() {
    EXPECT_TRUE(channel_->SendControl(EncodeLoad({path_, "CPU", 1, false, ""})).ok());
    for (;;) {
      if (!Readable(channel_->control_fd())) return Status(Code::kInternal, "no answer");
      auto message = channel_->ReceiveControl();
      if (!message.ok()) return message.status();
      if (message->has_value()) return DecodeLoaded(**message);
    }
  }
  template <typename T>
  TensorView Put(uint32_t slot, uint32_t spec, DataType dtype, const Shape& shape,
                 std::vector<T> values) {
    const auto arena = channel_->input_arena(slot).subspan(spec * 4096);
    std::memcpy(arena.data(), values.data(), values.size() * sizeof(T));
    return {spec, dtype, shape, arena.subspan(0, values.size() * sizeof(T))};
  }
  // nullopt: the worker died.
  std::optional<ipc::Completion> Wait() {
    for (;;) {
      if (auto done = channel_->Poll()) return done;
      pollfd fds[2] = {{channel_->done_fd(), POLLIN, 0}, {channel_->control_fd(), POLLIN, 0}};
      if (::poll(fds, 2, 20'000) <= 0 || fds[1].revents != 0) return channel_->Poll();
      channel_->DrainDone();
    }
  }
  std::optional<ipc::Completion> RunFloats(const Shape& shape, std::vector<float> values) {
    const uint32_t slot = channel_->Reserve();
    const TensorView view = Put(slot, 0, DataType::kFp32, shape, std::move(values));
    channel_->Submit(slot, 1, {&view, 1});
    auto done = Wait();
    if (done) channel_->Release(done->slot);
    return done;
  }

  std::filesystem::path path_;
  std::unique_ptr<ipc::Channel> channel_;
  pid_t pid_ = -1;
};

TEST_F(FakeWorkerTest, EmptyFileEchoes) {
  Start("");
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ(model->signature.inputs[0].name, "x");
  EXPECT_EQ(model->signature.outputs[0].name, "y");
  EXPECT_NE(model->engine.find("fake"), std::string::npos);
  channel_->Expect(model->signature.outputs);
  auto done = RunFloats(Shape{2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  ASSERT_TRUE(done);
  ASSERT_TRUE(done->status.ok()) << done->status.ToString();
  ASSERT_EQ(done->outputs[0].shape, (Shape{2, 4}));
  float last;
  std::memcpy(&last, done->outputs[0].data.data() + 28, 4);
  EXPECT_EQ(last, 8.0f);
}

TEST_F(FakeWorkerTest, ComputesPerRowOverSeveralInputsAndTypes) {
  Start(R"(
inputs: [{name: a, dtype: FP32, shape: [-1, 2]}, {name: b, dtype: INT64, shape: [-1, 1], range: [0, 9]}, {name: s, dtype: BYTES, shape: [-1]}]
outputs:
  - {name: sum, dtype: FP16, shape: [-1, 1], function: row_sum, input: a}
  - {name: rows, dtype: INT32, shape: [-1], function: batch_rows}
  - {name: t, dtype: BYTES, shape: [-1], function: echo, input: s}
delay_us: {fixed: 2000}
)");
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ASSERT_TRUE(model->signature.inputs[1].range);
  EXPECT_EQ(model->signature.inputs[1].range->hi, 9);
  channel_->Expect(model->signature.outputs);
  const uint32_t slot = channel_->Reserve();
  const std::vector<TensorView> inputs = {
      Put<float>(slot, 0, DataType::kFp32, Shape{2, 2}, {1, 2, 3, 0.5}),
      Put<int64_t>(slot, 1, DataType::kInt64, Shape{2, 1}, {7, 8}),
      Put<char>(slot, 2, DataType::kBytes, Shape{2}, {1, 0, 0, 0, 'a', 0, 0, 0, 0})};
  channel_->Submit(slot, 1, inputs);
  auto done = Wait();
  ASSERT_TRUE(done);
  ASSERT_TRUE(done->status.ok()) << done->status.ToString();
  EXPECT_GE(done->compute, std::chrono::milliseconds(2));
  uint16_t sums[2];
  std::memcpy(sums, done->outputs[0].data.data(), 4);
  EXPECT_EQ(sums[0], 0x4200);  // 3.0
  EXPECT_EQ(sums[1], 0x4300);  // 3.5
  int32_t rows;
  std::memcpy(&rows, done->outputs[1].data.data(), 4);
  EXPECT_EQ(rows, 2);
  EXPECT_EQ(done->outputs[2].data.size(), 9u);
}

TEST_F(FakeWorkerTest, ThrowAndErrorCostTheBatchOnly) {
  Start("{throw_on: 13, error_on: 14}");
  ASSERT_TRUE(Load().ok());
  auto thrown = RunFloats(Shape{2, 4}, {0, 0, 0, 0, 0, 0, 13, 0});
  ASSERT_TRUE(thrown);
  EXPECT_EQ(thrown->status.code(), Code::kInternal);
  EXPECT_EQ(thrown->status.message(), "the marker 13 is in the batch");
  auto refused = RunFloats(Shape{1, 4}, {14, 0, 0, 0});
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status.code(), Code::kInvalidArgument);
  auto good = RunFloats(Shape{1, 4}, {1, 0, 0, 0});
  ASSERT_TRUE(good);
  EXPECT_TRUE(good->status.ok());
}

TEST_F(FakeWorkerTest, AbortEndsTheWorkerWithoutACoreDump) {
  Start("abort_on: 15");
  ASSERT_TRUE(Load().ok());
  EXPECT_FALSE(RunFloats(Shape{1, 4}, {15, 0, 0, 0}));
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
  EXPECT_FALSE(WCOREDUMP(status));
}

TEST_F(FakeWorkerTest, FailedLoadSaysWhyAndTheNextMayWork) {
  Start("fail_load: no weights");
  const auto model = Load();
  EXPECT_EQ(model.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(model.status().message(), "no weights");
  std::ofstream(path_) << "inputs: {";
  EXPECT_EQ(Load().status().code(), Code::kInvalidArgument);
  std::ofstream(path_) << "";
  EXPECT_TRUE(Load().ok());
  EXPECT_EQ(Load().status().code(), Code::kConflict);
}

TEST_F(FakeWorkerTest, BatchBeforeTheModelIsRefused) {
  Start("");
  auto done = RunFloats(Shape{1, 4}, {0, 0, 0, 0});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->status.code(), Code::kInternal);
}

TEST_F(FakeWorkerTest, OutputsThatDoNotFitAreTooLarge) {
  Start("outputs: [{name: a, shape: [-1, 4]}, {name: b, shape: [-1, 4]}]");
  ASSERT_TRUE(Load().ok());
  auto done = RunFloats(Shape{4096, 4}, std::vector<float>(4096 * 4));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->status.code(), Code::kTooLarge);
}

TEST_F(FakeWorkerTest, LeavesWhenTheDaemonDoes) {
  Start("");
  ASSERT_TRUE(Load().ok());
  channel_.reset();
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  EXPECT_EQ(status, 0);
}

TEST_F(FakeWorkerTest, GrowsByWhatTheFileSays) {
  Start("{grow_on: 17, grow_mib: 48}");
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  channel_->Expect(model->signature.outputs);
  const auto resident_kib = [this] {
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string key; status >> key;) {
      int64_t kib = 0;
      if (key == "RssAnon:" && status >> kib) return kib;
    }
    return int64_t{0};
  };
  ASSERT_TRUE(RunFloats(Shape{1, 4}, {1, 2, 3, 4}));
  const int64_t before = resident_kib();
  ASSERT_TRUE(RunFloats(Shape{1, 4}, {1, 2, 17, 4}));
  EXPECT_GE(resident_kib() - before, 47 << 10);
}

TEST_F(FakeWorkerTest, RefusesAGrowthThatIsNone) {
  Start("{grow_on: 17, grow_mib: 0}");
  EXPECT_NE(Load().status().message().find("grow_mib"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel
