#include "containers/node_cores.h"

#include <gtest/gtest.h>

#include <string>

#include "containers/fake_cgroup_v2.h"

namespace evenkeel {
namespace {

TEST(NodeCoresTest, TheTightestQuotaAboveBinds) {
  FakeCgroupV2 kernel("/cg");
  kernel.Allow("/cg");
  ASSERT_TRUE(kernel.MakeFolder("/cg/svc").ok());
  kernel.Allow("/cg/svc");
  ASSERT_TRUE(kernel.MakeFolder("/cg/svc/inner").ok());
  const auto host = CgroupHost::FromText("30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
                                         "0::/svc/inner\n", 1, kernel);
  ASSERT_TRUE(host.ok()) << host.status().ToString();
  const auto quota = [&](std::string outer, std::string inner) {
    kernel.Set("/cg/svc/cpu.max", std::move(outer));
    kernel.Set("/cg/svc/inner/cpu.max", std::move(inner));
    return CoreQuota(*host);
  };
  EXPECT_FALSE(quota("max 100000", "max 10000"));
  EXPECT_EQ(quota("150000 100000", "max 10000"), 1.5);
  EXPECT_EQ(quota("150000 100000", "2500 10000"), 0.25);
  EXPECT_EQ(quota("max 100000", "20000 10000"), 2.0);
  for (const char* unreadable : {"", "max", "garbage", "100 0", "0 100", "-1 100"})
    EXPECT_FALSE(quota("max 100000", unreadable)) << unreadable;
}

TEST(NodeCoresTest, VersionOneSaysNoneByMinusOne) {
  class Files final : public CgroupFiles {
   public:
    std::string quota = "-1";
    Result<std::string> Read(const std::string& path) const override {
      if (path == "/c/cpu/me/cpu.cfs_quota_us") return quota;
      if (path == "/c/cpu/me/cpu.cfs_period_us") return std::string("10000");
      return NotFound("reading {}", path);
    }
    Status Write(const std::string&, std::string_view) const override { return Status::Ok(); }
    bool Exists(const std::string& path) const override { return path.starts_with("/c/cpu/me"); }
    bool Writable(const std::string&) const override { return false; }
    Status MakeFolder(const std::string&) const override { return Status::Ok(); }
    Status RemoveFolder(const std::string&) const override { return Status::Ok(); }
  } kernel;
  const auto host = CgroupHost::FromText("30 23 0:26 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
                                         "4:cpu,cpuacct:/me\n", 1, kernel);
  ASSERT_TRUE(host.ok()) << host.status().ToString();
  EXPECT_FALSE(CoreQuota(*host));
  kernel.quota = "5000";
  EXPECT_EQ(CoreQuota(*host), 0.5);
}

}  // namespace
}  // namespace evenkeel
