#include "core/emulated_gpu.h"

#include <gtest/gtest.h>

#include <limits>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

TEST(EmulatedGpuTest, ATextIsReadWithItsDefaults) {
  const auto gpu = ParseEmulatedGpu("16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB");
  ASSERT_TRUE(gpu.ok()) << gpu.status().message();
  EXPECT_EQ(gpu->size.cores, 16);
  EXPECT_EQ(gpu->size.memory_bytes, int64_t{4} << 30);
  EXPECT_EQ(gpu->a, Duration(2ms));
  EXPECT_EQ(gpu->c, Duration(50us));
  EXPECT_EQ(gpu->m0_bytes, int64_t{100} << 20);
  EXPECT_EQ(gpu->m1_bytes, int64_t{2} << 20);
  EXPECT_DOUBLE_EQ(gpu->serial, 0.2);
  EXPECT_EQ(gpu->host_cores, 0);
}

TEST(EmulatedGpuTest, WhatIsPrintedIsReadBack) {
  for (const char* text : {"1c/16MiB,a=1ns", "16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB",
                           "65536c/1TiB,c=1h,serial=0.125,host=1", "3c/1000MB,a=1us,serial=1"}) {
    const auto gpu = ParseEmulatedGpu(text);
    ASSERT_TRUE(gpu.ok()) << text << ": " << gpu.status().message();
    const auto again = ParseEmulatedGpu(FormatEmulatedGpu(*gpu));
    ASSERT_TRUE(again.ok()) << FormatEmulatedGpu(*gpu);
    EXPECT_EQ(*again, *gpu);
  }
}

TEST(EmulatedGpuTest, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> kWrong[] = {{"", "CORESc/MEMORY"},
                                                        {"16", "CORESc/MEMORY"},
                                                        {"a=2ms", "CORESc/MEMORY"},
                                                        {"0c/4GiB,a=1ms", "cores"},
                                                        {"65537c/4GiB,a=1ms", "cores"},
                                                        {"1.5c/4GiB,a=1ms", "cores"},
                                                        {"16c/4XB,a=1ms", "memory"},
                                                        {"16c/1MiB,a=1ms", "16MiB"},
                                                        {"16c/4GiB", "a or c"},
                                                        {"16c/4GiB,a=0s,c=0s", "a or c"},
                                                        {"16c/4GiB,a=-2ms", "'a'"},
                                                        {"16c/4GiB,a=2h", "1h"},
                                                        {"16c/4GiB,a=2", "'a'"},
                                                        {"16c/4GiB,a=1ms,a=2ms", "twice"},
                                                        {"16c/4GiB,a=1ms,b=2ms", "serial"},
                                                        {"16c/4GiB,a=1ms,serial=1.5", "0 to 1"},
                                                        {"16c/4GiB,a=1ms,serial=nan", "0 to 1"},
                                                        {"16c/4GiB,a=1ms,host=2", "host"},
                                                        {"16c/4GiB,a=1ms,m1=17TiB", "16TiB"},
                                                        {"16c/4GiB,a=1ms,", "after"},
                                                        {"16c/4GiB,,a=1ms", "KEY=VALUE"}};
  for (const auto& [text, says] : kWrong) {
    const auto gpu = ParseEmulatedGpu(text);
    ASSERT_FALSE(gpu.ok()) << text;
    EXPECT_EQ(gpu.status().code(), Code::kInvalidArgument) << text;
    EXPECT_NE(gpu.status().message().find(says), std::string::npos)
        << text << ": " << gpu.status().message();
  }
}

TEST(EmulatedGpuTest, FewerCoresTakeLongerByAmdahlsLaw) {
  const EmulatedGpu gpu = *ParseEmulatedGpu("16c/4GiB,a=2ms,c=100us,serial=0.25");
  const EmulatedShare all = ShareOf(gpu, {16, gpu.size.memory_bytes});
  EXPECT_EQ(all.Takes(10), Duration(3ms));
  // A quarter of it stays, three quarters take four times as long.
  EXPECT_EQ(ShareOf(gpu, {4, gpu.size.memory_bytes}).Takes(10), Duration(9'750us));
  Duration last = Duration::max();
  for (int cores = 1; cores <= 16; ++cores) {
    const Duration takes = ShareOf(gpu, {cores, gpu.size.memory_bytes}).Takes(7);
    EXPECT_LT(takes, last);
    last = takes;
  }
}

TEST(EmulatedGpuTest, MemoryNeverOverflows) {
  const EmulatedGpu gpu = *ParseEmulatedGpu("1c/1GiB,a=1ms,m0=1MiB,m1=16TiB");
  const EmulatedShare share = ShareOf(gpu, {1, gpu.size.memory_bytes});
  EXPECT_EQ(share.Needs(0), int64_t{1} << 20);
  EXPECT_EQ(share.Needs(1), (int64_t{16} << 40) + (int64_t{1} << 20));
  EXPECT_EQ(share.Needs(int64_t{1} << 40), std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace evenkeel
