#include "server/lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

// Refuses once it has been told to drain, as a dispatcher does.
struct FakeVersion final : ServedModel {
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return name_; }
  const Signature& signature() const override { return signature_; }
  void Infer(InferCall* call) override {
    if (on_infer) on_infer();
    call->Done(draining ? Unavailable("unloaded") : Status::Ok(), {}, {});
    if (after_done) after_done();
  }
  void Cancel(InferCall*) override {}
  std::string name_ = "m";
  Signature signature_;
  std::atomic<bool> draining{false};
  std::function<void()> on_infer, after_done;
};

struct Call final : InferCall {
  void Done(const Status& s, std::span<const TensorView>, const Timings&) override {
    status = s;
    ++answers;
    if (on_done) on_done();
  }
  Status status;
  int answers = 0;
  std::function<void()> on_done;
};

class LeaseTest : public ::testing::Test {
 protected:
  std::shared_ptr<FakeVersion> version = std::make_shared<FakeVersion>();
  int ends = 0;
  std::shared_ptr<Tenure> tenure = std::make_shared<Tenure>([this] {
    ++ends;
    version->draining = true;
  });
};

TEST_F(LeaseTest, AReplacedVersionTakesTheCallOfWhoFoundItBefore) {
  auto lease = std::make_shared<Lease>(version, tenure);
  tenure.reset();  // replaced
  EXPECT_EQ(ends, 0);
  version->on_infer = [this] { EXPECT_EQ(ends, 0); };
  Call call;
  lease->Infer(&call);
  EXPECT_TRUE(call.status.ok());
  // However long the front end keeps the pointer for its answer.
  EXPECT_EQ(ends, 1);
}

TEST_F(LeaseTest, ATenureEndsWithItsOwnerWhileNobodyIsInBetween) {
  Call call;
  auto lease = std::make_shared<Lease>(version, tenure);
  lease->Infer(&call);
  EXPECT_EQ(ends, 0);
  tenure.reset();
  EXPECT_EQ(ends, 1);
}

TEST_F(LeaseTest, AFrontEndThatGivesUpBeforeTheCallLetsGo) {
  auto one = std::make_shared<Lease>(version, tenure);
  auto two = std::make_shared<Lease>(version, tenure);
  tenure.reset();
  one.reset();
  EXPECT_EQ(ends, 0);
  two.reset();
  EXPECT_EQ(ends, 1);
}

TEST_F(LeaseTest, TheVersionOutlivesACallThatIsAnsweredAndForgottenWithin) {
  auto own = std::make_shared<FakeVersion>();
  auto lease = std::make_shared<Lease>(own, tenure);
  tenure.reset();
  std::weak_ptr<FakeVersion> watch = own;
  own->after_done = [this, watch] {
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(ends, 0);
  };
  own.reset();
  Call call;
  call.on_done = [&lease] { lease.reset(); };
  Lease* raw = lease.get();
  raw->Infer(&call);
  EXPECT_EQ(call.answers, 1);
  EXPECT_EQ(ends, 1);
  EXPECT_TRUE(watch.expired());
}

TEST(LeaseRaceTest, NoCallIsRefusedWhileVersionsReplaceEachOther) {
  struct Served {
    std::shared_ptr<FakeVersion> version;
    std::shared_ptr<Tenure> tenure;
  };
  const auto make = [] {
    auto version = std::make_shared<FakeVersion>();
    return Served{version, std::make_shared<Tenure>([version] { version->draining = true; })};
  };
  std::mutex mutex;
  Served serving = make();
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0}, answered{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      while (!stop) {
        std::shared_ptr<Lease> lease;
        {
          const std::lock_guard lock(mutex);
          lease = std::make_shared<Lease>(serving.version, serving.tenure);
        }
        std::this_thread::yield();
        Call call;
        lease->Infer(&call);
        ++answered;
        if (!call.status.ok()) ++refused;
      }
    });
  }
  for (int i = 0; i < 2000 || answered < 1000; ++i) {
    Served next = make();
    {
      const std::lock_guard lock(mutex);
      std::swap(serving, next);
    }
    std::this_thread::yield();
  }
  stop = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(refused, 0);
}

}  // namespace
}  // namespace evenkeel
