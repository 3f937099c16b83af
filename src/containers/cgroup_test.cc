// Control groups on pretended kernels: where the daemon stands, what is written, what is read. On the real one: oci_test.cc.
#include "containers/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "containers/fake_cgroup_v2.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kSelf = 4711;
constexpr const char* kMountV2 = "30 1 0:26 / /cg rw - cgroup2 cgroup2 rw,nsdelegate\n";

CgroupHost HostOn(const FakeCgroupV2& kernel, const std::string& own) {
  auto host = CgroupHost::FromText(kMountV2, "0::" + own + "\n", kSelf, kernel);
  EXPECT_TRUE(host.ok()) << host.status().ToString();
  return std::move(host).value();
}

// A service's group to which systemd handed the controllers, with the daemon in it.
FakeCgroupV2 Delegated() {
  FakeCgroupV2 kernel("/cg");
  EXPECT_TRUE(kernel.MakeFolder("/cg/svc").ok());
  kernel.Allow("/cg");
  kernel.Put("/cg/svc", kSelf);
  return kernel;
}

TEST(CgroupV2Test, MovesTheDaemonAsideAndHandsControllersOn) {
  const FakeCgroupV2 kernel = Delegated();
  const CgroupHost host = HostOn(kernel, "/svc");
  EXPECT_EQ(host.version(), 2);
  EXPECT_EQ(host.OwnFolder("memory"), "/cg/svc");
  ASSERT_TRUE(host.CheckUsable().ok());
  EXPECT_THAT(kernel.Procs("/cg/svc"), ElementsAre(kSelf)) << "a check changed something";
  const Status prepared = host.Prepare("0badcafe");
  ASSERT_TRUE(prepared.ok()) << prepared.ToString();
  EXPECT_THAT(kernel.Procs("/cg/svc"), IsEmpty());
  EXPECT_THAT(kernel.Procs("/cg/svc/evenkeel-daemon-0badcafe"), ElementsAre(kSelf));
  EXPECT_TRUE(host.Prepare("0badcafe").ok()) << "a second time";
  const CgroupHost moved = HostOn(kernel, "/svc/evenkeel-daemon-0badcafe");
  EXPECT_EQ(moved.OwnFolder(""), "/cg/svc") << "where it stood before it moved itself";
  EXPECT_TRUE(moved.Prepare("0badcafe").ok());
  EXPECT_THAT(kernel.Procs("/cg/svc/evenkeel-daemon-0badcafe"), ElementsAre(kSelf));
}

TEST(CgroupV2Test, SetsEveryLimitOfAFraction) {
  const FakeCgroupV2 kernel = Delegated();
  const CgroupHost host = HostOn(kernel, "/svc");
  ASSERT_TRUE(host.Prepare("l").ok());
  const Cgroup group(host, CgroupBase("l") + "/w0");
  const auto shape = ParseWorkerShape("0.5c/256MiB");
  const Status made = group.Create(LimitsOf(*shape, {0, 2}, false));
  ASSERT_TRUE(made.ok()) << made.ToString();
  const std::string folder = "/cg/svc/evenkeel-l/w0/";
  EXPECT_EQ(kernel.Value(folder + "cpu.max"), "5000 10000");
  EXPECT_EQ(kernel.Value(folder + "cpu.weight"), "50");
  EXPECT_EQ(kernel.Value(folder + "cpuset.cpus"), "0,2");
  EXPECT_EQ(kernel.Value(folder + "memory.max"), "268435456");
  EXPECT_EQ(kernel.Value(folder + "memory.swap.max"), "0");
  EXPECT_EQ(kernel.Value(folder + "memory.oom.group"), "1");
  EXPECT_EQ(kernel.Value(folder + "pids.max"), "512");
  EXPECT_THAT(group.JoinFiles(), ElementsAre(folder + "cgroup.procs"));
  EXPECT_EQ(host.RuncPath(group.name()), "/svc/evenkeel-l/w0");
  EXPECT_TRUE(group.Remove(0).ok());
  EXPECT_FALSE(kernel.Has("/cg/svc/evenkeel-l/w0"));
  EXPECT_TRUE(group.Remove(0).ok()) << "one that is gone";
}

TEST(CgroupV2Test, WholeCoresAreHeldByWeightUnlessACapIsAsked) {
  const FakeCgroupV2 kernel = Delegated();
  const CgroupHost host = HostOn(kernel, "/svc");
  ASSERT_TRUE(host.Prepare("l").ok());
  const auto shape = ParseWorkerShape("2c/256MiB");
  ASSERT_TRUE(Cgroup(host, "evenkeel-l/a").Create(LimitsOf(*shape, {}, false)).ok());
  EXPECT_EQ(kernel.Value("/cg/svc/evenkeel-l/a/cpu.max"), "");
  EXPECT_EQ(kernel.Value("/cg/svc/evenkeel-l/a/cpu.weight"), "200");
  ASSERT_TRUE(Cgroup(host, "evenkeel-l/b").Create(LimitsOf(*shape, {}, true)).ok());
  EXPECT_EQ(kernel.Value("/cg/svc/evenkeel-l/b/cpu.max"), "20000 10000");
}

TEST(CgroupV2Test, AnotherShapeIsSetAndMemoryInUseIsNotTaken) {
  FakeCgroupV2 kernel = Delegated();
  const CgroupHost host = HostOn(kernel, "/svc");
  ASSERT_TRUE(host.Prepare("l").ok());
  const Cgroup group(host, "evenkeel-l/w");
  Limits limits = LimitsOf(*ParseWorkerShape("0.5c/256MiB"), {1}, false);
  limits.background = true;
  ASSERT_TRUE(group.Create(limits).ok());
  const std::string folder = "/cg/svc/evenkeel-l/w/";
  kernel.Set(folder + "memory.current", std::to_string(200 << 20));
  const auto to = [&](const char* shape) {
    limits = LimitsFor(limits, *ParseWorkerShape(shape), false);
    return group.Adjust(limits);
  };
  ASSERT_TRUE(to("4c/512MiB").ok());
  EXPECT_EQ(kernel.Value(folder + "cpu.max"), "max 10000") << "whole cores have no quota";
  EXPECT_EQ(kernel.Value(folder + "cpu.weight"), "20") << "in the background still";
  EXPECT_EQ(kernel.Value(folder + "memory.max"), std::to_string(512 << 20));
  EXPECT_EQ(kernel.Value(folder + "cpuset.cpus"), "1");
  const Status less = to("1c/128MiB");
  EXPECT_EQ(less.code(), Code::kConflict);
  EXPECT_EQ(less.message(), "it uses 200MiB of memory, and cannot be held to 128MiB");
  EXPECT_EQ(kernel.Value(folder + "memory.max"), std::to_string(512 << 20));
  EXPECT_EQ(kernel.Value(folder + "cpu.weight"), "20");
  ASSERT_TRUE(to("0.5c/256MiB").ok());
  EXPECT_EQ(kernel.Value(folder + "cpu.max"), "5000 10000");
  EXPECT_EQ(kernel.Value(folder + "memory.max"), std::to_string(256 << 20));
}

TEST(CgroupV2Test, ReadsWhatWasUsed) {
  FakeCgroupV2 kernel = Delegated();
  const CgroupHost host = HostOn(kernel, "/svc");
  ASSERT_TRUE(host.Prepare("l").ok());
  const Cgroup group(host, "evenkeel-l/w");
  ASSERT_TRUE(group.Create({}).ok());
  const std::string folder = "/cg/svc/evenkeel-l/w/";
  kernel.Set(folder + "cpu.stat",
             "usage_usec 2500000\nuser_usec 2\nsystem_usec 1\nnr_periods 40\nnr_throttled 7\n"
             "throttled_usec 31000");
  kernel.Set(folder + "memory.current", "1048576");
  kernel.Set(folder + "memory.peak", "2097152");
  kernel.Set(folder + "memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 1");
  const WorkerUsage usage = group.Usage();
  EXPECT_DOUBLE_EQ(usage.cpu_s.value(), 2.5);
  EXPECT_EQ(usage.periods, 40u);
  EXPECT_EQ(usage.throttled_periods, 7u);
  EXPECT_DOUBLE_EQ(usage.throttled_s.value(), 0.031);
  EXPECT_EQ(usage.memory_bytes, 1048576);
  EXPECT_EQ(usage.memory_peak_bytes, 2097152);
  EXPECT_EQ(usage.oom_kills, 2u);
}

TEST(CgroupV2Test, SaysWhyItCannotBeUsed) {
  FakeCgroupV2 shared = Delegated();
  shared.Put("/cg/svc", 99);
  EXPECT_THAT(HostOn(shared, "/svc").CheckUsable().message(), HasSubstr("process 99 is in"));
  EXPECT_FALSE(HostOn(shared, "/svc").Prepare("l").ok());
  EXPECT_THAT(shared.Procs("/cg/svc"), ElementsAre(99, kSelf)) << "it moved none";

  FakeCgroupV2 bare("/cg");
  ASSERT_TRUE(bare.MakeFolder("/cg/svc").ok());
  EXPECT_THAT(HostOn(bare, "/svc").CheckUsable().message(),
              HasSubstr("was not given the cpu controller"));

  FakeCgroupV2 locked = Delegated();
  locked.read_only = true;
  EXPECT_THAT(HostOn(locked, "/svc").CheckUsable().message(), HasSubstr("cannot be written to"));

  const auto none = CgroupHost::FromText("", "0::/\n", kSelf, bare);
  EXPECT_EQ(none.status().code(), Code::kUnavailable);
  EXPECT_THAT(none.status().message(), HasSubstr("no control groups are mounted"));
}

TEST(CgroupV2Test, LimitsOfGroupsAboveBind) {
  FakeCgroupV2 kernel = Delegated();
  ASSERT_TRUE(kernel.MakeFolder("/cg/svc/inner").ok());
  kernel.Allow("/cg/svc");
  kernel.Set("/cg/svc/memory.max", "104857600");
  kernel.Set("/cg/svc/inner/memory.max", "max");
  kernel.Set("/cg/svc/cpu.max", "50000 100000");
  kernel.Set("/cg/svc/inner/cpu.max", "max 100000");
  const HostCapacity capacity = HostOn(kernel, "/svc/inner").Capacity();
  EXPECT_EQ(capacity.memory_bytes, 104857600);
  EXPECT_EQ(capacity.milli_cores, 500);
}

// Version 1 as text: nothing is written here, the real thing is tested where it runs.
class Everything final : public CgroupFiles {
 public:
  Result<std::string> Read(const std::string& path) const override {
    return path == limit_path ? written[path] : std::string("0-1");
  }
  Status Write(const std::string& path, std::string_view text) const override {
    written[path] = text;
    order.push_back(path.substr(path.rfind('/') + 1));
    return Status::Ok();
  }
  bool Exists(const std::string& path) const override { return !path.ends_with("missing"); }
  bool Writable(const std::string&) const override { return true; }
  Status MakeFolder(const std::string&) const override { return Status::Ok(); }
  Status RemoveFolder(const std::string&) const override { return Status::Ok(); }
  mutable std::map<std::string, std::string> written;
  mutable std::vector<std::string> order;
  std::string limit_path;  // of memory: reads as it was written
};

constexpr const char* kMountsV1 =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 /pods/p1 /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n"
    "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "broken line\n";
constexpr const char* kOwnV1 =
    "5:cpu,cpuacct:/a\n4:cpuset:/pods/p1/x\n3:memory:/m/n\n2:pids:/\n1:name=systemd:/u\n0::/u\nx\n";

TEST(CgroupV1Test, FindsTheOwnFolderOfEachController) {
  const Everything files;
  const auto host = CgroupHost::FromText(kMountsV1, kOwnV1, kSelf, files);
  ASSERT_TRUE(host.ok());
  EXPECT_EQ(host->version(), 1);
  EXPECT_EQ(host->OwnFolder("cpu"), "/sys/fs/cgroup/cpu,cpuacct/a");
  EXPECT_EQ(host->OwnFolder("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/a");
  EXPECT_EQ(host->OwnFolder("cpuset"), "/sys/fs/cgroup/cpuset/x") << "the mount shows /pods/p1";
  EXPECT_EQ(host->OwnFolder("memory"), "/sys/fs/cgroup/memory/m/n");
  EXPECT_EQ(host->OwnFolder("pids"), "/sys/fs/cgroup/pids");
  EXPECT_EQ(host->OwnFolders().size(), 6u) << "with systemd's and the unified one";
  EXPECT_EQ(host->RuncPath("evenkeel-l/w"), "evenkeel-l/w");
}

TEST(CgroupV1Test, SetsEveryLimitOfAFraction) {
  const Everything files;
  const auto host = CgroupHost::FromText(kMountsV1, kOwnV1, kSelf, files);
  ASSERT_TRUE(host.ok());
  ASSERT_TRUE(host->Prepare("l").ok());
  const auto shape = ParseWorkerShape("1.5c/64MiB");
  ASSERT_TRUE(Cgroup(*host, "evenkeel-l/w").Create(LimitsOf(*shape, {}, false)).ok());
  const std::string cpu = "/sys/fs/cgroup/cpu,cpuacct/a/evenkeel-l/w/";
  const std::string memory = "/sys/fs/cgroup/memory/m/n/evenkeel-l/w/";
  EXPECT_EQ(files.written[cpu + "cpu.cfs_period_us"], "10000");
  EXPECT_EQ(files.written[cpu + "cpu.cfs_quota_us"], "15000");
  EXPECT_EQ(files.written[cpu + "cpu.shares"], "1536");
  EXPECT_EQ(files.written[memory + "memory.limit_in_bytes"], "67108864");
  EXPECT_EQ(files.written[memory + "memory.memsw.limit_in_bytes"], "67108864");
  EXPECT_EQ(files.written["/sys/fs/cgroup/cpuset/x/evenkeel-l/w/cpuset.cpus"], "0-1");
  EXPECT_EQ(files.written["/sys/fs/cgroup/pids/evenkeel-l/w/pids.max"], "512");
}

// With swap never less than without, at no moment: the kernel refuses the other order.
TEST(CgroupV1Test, MemoryGrowsAndShrinksInTheOrderThatTheKernelWants) {
  Everything files;
  const auto host = CgroupHost::FromText(kMountsV1, kOwnV1, kSelf, files);
  ASSERT_TRUE(host.ok());
  ASSERT_TRUE(host->Prepare("l").ok());
  const Cgroup group(*host, "evenkeel-l/w");
  Limits limits = LimitsOf(*ParseWorkerShape("0.5c/256MiB"), {}, false);
  ASSERT_TRUE(group.Create(limits).ok());
  files.limit_path = "/sys/fs/cgroup/memory/m/n/evenkeel-l/w/memory.limit_in_bytes";
  const auto memory_writes = [&](const char* shape) {
    files.order.clear();
    limits = LimitsFor(limits, *ParseWorkerShape(shape), false);
    EXPECT_TRUE(group.Adjust(limits).ok());
    std::erase_if(files.order, [](const std::string& name) { return !name.starts_with("memory"); });
    return files.order;
  };
  EXPECT_THAT(memory_writes("2c/512MiB"),
              ElementsAre("memory.memsw.limit_in_bytes", "memory.limit_in_bytes"));
  EXPECT_EQ(files.written[files.limit_path], std::to_string(512 << 20));
  const std::string cpu = "/sys/fs/cgroup/cpu,cpuacct/a/evenkeel-l/w/";
  EXPECT_EQ(files.written[cpu + "cpu.shares"], "2048");
  EXPECT_EQ(files.written[cpu + "cpu.cfs_quota_us"], "-1") << "whole cores have no quota";
  EXPECT_THAT(memory_writes("0.5c/128MiB"),
              ElementsAre("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"));
  EXPECT_EQ(files.written[cpu + "cpu.cfs_quota_us"], "5000");
}

TEST(CgroupV1Test, MissingControllersAreNamed) {
  const Everything files;
  const auto host = CgroupHost::FromText("32 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n",
                                         "5:cpu:/\n", kSelf, files);
  ASSERT_TRUE(host.ok());
  EXPECT_THAT(host->CheckUsable().message(), HasSubstr("the cpuset controller"));
  EXPECT_EQ(host->Prepare("l").code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
