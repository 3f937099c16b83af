#include "profiling/cell_runner.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/format.h"
#include "profiling/model_profile.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Lets stints through, throws some away, and holds them to the order of calls.
class Gate final : public StintGate {
 public:
  Status Begin() override {
    EXPECT_FALSE(inside_);
    if (begins == cancel_after) return Cancelled("enough");
    ++begins;
    inside_ = true;
    return Status::Ok();
  }
  bool End(const Stint& stint) override {
    EXPECT_TRUE(inside_);
    inside_ = false;
    longest = std::max(longest, stint.wall);
    core_s += stint.core_s;
    if (begins > kBeforeRuns) wait_us += stint.wait_s * 1e6;
    const bool keep = !throw_away || ++ends_ % 2 == 0;
    if (keep) kept += stint.wall;
    return keep;
  }

  static constexpr int kBeforeRuns = 3;  // stints: probe, start, warm-up
  int begins = 0, cancel_after = -1;
  bool throw_away = false;
  Duration longest{}, kept{};
  double core_s = 0;
  double wait_us = 0;  // for cores, of the stints with runs

 private:
  bool inside_ = false;
  int ends_ = 0;
};

// A real worker, of the fake engine: a batch of n rows sleeps 1 ms + n x 0.1 ms.
class CellRunnerTest : public testing::Test {
 protected:
  CellRunnerTest() : runtime_(MakeProcessRuntime()) {
    folder_ =
        fs::path(testing::TempDir()) /
        ("cells_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
    model_.name = "m";
    model_.engine = "fake";
    model_.path = (folder_ / "m.fake").string();
    std::ofstream(model_.path) << "delay_us: {fixed: 1000, per_row: 100}\n";
  }
  ~CellRunnerTest() override { fs::remove_all(folder_); }

  Result<LoadRow> Run(int batch) {
    CellRunnerOptions options = CellsOf(model_, EVENKEEL_BINARY_DIR "/libexec/evenkeel", "");
    options.least_time = 60ms;
    options.gate = gate_;
    options.background = gate_ != nullptr;
    ContainerCells cells(std::move(options), *runtime_);
    const auto signature = cells.Probe();
    if (!signature.ok()) return signature.status();
    cells.SetRows(*MadeUpRows(*signature));
    return cells.Run({{1000, int64_t{512} << 20, 0, 0}, batch, Precision::kF32});
  }

  fs::path folder_;
  ModelConfig model_;
  std::unique_ptr<Runtime> runtime_;
  StintGate* gate_ = nullptr;
};

TEST_F(CellRunnerTest, ByHandACellIsOneSustainedRun) {
  const auto row = Run(4);
  ASSERT_TRUE(row.ok()) << row.status().ToString();
  EXPECT_EQ(row->outcome, CellOutcome::kOk);
  EXPECT_GE(row->batch_us, 1400);
  EXPECT_GE(row->no_batch_us, 4 * 1100);
  EXPECT_GE(row->batch_us * static_cast<double>(row->runs), 60'000);
}

TEST_F(CellRunnerTest, BesideServingItRunsInShortStints) {
  Gate gate;
  gate_ = &gate;
  const auto row = Run(4);
  ASSERT_TRUE(row.ok()) << row.status().ToString();
  // What the worker waited for a core is taken off, also where it did so between two runs; no more than that.
  EXPECT_GE(row->batch_us * static_cast<double>(row->runs),
            1400 * static_cast<double>(row->runs) - gate.wait_us);
  EXPECT_GE(row->batch_us * static_cast<double>(row->runs), 60'000);
  // At least 60 ms of batches and 4.4 ms of singles in stints of 20 ms.
  // A run may be held up and fill a stint alone; in one piece it would be one stint, and one of singles.
  EXPECT_GE(gate.begins, Gate::kBeforeRuns + 3);
}

TEST_F(CellRunnerTest, AThrownAwayStintIsMeasuredAgain) {
  Gate kept, half;
  gate_ = &kept;
  ASSERT_TRUE(Run(4).ok());
  half.throw_away = true;
  gate_ = &half;
  const auto row = Run(4);
  ASSERT_TRUE(row.ok());
  EXPECT_GE(row->batch_us * static_cast<double>(row->runs), 60'000);
  // What was kept was enough by itself.
  EXPECT_LE(row->batch_us * static_cast<double>(row->runs), Seconds(half.kept) * 1e6);
  EXPECT_GT(half.begins, Gate::kBeforeRuns + 4);
}

TEST_F(CellRunnerTest, AGateThatOpensNoMoreEndsTheCell) {
  Gate gate;
  gate.cancel_after = 4;
  gate_ = &gate;
  EXPECT_EQ(Run(4).status().code(), Code::kCancelled);
}

TEST_F(CellRunnerTest, CoreTimeOfALoadThatFailsIsTold) {
  const fs::path worker = folder_ / "evenkeel-worker-fake";
  std::ofstream(worker) << "#!/bin/sh\ni=0\nwhile [ $i -lt 50000 ]; do i=$((i+1)); done\n";
  fs::permissions(worker, fs::perms::owner_all);
  Gate gate;
  CellRunnerOptions options = CellsOf(model_, folder_.string(), "");
  options.gate = &gate;
  ContainerCells cells(std::move(options), *runtime_);
  EXPECT_FALSE(cells.Probe().ok());
  EXPECT_GT(gate.core_s, 0.002);
}

}  // namespace
}  // namespace evenkeel
