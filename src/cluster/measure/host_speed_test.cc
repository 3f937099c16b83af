#include "cluster/measure/host_speed.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "cluster/measure/host_kernels.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;

TEST(HostSpeedTest, TheSumIsTheSum) {
  for (const size_t count : {0, 1, 31, 32, 33, 1000}) {
    std::vector<uint64_t> words(count);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; ++i) sum += words[i] = i * i + 3;
    EXPECT_EQ(SumOf(words.data(), words.size()), sum) << count;
  }
}

TEST(HostSpeedTest, MeasuresSomethingLikeAProcessor) {
  const HostSpeed speed = MeasureHostSpeed(1, milliseconds(400));
  EXPECT_GT(speed.gflops, 0.1);
  EXPECT_LT(speed.gflops, 2000);
  EXPECT_GT(speed.memory_gb_s, 0.05);
  EXPECT_LT(speed.memory_gb_s, 2000);
}

TEST(HostSpeedTest, WhatIsKeptIsReadForTheSameHardwareOnly) {
  const std::string text = WriteHostSpeed({12.5, 6.25, 2}, "cpu (1)", 1.5);
  const auto read = ReadHostSpeed(text, "cpu (1)", 1.5);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->gflops, 12.5);
  EXPECT_EQ(read->memory_gb_s, 6.25);
  EXPECT_EQ(read->threads, 2);
  EXPECT_EQ(ReadHostSpeed(text, "cpu (2)", 1.5).status().code(), Code::kNotFound);
  EXPECT_EQ(ReadHostSpeed(text, "cpu (1)", 1).status().code(), Code::kNotFound);
}

TEST(HostSpeedTest, AnythingElseIsRefused) {
  const std::string good = WriteHostSpeed({12.5, 6.25, 2}, "cpu", 1);
  for (size_t cut = 0; cut + 2 < good.size(); ++cut)
    EXPECT_FALSE(ReadHostSpeed(good.substr(0, cut), "cpu", 1).ok()) << cut;
  for (const char* text : {"", "[]", "{}", "7", "{\"schema\": 5}"})
    EXPECT_EQ(ReadHostSpeed(text, "cpu", 1).status().code(), Code::kInvalidArgument) << text;
  EXPECT_FALSE(ReadHostSpeed(WriteHostSpeed({0, 1, 1}, "cpu", 1), "cpu", 1).ok());
}

TEST(HostSpeedTest, ADamagedFileIsMeasuredAnew) {
  const std::string file = testing::TempDir() + "/ek_host_speed.json";
  std::filesystem::remove(file);
  bool measured = false;
  const HostSpeed first = HostSpeedOf(file, "cpu", false, milliseconds(40), &measured);
  EXPECT_TRUE(measured);
  EXPECT_EQ(HostSpeedOf(file, "cpu", false, milliseconds(40), &measured).gflops, first.gflops);
  EXPECT_FALSE(measured);
  HostSpeedOf(file, "cpu", true, milliseconds(40), &measured);
  EXPECT_TRUE(measured);
  std::ofstream(file) << "nonsense";
  HostSpeedOf(file, "cpu", false, milliseconds(40), &measured);
  EXPECT_TRUE(measured);
  std::filesystem::remove(file);
}

TEST(HostSpeedTest, AFolderThatCannotBeWrittenIsNoError) {
  bool measured = false;
  EXPECT_GT(HostSpeedOf("/proc/no/such/file", "cpu", false, milliseconds(40), &measured).gflops, 0);
  EXPECT_TRUE(measured);
}

TEST(HostSpeedTest, ThisProcessHasCores) {
  const OwnCores own = CoresOfThisProcess();
  EXPECT_GE(own.threads, 1);
  EXPECT_GT(own.cores, 0);
  EXPECT_LE(own.cores, own.threads);
}

}  // namespace
}  // namespace evenkeel
