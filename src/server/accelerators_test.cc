#include "server/accelerators.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

EmulatedGpu Gpu() { return *ParseEmulatedGpu("16c/4GiB,a=2ms,c=50us,m0=100MiB,serial=0,host=1"); }

TEST(AcceleratorsTest, WithoutASizeAnEmulatedOneGivesQuarters) {
  Accelerators all(Gpu(), "/nowhere");
  all.Find();
  ASSERT_TRUE(all.any());
  std::vector<DeviceGrant> held;
  for (int i = 0; i < 4; ++i) {
    auto grant = all.Take({});
    ASSERT_TRUE(grant.ok()) << grant.status().message();
    EXPECT_EQ(grant->label, "EMULATED");
    EXPECT_EQ(grant->engine_device, "CPU");
    EXPECT_EQ(grant->shape, (GpuShape{0, 4, kGiB}));
    EXPECT_EQ(grant->host_cores, 1);
    EXPECT_EQ(grant->emulated->a, Duration(std::chrono::milliseconds(8)));
    held.push_back(std::move(*grant));
  }
  EXPECT_EQ(all.Take({}).status().code(), Code::kUnavailable);
  EXPECT_EQ(all.Take({17, kGiB}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(all.Uses().front().taken, Gpu().size);
  held.clear();
  EXPECT_TRUE(all.Take(Gpu().size).ok());
}

TEST(AcceleratorsTest, WhatIsLentGoesBackWhenAnInstanceNeedsIt) {
  Accelerators all(Gpu(), "/nowhere");
  all.Find();
  EXPECT_EQ(all.first()->size, Gpu().size);
  const auto held = all.Take({4, kGiB});
  ASSERT_TRUE(held.ok());
  int recalled = 0;
  auto loan = all.Lend({8, kGiB}, [&] { ++recalled; });
  ASSERT_TRUE(loan.ok()) << loan.status().message();
  EXPECT_EQ((*loan)->size(), (DeviceSize{8, kGiB}));
  EXPECT_EQ(all.Uses().front().taken, (DeviceSize{12, 2 * kGiB}));
  EXPECT_EQ(all.Room(), (DeviceSize{12, 3 * kGiB})) << "what is lent is there for instances";
  EXPECT_EQ(all.Lend({8, kGiB}, [] {}).status().code(), Code::kUnavailable);
  // There is room beside it; and what would not fit without it does not take it.
  auto beside = all.Take({4, kGiB});
  ASSERT_TRUE(beside.ok());
  EXPECT_EQ(all.Take({12, kGiB}).status().code(), Code::kUnavailable);
  EXPECT_EQ(recalled, 0);
  const auto needs = all.Take({8, kGiB});
  ASSERT_TRUE(needs.ok()) << needs.status().message();
  EXPECT_EQ(recalled, 1);
  EXPECT_EQ(all.Uses().front().taken, (DeviceSize{16, 3 * kGiB}));
  loan->reset();  // it went back before
  EXPECT_EQ(all.Uses().front().taken, (DeviceSize{16, 3 * kGiB}));
}

TEST(AcceleratorsTest, ALoanEndsWithItsHolder) {
  Accelerators all(Gpu(), "/nowhere");
  all.Find();
  {
    const auto loan = all.Lend(Gpu().size, [] { FAIL() << "nobody needed it"; });
  }
  EXPECT_TRUE(all.Take(Gpu().size).ok());
}

TEST(AcceleratorsTest, TheClassIsTheManifestsUnlessItLeavesItOpen) {
  Accelerators all(Gpu(), "/nowhere"), none(std::nullopt, "/nowhere");
  all.Find();
  none.Find();
  ModelConfig model;
  for (const DeviceClass said : {DeviceClass::kCpu, DeviceClass::kGpu}) {
    model.device = said;
    EXPECT_EQ(ClassToServe(model, &all, false), said);
    EXPECT_EQ(ClassToServe(model, &all, true), said);
  }
  model.device = DeviceClass::kAuto;
  EXPECT_EQ(ClassToServe(model, &all, false), DeviceClass::kAuto);
  EXPECT_EQ(ClassToServe(model, &all, true), DeviceClass::kGpu);
  EXPECT_EQ(ClassToServe(model, &none, true), DeviceClass::kCpu);
  EXPECT_EQ(ClassToServe(model, nullptr, false), DeviceClass::kCpu);
}

TEST(AcceleratorsTest, WithNoneItSaysSo) {
  Accelerators all(std::nullopt, "/nowhere/worker");
  all.Find();
  EXPECT_FALSE(all.any());
  const auto grant = all.Take({});
  EXPECT_EQ(grant.status().code(), Code::kUnsupported);
  EXPECT_NE(grant.status().message().find("/nowhere/worker"), std::string::npos);
}

TEST(AcceleratorsTest, WhereRealOnesAreBarredItSaysWhyAndLooksForNone) {
  Accelerators all(std::nullopt, "/nowhere/worker", "containers are given no device");
  all.Find();
  EXPECT_FALSE(all.any());
  const auto grant = all.Take({});
  EXPECT_EQ(grant.status().code(), Code::kUnsupported);
  EXPECT_EQ(grant.status().message(),
            "accelerators are not looked for: containers are given no device");
  Accelerators emulated(Gpu(), "/nowhere", "containers are given no device");
  emulated.Find();
  EXPECT_TRUE(emulated.Take({}).ok());
}

TEST(AcceleratorsTest, WhatTheEngineSeesIsGivenInTheOrderItSaysIt) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("evenkeel-accelerators-" + std::to_string(::getpid()));
  std::ofstream(path)
      << "#!/bin/sh\necho '[{\"name\":\"GPU.0\",\"cores\":96,\"memory_bytes\":8589934592},"
         "{\"name\":\"NPU\"}]'\n";
  ::chmod(path.c_str(), 0700);
  Accelerators all(std::nullopt, path.string());
  all.Find();
  auto first = all.Take({96, 8 * kGiB});
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first->engine_device, "GPU.0");
  EXPECT_FALSE(first->emulated);
  EXPECT_EQ(first->shape, (GpuShape{0, 96, 8 * kGiB}));
  auto second = all.Take({});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->engine_device, "NPU");
  EXPECT_EQ(second->shape.device, 1);
  EXPECT_EQ(second->shape.cores, 1);  // of 4: its driver tells none
  EXPECT_EQ(all.Take({96, kGiB}).status().code(), Code::kUnavailable);
  EXPECT_EQ(all.Take({97, kGiB}).status().code(), Code::kInvalidArgument);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace evenkeel
