#include "containers/node_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "containers/fake_cgroup_v2.h"

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr const char* kMeminfo =
    "MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    4194304 kB\n"
    "Buffers:            1000 kB\n";

TEST(NodeMemoryTest, WithoutGroupsTheKernelsFiguresCount) {
  const NodeMemory memory = MemoryOf(kMeminfo, nullptr);
  EXPECT_EQ(memory.total_bytes, 8192 * kMiB);
  EXPECT_EQ(memory.free_bytes, 4096 * kMiB);
  EXPECT_EQ(MemoryOf("MemAvailable: 0 kB\n", nullptr).free_bytes, 0);
  for (const char* unreadable : {"", "garbage", "MemAvailable: all\n"})
    EXPECT_FALSE(MemoryOf(unreadable, nullptr).free_bytes) << unreadable;
}

TEST(NodeMemoryTest, TheTightestGroupAboveBindsAndCacheCountsAsFree) {
  FakeCgroupV2 kernel("/cg");
  kernel.Allow("/cg");
  ASSERT_TRUE(kernel.MakeFolder("/cg/svc").ok());
  kernel.Allow("/cg/svc");
  ASSERT_TRUE(kernel.MakeFolder("/cg/svc/inner").ok());
  kernel.Set("/cg/svc/memory.max", std::to_string(1024 * kMiB));
  kernel.Set("/cg/svc/memory.current", std::to_string(900 * kMiB));
  kernel.Set("/cg/svc/memory.stat", "anon 1\ninactive_file " + std::to_string(400 * kMiB) + "\n");
  kernel.Set("/cg/svc/inner/memory.max", "max");
  kernel.Set("/cg/svc/inner/memory.current", std::to_string(800 * kMiB));
  const auto host = CgroupHost::FromText("30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
                                         "0::/svc/inner\n", 1, kernel);
  ASSERT_TRUE(host.ok()) << host.status().ToString();
  const NodeMemory memory = MemoryOf(kMeminfo, &*host);
  EXPECT_EQ(memory.total_bytes, 1024 * kMiB);
  EXPECT_EQ(memory.free_bytes, 524 * kMiB);
}

TEST(NodeMemoryTest, WhatAProcessHoldsGrowsWithIt) {
  const int64_t before = HeldMemory(getpid());
  EXPECT_GT(before, 0);
  std::vector<char> more(64 * kMiB, 'x');
  EXPECT_GE(HeldMemory(getpid()), before + 60 * kMiB);
  EXPECT_EQ(more.back(), 'x');
  EXPECT_EQ(HeldMemory(0), 0);
}

TEST(NodeMemoryTest, ThisMachineHasSome) {
  const NodeMemory memory = NodeMemoryGauge().Read();
  EXPECT_GT(memory.total_bytes, 64 * kMiB);
  ASSERT_TRUE(memory.free_bytes);
  EXPECT_GT(*memory.free_bytes, 0);
  EXPECT_LE(*memory.free_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace evenkeel
