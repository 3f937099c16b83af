#include "engines/emulated/emulated_engine.h"

#include <gtest/gtest.h>
#include <time.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/clock.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// Answers with its input, after `takes`.
class Echo final : public Engine {
 public:
  explicit Echo(Duration takes, int* runs) : takes_(takes), runs_(runs) {}
  Result<Signature> Load(const EngineOptions& options) override {
    if (options.path == "bad") return InvalidArgument("no model");
    return Signature{};
  }
  Status Run(std::span<const TensorView> inputs, OutputSink& sink) override {
    ++*runs_;
    const Time end = SteadyClock::Instance().Now() + takes_;
    while (SteadyClock::Instance().Now() < end) {
    }
    const auto& in = inputs.front();
    std::byte* to = sink.Allocate(0, in.dtype, in.shape, in.data.size());
    std::memcpy(to, in.data.data(), in.data.size());
    return Status::Ok();
  }
  nlohmann::json Describe() const override { return {{"name", "echo"}, {"device", "CPU"}}; }

 private:
  Duration takes_;
  int* runs_;
};

class OneSink final : public OutputSink {
 public:
  std::byte* Allocate(int, DataType, const Shape&, size_t bytes) override {
    data.resize(bytes);
    return data.data();
  }
  std::vector<std::byte> data;
};

struct Emulated {
  explicit Emulated(Duration cpu_takes)
      : engine(MakeEmulatable(std::make_unique<Echo>(cpu_takes, &runs))) {}
  Status Run(int64_t rows) {
    std::vector<float> values(static_cast<size_t>(rows), 7.5f);
    const TensorView view{0, DataType::kFp32, Shape{rows, 1},
                          std::as_writable_bytes(std::span(values))};
    sink = OneSink();
    const Time begin = SteadyClock::Instance().Now();
    const Status status = engine->Run({&view, 1}, sink);
    took = SteadyClock::Instance().Now() - begin;
    same = sink.data.size() == values.size() * 4 &&
           std::memcmp(sink.data.data(), values.data(), sink.data.size()) == 0;
    return status;
  }
  int runs = 0;
  std::unique_ptr<Engine> engine;
  OneSink sink;
  Duration took{};
  bool same = false;
};

EngineOptions Options(Duration a, Duration c, int64_t m0, int64_t m1, int64_t memory) {
  EngineOptions options;
  options.device = "CPU";
  options.emulated = EmulatedShare{a, c, m0, m1, memory, 4};
  return options;
}

TEST(EmulatedEngineTest, WithoutAShareTheEngineIsAsItWas) {
  Emulated e(0ns);
  ASSERT_TRUE(e.engine->Load({}).ok());
  EXPECT_EQ(e.engine->Describe()["device"], "CPU");
  Duration least = 1h;  // one of ten is not held up by somebody else
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(e.Run(1000).ok());
    EXPECT_TRUE(e.same);
    least = std::min(least, e.took);
  }
  EXPECT_LT(least, 20ms);
}

TEST(EmulatedEngineTest, ABatchTakesTheTimeThatItsRowsSayAndHasTheEnginesAnswer) {
  Emulated e(0ns);
  ASSERT_TRUE(e.engine->Load(Options(20ms, 1ms, 0, 0, 1)).ok());
  EXPECT_EQ(e.engine->Describe()["device"], "EMULATED");
  EXPECT_EQ(e.engine->Describe()["emulated"]["cores"], 4);
  for (const int64_t rows : {1, 10}) {
    ASSERT_TRUE(e.Run(rows).ok());
    EXPECT_GE(e.took, 20ms + rows * Duration(1ms));
    EXPECT_TRUE(e.same);
  }
}

TEST(EmulatedEngineTest, TheWaitTakesNoProcessorTime) {
  Emulated e(0ns);
  ASSERT_TRUE(e.engine->Load(Options(200ms, 0ns, 0, 0, 1)).ok());
  const auto cpu = [] {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + Duration(now.tv_nsec);
  };
  const Duration before = cpu();
  ASSERT_TRUE(e.Run(1).ok());
  EXPECT_LT(cpu() - before, 20ms);
}

TEST(EmulatedEngineTest, AProcessorThatNeedsLongerIsNotHidden) {
  Emulated e(30ms);
  ASSERT_TRUE(e.engine->Load(Options(5ms, 0ns, 0, 0, 1)).ok());
  ASSERT_TRUE(e.Run(1).ok());
  EXPECT_GE(e.took, 30ms);
}

TEST(EmulatedEngineTest, MoreMemoryThanTheShapeHasIsAnErrorBeforeAnythingRuns) {
  Emulated e(0ns);
  ASSERT_TRUE(e.engine->Load(Options(0ns, 1ns, 100, 10, 200)).ok());
  ASSERT_TRUE(e.Run(10).ok());
  EXPECT_EQ(e.runs, 1);
  const Status status = e.Run(11);
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_TRUE(status.message().starts_with("out of memory of the emulated device"))
      << status.message();
  EXPECT_EQ(e.runs, 1);
  ASSERT_TRUE(e.Run(10).ok());  // and the next batch runs
}

TEST(EmulatedEngineTest, AModelWhoseSingleRowDoesNotFitDoesNotLoad) {
  Emulated e(0ns);
  const auto loaded = e.engine->Load(Options(0ns, 1ns, 200, 1, 200));
  EXPECT_EQ(loaded.status().code(), Code::kTooLarge);
  EXPECT_NE(loaded.status().message().find("out of memory"), std::string::npos);
}

TEST(EmulatedEngineTest, TheEnginesRefusalIsItsOwn) {
  Emulated e(0ns);
  EngineOptions options = Options(0ns, 1ns, 0, 0, 1);
  options.path = "bad";
  EXPECT_EQ(e.engine->Load(options).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel
