#include "containers/device_shares.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace evenkeel {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

TEST(DeviceSharesTest, AShareIsTakenAndGoesBackWithItsHolder) {
  DeviceShares shares("the device", {16, 4 * kGiB});
  {
    auto half = shares.Take({8, 2 * kGiB});
    ASSERT_TRUE(half.ok());
    DeviceShare moved = std::move(*half);
    EXPECT_FALSE(*half);
    EXPECT_EQ(shares.taken(), (DeviceSize{8, 2 * kGiB}));
    auto more = shares.Take({9, kGiB});
    EXPECT_EQ(more.status().code(), Code::kUnavailable);
    EXPECT_NE(more.status().message().find("8c/2GiB left of 16c/4GiB"), std::string::npos)
        << more.status().message();
    moved.Release();
    moved.Release();
    EXPECT_EQ(shares.taken(), (DeviceSize{0, 0}));
  }
  EXPECT_EQ(shares.taken(), (DeviceSize{0, 0}));
  EXPECT_TRUE(shares.Take({16, 4 * kGiB}).ok());
}

TEST(DeviceSharesTest, MoreThanTheDeviceIsRefusedForGood) {
  DeviceShares shares("the device", {16, 4 * kGiB});
  EXPECT_EQ(shares.Take({17, kGiB}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(shares.Take({1, 5 * kGiB}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(shares.Take({0, kGiB}).status().code(), Code::kInvalidArgument);
}

// Whatever is taken and given back in whatever order, the sum is that of the shares held, and never more than the device.
RC_GTEST_PROP(DeviceSharesTest, TheSumNeverExceedsTheDevice, ()) {
  const DeviceSize whole{*rc::gen::inRange(1, 64), *rc::gen::inRange<int64_t>(1, 64) * kGiB};
  DeviceShares shares("d", whole);
  std::vector<DeviceShare> held;
  const int steps = *rc::gen::inRange(1, 60);
  for (int i = 0; i < steps; ++i) {
    if (!held.empty() && *rc::gen::inRange(0, 3) == 0) {
      held.erase(held.begin() + *rc::gen::inRange<int>(0, static_cast<int>(held.size())));
    } else {
      auto share =
          shares.Take({*rc::gen::inRange(1, 40), *rc::gen::inRange<int64_t>(0, 40) * kGiB});
      if (share.ok()) held.push_back(std::move(*share));
    }
    DeviceSize sum;
    for (const DeviceShare& share : held) {
      sum.cores += share.size().cores;
      sum.memory_bytes += share.size().memory_bytes;
    }
    RC_ASSERT(shares.taken() == sum);
    RC_ASSERT(sum.cores <= whole.cores && sum.memory_bytes <= whole.memory_bytes);
  }
}

}  // namespace
}  // namespace evenkeel
