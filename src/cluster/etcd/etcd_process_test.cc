#include "cluster/etcd/etcd_process.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "cluster/etcd/etcd_arena.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

EtcdProcessOptions Options() {
  EtcdProcessOptions options;
  options.data = "/var/lib/evenkeel/etcd";
  options.name = "m1";
  options.client_port = 8004;
  options.peer_port = 8005;
  options.token = "c1";
  return options;
}

bool Has(const std::vector<std::string>& arguments, const std::string& one) {
  return std::ranges::find(arguments, one) != arguments.end();
}

TEST(EtcdArgumentsTest, OneMemberAloneOnLoopback) {
  const auto arguments = EtcdArguments(Options());
  for (const char* const expected :
       {"--name=m1", "--data-dir=/var/lib/evenkeel/etcd",
        "--listen-client-urls=http://127.0.0.1:8004", "--listen-peer-urls=http://127.0.0.1:8005",
        "--initial-cluster=m1=http://127.0.0.1:8005", "--initial-cluster-state=new",
        "--initial-cluster-token=c1", "--quota-backend-bytes=268435456",
        "--auto-compaction-mode=periodic", "--auto-compaction-retention=10m"})
    EXPECT_TRUE(Has(arguments, expected)) << expected;
  for (const std::string& argument : arguments)
    EXPECT_EQ(argument.find("cert"), std::string::npos) << argument;
}

TEST(EtcdArgumentsTest, OneOfThreeWithCertificates) {
  EtcdProcessOptions options = Options();
  options.address = "fd00::1";
  options.tls = EtcdFiles{"/s/node.pem", "/s/node.key", "/s/ca.pem"};
  options.members = {{"m0", "https://10.0.0.1:8005"}, {"m1", "https://[fd00::1]:8005"}};
  options.join_existing = true;
  ASSERT_TRUE(CheckEtcdOptions(options).ok()) << CheckEtcdOptions(options).ToString();
  const auto arguments = EtcdArguments(options);
  for (const char* const expected :
       {"--listen-client-urls=https://[fd00::1]:8004",
        "--initial-cluster=m0=https://10.0.0.1:8005,m1=https://[fd00::1]:8005",
        "--initial-cluster-state=existing", "--cert-file=/s/node.pem", "--client-cert-auth=true",
        "--peer-key-file=/s/node.key", "--peer-trusted-ca-file=/s/ca.pem",
        "--peer-client-cert-auth=true"})
    EXPECT_TRUE(Has(arguments, expected)) << expected;
  EXPECT_EQ(EtcdEndpoint(options), "[fd00::1]:8004");
}

TEST(EtcdOptionsTest, WhatCannotBeIsRefusedByName) {
  EXPECT_TRUE(CheckEtcdOptions(Options()).ok());
  const auto refused = [](auto change, const char* named) {
    EtcdProcessOptions options = Options();
    change(options);
    const Status status = CheckEtcdOptions(options);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << named;
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  refused([](auto& o) { o.data = "relative"; }, "data");
  refused([](auto& o) { o.name = "a=b"; }, "name");
  refused([](auto& o) { o.token = ""; }, "token");
  refused([](auto& o) { o.address = "localhost"; }, "address");
  refused([](auto& o) { o.client_port = 0; }, "ports");
  refused([](auto& o) { o.peer_port = o.client_port; }, "ports");
  refused([](auto& o) { o.quota_bytes = 1; }, "quota");
  refused([](auto& o) { o.compact_after = 1s; }, "compact_after");
  refused([](auto& o) { o.election = o.heartbeat; }, "election");
  refused([](auto& o) { o.members = {{"m0", "http://10.0.0.1:1"}}; }, "members");
  refused([](auto& o) { o.members = {{"m1", "http://10.0.0.1:1,m2=http://evil"}}; }, "members");
}

TEST(EtcdProgramTest, IsFoundAndSaysItsVersion) {
  const auto program = FindEtcd();
  ASSERT_TRUE(program.ok()) << program.status().ToString();
  const auto version = VersionOfEtcd(*program);
  ASSERT_TRUE(version.ok()) << version.status().ToString();
  EXPECT_TRUE(version->starts_with("3.")) << *version;
}

TEST(EtcdProgramTest, AnotherProgramOrVersionIsRefused) {
  EXPECT_EQ(VersionOfEtcd("/no/such/etcd").status().code(), Code::kUnavailable);
  EXPECT_EQ(VersionOfEtcd("/bin/true").status().code(), Code::kUnavailable);
  const ScratchFolder folder;
  const std::string script = folder / "etcd";
  {
    std::ofstream file(script);
    file << "#!/bin/sh\necho 'etcd Version: 3.3.27'\necho 'Git SHA: 0'\n";
  }
  ASSERT_EQ(::chmod(script.c_str(), 0700), 0);
  const auto version = VersionOfEtcd(script);
  EXPECT_EQ(version.status().code(), Code::kUnsupported);
  EXPECT_NE(version.status().message().find("3.3.27"), std::string::npos);
}

TEST(EtcdProcessTest, KeepsItsDataPrivateAndIsGoneWithItsOwner) {
  pid_t pid = 0;
  {
    EtcdArena arena;
    arena.OnLoop([&] { pid = arena.process().pid(); });
    struct stat facts {};
    ASSERT_EQ(::stat(arena.options().data.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0700U);
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);  // reaped
}

TEST(EtcdProcessTest, StopEndsItInOrderAndItStaysDown) {
  EtcdArena arena;
  std::promise<void> ended;
  arena.OnLoop([&] { arena.process().Stop(10s, [&] { ended.set_value(); }); });
  ended.get_future().wait();
  arena.OnLoop([&] {
    EXPECT_FALSE(arena.process().running());
    EXPECT_EQ(arena.process().last_end().find("Killed"), std::string::npos)
        << arena.process().last_end();
  });
  arena.Pass(300ms);
  arena.OnLoop([&] { EXPECT_EQ(arena.process().restarts(), 0); });
}

// Its port is taken: it ends, and is tried again with pauses, until the port is free.
TEST(EtcdProcessTest, IsStartedAgainWithPausesUntilItCanRun) {
  EtcdArena arena;  // its loop
  int port = 0;
  const int taken = BoundSocket(&port);
  ASSERT_EQ(::listen(taken, 1), 0);
  EtcdProcessOptions options = arena.options();
  options.data = arena.scratch("other");
  options.client_port = port;
  options.peer_port = FreePort();
  std::unique_ptr<EtcdProcess> process;
  arena.OnLoop([&] {
    auto started = EtcdProcess::Start(options, arena.loop(), arena.clock());
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    process = std::move(*started);
  });
  const auto get = [&](const std::function<bool()>& condition) {
    return arena.Eventually(
        [&] {
          bool holds = false;
          arena.OnLoop([&] { holds = condition(); });
          return holds;
        },
        30s);
  };
  EXPECT_TRUE(get([&] { return process->restarts() >= 3; }));
  arena.OnLoop([&] { EXPECT_NE(process->last_end().find("exit"), std::string::npos); });
  ::close(taken);
  int at = -1;
  Time since{};
  EXPECT_TRUE(get([&] {
    // Runs for longer than it takes to fail.
    if (process->restarts() != at || !process->running()) {
      at = process->restarts();
      since = arena.clock().Now();
    }
    return arena.clock().Now() - since > 3s;
  }));
  arena.OnLoop([&] { process.reset(); });
}

}  // namespace
}  // namespace evenkeel
