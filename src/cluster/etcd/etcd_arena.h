// A StoreArena over a real etcd process of this machine, each node's connection through a relay of its own.
#pragma once

#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "cluster/etcd/etcd_client.h"
#include "cluster/etcd/etcd_process.h"
#include "cluster/etcd/etcd_store.h"
#include "cluster/etcd/test_relay.h"
#include "cluster/kv_store_contract.h"
#include "core/check.h"
#include "net/io_loop.h"

namespace evenkeel {

inline int FreePort() {
  int port = 0;
  ::close(BoundSocket(&port));
  return port;
}

// A folder of the test's own, removed with it: in memory where there is enough, for a store whose disk is busy with other tests may miss its clients' deadlines.
class ScratchFolder {
 public:
  ScratchFolder() {
    constexpr uintmax_t kEnough = uintmax_t{1} << 30;  // a member takes 128 MiB at once
    std::error_code none;
    const auto memory = std::filesystem::space("/dev/shm", none);
    const auto folder = !none && memory.available >= kEnough
                            ? std::filesystem::path("/dev/shm")
                            : std::filesystem::temp_directory_path();
    std::string name = (folder / "ek-etcd-XXXXXX").string();
    EK_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class EtcdArena : public StoreArena {
 public:
  EtcdArena() {
    auto loop = IoLoop::Create("test-loop");
    EK_CHECK(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    options_.data = folder_ / "data";
    options_.name = "m1";
    options_.token = "test";
    options_.heartbeat = std::chrono::milliseconds(50);
    options_.election = std::chrono::milliseconds(500);
    // The port may be taken by somebody else in between.
    for (int i = 0; i < 5 && !answers_; ++i) {
      StopProcess();
      options_.client_port = FreePort();
      options_.peer_port = FreePort();
      StartProcess();
    }
    EXPECT_TRUE(answers_) << "etcd does not answer: " << why_;
    EK_CHECK(answers_);  // a test without it would say nothing
  }
  ~EtcdArena() override {
    OnLoop([this] {
      admin_.reset();
      process_.reset();
      alarm_.reset();
    });
    loop_->Stop();
    loop_->Join();
  }

  EventLoop& loop() override { return *loop_; }
  const Clock& clock() override { return SteadyClock::Instance(); }
  Duration ttl() const override { return std::chrono::seconds(3); }

  std::unique_ptr<KvStore> Connect(const std::string& node) override {
    EtcdStoreOptions options;
    options.endpoints = {RelayOf(node).endpoint()};
    options.credentials = grpc::InsecureChannelCredentials();
    auto store = MakeEtcdStore(options, *loop_);
    EK_CHECK(store.ok());
    return std::move(*store);
  }

  void OnLoop(std::function<void()> task) override {
    if (loop_->InLoopThread()) return task();
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  bool Eventually(const std::function<bool()>& condition, Duration within) override {
    const Time end = clock().Now() + within;
    while (!condition()) {
      if (clock().Now() > end) return condition();
      std::this_thread::sleep_for(
          std::chrono::milliseconds(5));  // another process: no manual clock
    }
    return true;
  }
  void Pass(Duration time) override { std::this_thread::sleep_for(time); }

  void Cut(const std::string& node) override { RelayOf(node).Cut(); }
  void Heal(const std::string& node) override { RelayOf(node).Heal(); }
  void Slow(const std::string& node, Duration by) override { RelayOf(node).SlowAnswers(by); }
  void Stall(Duration by) override {
    OnLoop([this, by] {
      const pid_t pid = process_->pid();
      ::kill(pid, SIGSTOP);
      alarm_ = loop_->MakeAlarm([this, pid] {
        if (process_ != nullptr && process_->pid() == pid) ::kill(pid, SIGCONT);
      });
      alarm_->Set(clock().Now() + by);
    });
  }
  void KillAndStart() override {
    int before = 0;
    OnLoop([&] {
      before = process_->restarts();
      ::kill(process_->pid(), SIGKILL);
    });
    EXPECT_TRUE(Eventually(
        [&] {
          int now = 0;
          OnLoop([&] { now = process_->restarts(); });
          return now > before;
        },
        std::chrono::seconds(20)));
  }
  void Compact() override {
    etcdserverpb::RangeRequest any;
    any.set_key("x");
    etcdserverpb::CompactionRequest request;
    request.set_revision(Admin<etcdserverpb::RangeResponse>([&](EtcdClient& client, auto done) {
                           client.Range(any, std::move(done));
                         })
                             ->header()
                             .revision());
    request.set_physical(true);
    const auto compacted = Admin<etcdserverpb::CompactionResponse>(
        [&](EtcdClient& client, auto done) { client.Compact(request, std::move(done)); });
    EXPECT_TRUE(compacted.ok()) << compacted.status().ToString();
  }
  void EndLeases(const std::string& key_suffix) override {
    etcdserverpb::RangeRequest all;
    all.set_key("/");
    all.set_range_end("0");
    const auto keys = Admin<etcdserverpb::RangeResponse>(
        [&](EtcdClient& client, auto done) { client.Range(all, std::move(done)); });
    ASSERT_TRUE(keys.ok()) << keys.status().ToString();
    for (const auto& key : keys->kvs()) {
      if (key.lease() == 0 || !key.key().ends_with(key_suffix)) continue;
      etcdserverpb::LeaseRevokeRequest request;
      request.set_id(key.lease());
      const auto revoked = Admin<etcdserverpb::LeaseRevokeResponse>(
          [&](EtcdClient& client, auto done) { client.LeaseRevoke(request, std::move(done)); });
      EXPECT_TRUE(revoked.ok()) << revoked.status().ToString();
    }
  }
  // A copy of the folder while nobody writes: what an operator's backup may be.
  void Save() override {
    StopProcess();
    std::filesystem::copy(options_.data, folder_ / "saved",
                          std::filesystem::copy_options::recursive);
    StartProcess();
    EXPECT_TRUE(answers_) << why_;
  }
  void Restore() override {
    StopProcess();
    std::filesystem::remove_all(options_.data);
    std::filesystem::copy(folder_ / "saved", options_.data,
                          std::filesystem::copy_options::recursive);
    StartProcess();
    EXPECT_TRUE(answers_) << why_;
  }

  const EtcdProcessOptions& options() const { return options_; }
  EtcdProcess& process() { return *process_; }
  TestRelay& RelayOf(const std::string& node) {
    auto& relay = relays_[node];
    if (relay == nullptr) relay = std::make_unique<TestRelay>(options_.client_port);
    return *relay;
  }
  std::string scratch(const std::string& name) const { return folder_ / name; }

  // What etcd itself answers, not through a relay.
  template <typename T>
  Result<T> Admin(const std::function<void(EtcdClient&, EtcdClient::Done<T>)>& start) {
    std::promise<Result<T>> answer;
    OnLoop([&] { start(*admin_, [&answer](Result<T> result) { answer.set_value(result); }); });
    return answer.get_future().get();
  }

 private:
  void StartProcess() {
    OnLoop([this] {
      auto started = EtcdProcess::Start(options_, *loop_, SteadyClock::Instance());
      why_ = started.status().ToString();
      if (!started.ok()) return;
      process_ = std::move(*started);
      EtcdClientOptions options;
      options.endpoints = {EtcdEndpoint(options_)};
      options.credentials = grpc::InsecureChannelCredentials();
      admin_ = std::make_unique<EtcdClient>(options, *loop_);
    });
    etcdserverpb::RangeRequest any;
    any.set_key("x");
    answers_ = process_ != nullptr && Eventually(
                                          [&] {
                                            const auto got = Admin<etcdserverpb::RangeResponse>(
                                                [&](EtcdClient& client, auto done) {
                                                  client.Range(any, std::move(done));
                                                });
                                            why_ = got.status().ToString();
                                            return got.ok();
                                          },
                                          std::chrono::seconds(15));
  }
  void StopProcess() {
    if (process_ == nullptr) return;
    std::promise<void> ended;
    OnLoop([&] {
      admin_.reset();
      process_->Stop(std::chrono::seconds(5), [&ended] { ended.set_value(); });
    });
    ended.get_future().wait();
    OnLoop([this] { process_.reset(); });
  }

  ScratchFolder folder_;
  std::unique_ptr<IoLoop> loop_;
  EtcdProcessOptions options_;
  bool answers_ = false;
  std::string why_;
  std::map<std::string, std::unique_ptr<TestRelay>> relays_;
  std::unique_ptr<EtcdProcess> process_;
  std::unique_ptr<EtcdClient> admin_;
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace evenkeel
