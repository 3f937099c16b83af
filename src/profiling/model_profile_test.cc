#include "profiling/model_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

HostSize Host() {
  HostSize host;
  host.milli_cores = 2000;
  host.memory_bytes = kGiB;
  return host;
}

Signature Batched(int max_batch) {
  Signature signature;
  signature.batched = true;
  signature.max_batch = max_batch;
  return signature;
}

TEST(ModelProfileTest, PartsOfACoreAreMeasuredOnlyWhereTheyAreHeld) {
  const auto process = ShapesToSweep(std::nullopt, Rung::kProcess, Host());
  const auto cgroup = ShapesToSweep(std::nullopt, Rung::kCgroup, Host());
  ASSERT_TRUE(process.ok() && cgroup.ok());
  const auto part = [](const CellShape& shape) { return shape.milli_cores % 1000 != 0; };
  EXPECT_TRUE(std::ranges::none_of(*process, part));
  EXPECT_TRUE(std::ranges::any_of(*cgroup, part));
  EXPECT_THAT(ShapesToSweep("0.5c/256MiB", Rung::kProcess, Host()).status().message(),
              HasSubstr("cannot hold a container to a part of a core"));
  EXPECT_TRUE(ShapesToSweep("0.5c/256MiB", Rung::kCgroup, Host()).ok());
  EXPECT_THAT(*ShapesToSweep("1c/256MiB,1c/256MiB", Rung::kProcess, Host()), testing::SizeIs(1));
}

TEST(ModelProfileTest, OfAListThatModelsShareEachTakesItsOwnClasses) {
  HostSize host = Host();
  host.gpu_cores = 16;
  host.gpu_memory_bytes = 4 * kGiB;
  const auto count = [&](const std::optional<std::string>& text, DeviceClass device,
                         const HostSize& of) {
    const auto shapes = ShapesOfClasses(text, Rung::kProcess, of, device);
    EXPECT_TRUE(shapes.ok()) << shapes.status().message();
    const auto gpu = std::ranges::count_if(*shapes, &CellShape::gpu);
    return std::pair<size_t, size_t>(shapes->size() - static_cast<size_t>(gpu), gpu);
  };
  const std::string both = "1c/256MiB,2c/256MiB,1c/512MiB+gpu0:4c/1GiB", cpu = "1c/256MiB";
  using Counts = std::pair<size_t, size_t>;
  EXPECT_EQ(count(both, DeviceClass::kCpu, host), Counts(2, 0));
  EXPECT_EQ(count(both, DeviceClass::kGpu, host), Counts(0, 1));
  EXPECT_EQ(count(both, DeviceClass::kAuto, host), Counts(2, 1));
  // A quarter, half and all of the cores x 1, 2 and 4 GiB.
  EXPECT_EQ(count(cpu, DeviceClass::kAuto, host), Counts(1, 9));
  EXPECT_EQ(count(std::nullopt, DeviceClass::kGpu, host), Counts(0, 9));
  EXPECT_EQ(count(both, DeviceClass::kAuto, Host()), Counts(2, 0)) << "no accelerator";
  EXPECT_FALSE(ShapesOfClasses(both, Rung::kProcess, Host(), DeviceClass::kGpu).ok());
  EXPECT_THAT(ShapesOfClasses("1c/256MiB+gpu0:17c/1GiB", Rung::kProcess, host, DeviceClass::kAuto)
                  .status()
                  .message(),
              HasSubstr("the accelerator is gpu0:16c/4GiB"));
}

TEST(ModelProfileTest, BatchesEndWithTheModelsLargest) {
  EXPECT_THAT(*BatchesToSweep(std::nullopt, Batched(64), 1 << 16),
              ElementsAre(1, 2, 4, 8, 16, 32, 64));
  EXPECT_THAT(*BatchesToSweep(std::nullopt, Batched(64), 6), ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(*BatchesToSweep(std::nullopt, Signature(), 64), ElementsAre(1));
  EXPECT_THAT(*BatchesToSweep("8,1,8", Batched(64), 64), ElementsAre(1, 8));
  EXPECT_FALSE(BatchesToSweep("65", Batched(64), 64).ok());
}

TEST(ModelProfileTest, Bf16IsMeasuredWhereManifestAndProcessorLeaveTheChoice) {
  ModelConfig model;
  Machine machine;
  machine.bf16 = true;
  EXPECT_THAT(PrecisionsToSweep(model, machine), ElementsAre(Precision::kF32));
  model.precision_auto = true;
  EXPECT_THAT(PrecisionsToSweep(model, machine), ElementsAre(Precision::kF32, Precision::kBf16));
  machine.bf16 = false;
  EXPECT_THAT(PrecisionsToSweep(model, machine), ElementsAre(Precision::kF32));
  model.precision_auto = false;
  model.precision = Precision::kBf16;
  EXPECT_THAT(PrecisionsToSweep(model, machine), ElementsAre(Precision::kBf16));
}

TEST(ModelProfileTest, SampledInputsAreNotGivenUpForMadeUpOnes) {
  EXPECT_TRUE(InputsStand(kFromSamples, kFromSignature));
  EXPECT_TRUE(InputsStand(kFromSamples, kFromSamples));
  EXPECT_TRUE(InputsStand(kFromSignature, kFromSignature));
  EXPECT_FALSE(InputsStand(kFromSignature, kFromSamples));
}

TEST(ModelProfileTest, AdviceOnlyWhereNothingGaveAFigure) {
  LoadRow oom, ok;
  oom.outcome = CellOutcome::kOom;
  oom.cell.shape.memory_bytes = kGiB;
  EXPECT_FALSE(AdviceFor({}));
  EXPECT_FALSE(AdviceFor({oom, ok}));
  EXPECT_THAT(*AdviceFor({oom, oom}), HasSubstr("more memory than any shape has (largest: 1GiB)"));
  LoadRow hung = oom;
  hung.outcome = CellOutcome::kTimeout;
  hung.detail = "a batch took too long";
  EXPECT_THAT(*AdviceFor({hung}), HasSubstr("timeout (a batch took too long)"));
}

TEST(ModelProfileTest, ABatchThatServingWouldEndIsNoFigure) {
  ModelConfig model;
  const Duration usual = CellsOf(model, "libexec", "").run_timeout;
  model.hang_timeout = std::chrono::seconds(2);
  EXPECT_EQ(CellsOf(model, "libexec", "").run_timeout, std::chrono::seconds(2));
  model.hang_timeout = 2 * usual;
  EXPECT_EQ(CellsOf(model, "libexec", "").run_timeout, usual);
}

TEST(ModelProfileTest, AdviceNamesTheMemoryThatRanOut) {
  LoadRow on_device;
  on_device.outcome = CellOutcome::kOom;
  on_device.cell.shape = {1000, kGiB, 4, 2 * kGiB};
  on_device.detail = "out of memory of the emulated device: 64 rows take 3GiB, the shape has 2GiB";
  EXPECT_THAT(*AdviceFor({on_device}),
              HasSubstr("more device memory than any shape has (largest: 2GiB)"));
  EXPECT_THAT(*AdviceFor({on_device}), testing::Not(HasSubstr("1GiB")));
  // Killed by the kernel: the container's.
  LoadRow in_container = on_device;
  in_container.detail = "signal 9 (Killed): out of memory, 1GiB allowed";
  EXPECT_THAT(*AdviceFor({in_container}),
              HasSubstr("more memory than any shape has (largest: 1GiB)"));
  EXPECT_THAT(*AdviceFor({in_container}), testing::Not(HasSubstr("device")));
  EXPECT_THAT(
      *AdviceFor({in_container, on_device}),
      HasSubstr("(largest: 1GiB), and more device memory than any shape has (largest: 2GiB)"));
}

TEST(ModelProfileTest, FewSamplesAreNoSamples) {
  Signature signature = Batched(8);
  signature.inputs.push_back({"x", DataType::kFp32, Shape{kDynamic, 1}, {}, {}});
  SampleSet set;
  set.batched = true;
  set.seen = 3;
  set.inputs.push_back({"x", DataType::kFp32, Shape{1}, {}, {}});
  for (int i = 0; i < 3; ++i) {
    auto row = std::make_shared<SampleRow>();
    row->inputs = {std::vector<std::byte>(4)};
    set.rows.push_back(row);
  }
  std::vector<std::string> warnings;
  EXPECT_FALSE(RowsFromSampler(std::vector{set}, signature, 4, &warnings));
  EXPECT_TRUE(warnings.empty());
  const auto pool = RowsFromSampler(std::vector{set}, signature, 3, &warnings);
  ASSERT_TRUE(pool) << (warnings.empty() ? "" : warnings.front());
  EXPECT_EQ(pool->size(), 3u);
}

}  // namespace
}  // namespace evenkeel
