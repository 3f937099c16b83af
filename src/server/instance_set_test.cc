#include "server/instance_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "batching/fake_call.h"
#include "batching/fake_channel.h"
#include "core/fake_event_loop.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// A worker that the test plays: it loads, answers and ends when it is told to.
class FakeWorker final : public InstanceWorker {
 public:
  FakeWorker(WorkerEvents worker_events, int number)
      : events(std::move(worker_events)), number_(number) {}
  pid_t pid() const override { return 1000 + number_; }
  ipc::Channel* channel() override { return &fake; }
  void Kill(std::string why) override {
    if (killed.empty()) killed = std::move(why);
  }

  WorkerEvents events;
  FakeChannel fake;
  std::string killed;
  bool loaded = false;

 private:
  int number_;
};

class InstanceSetTest : public ::testing::Test, protected InstanceSet::Owner {
 protected:
  Result<std::unique_ptr<InstanceWorker>> StartWorker(int id, const InstanceForm& form,
                                                      WorkerEvents events) override {
    started.push_back(form.why);
    if (!may_start.ok()) return may_start;
    auto worker = std::make_unique<FakeWorker>(std::move(events), static_cast<int>(started.size()));
    workers[id] = worker.get();
    return std::unique_ptr<InstanceWorker>(std::move(worker));
  }
  Dispatcher* OnLoaded(LoadedModel /*loaded*/) override {
    if (dispatcher == nullptr) {
      DispatcherOptions options;
      options.model = "m";
      options.signature = FakeCall::ModelSignature(4);
      options.objective = 50ms;
      options.input_capacity = 1 << 16;
      options.on_warm = [this](int id, const Status&) { set.OnWarm(id); };
      options.on_hang = [this](int id) { set.OnHang(id); };
      dispatcher = std::make_unique<Dispatcher>(std::move(options), loop, clock);
    }
    return dispatcher.get();
  }
  void OnReady(int /*id*/) override { ++ready; }
  void OnTrouble(const InstanceTrouble& one) override { troubles.push_back(one); }

  void TearDown() override {
    if (dispatcher != nullptr) {
      bool drained = false;
      dispatcher->Drain([&] { drained = true; });
      for (int i = 0; i < 100 && !drained; ++i) Play();
      EXPECT_TRUE(drained);
    }
    set.End();
    loop.RunPosted();
  }

  // Workers load, run what they were given, and end if they were killed, until nothing is left to be done.
  void Play() {
    for (int round = 0; round < 200; ++round) {
      loop.RunPosted();
      bool idle = true;
      for (const auto& [id, worker] : std::map(workers)) idle = !Step(id, worker) && idle;
      if (idle) return;
    }
    FAIL() << "it never ends";
  }
  bool Step(int id, FakeWorker* worker) {
    if (!worker->killed.empty()) {
      End(id, worker->killed);
      return true;
    }
    if (!worker->loaded) return Load(id);
    if (worker->fake.submitted.empty()) return false;
    worker->fake.Finish(1ms, clock.Now());
    worker->events.readable();
    return true;
  }
  bool Load(int id) {
    FakeWorker* const worker = workers.at(id);
    worker->loaded = true;
    if (refuse.empty() || started.back() != refuse) {
      worker->events.loaded({});
    } else {
      worker->events.failed(InvalidArgument("refused"));
    }
    return true;
  }
  void End(int id, const std::string& how) {
    FakeWorker* const worker = workers.at(id);
    workers.erase(id);
    worker->events.ended(how);  // the set lets go of it in the next turn
  }
  static std::shared_ptr<const InstanceForm> Form(const std::string& name, int threads = 1) {
    auto form = std::make_shared<InstanceForm>();
    form->why = name;
    form->threads = threads;
    return form;
  }
  // Forms of the slots by state, as "a:ready b:starting".
  std::string Slots() const {
    std::string text;
    for (const auto& info : set.Infos())
      text += (text.empty() ? "" : " ") + info.form->why + ":" + info.state;
    return text;
  }
  std::unique_ptr<FakeCall> Send(float mark) {
    auto call = std::make_unique<FakeCall>(std::vector<float>{mark}, clock.Now());
    dispatcher->Infer(call.get());
    return call;
  }

  ManualClock clock;
  FakeEventLoop loop{clock};
  Status may_start;
  std::string refuse;                  // form whose workers refuse the model
  std::vector<std::string> started;    // forms, in order
  std::map<int, FakeWorker*> workers;  // that run, by slot
  std::vector<InstanceTrouble> troubles;
  int ready = 0;
  std::unique_ptr<Dispatcher> dispatcher;
  InstanceSet set{*this, "m", loop, clock};
};

TEST_F(InstanceSetTest, OthersStartOnceTheFirstHasShownThatTheModelLoads) {
  set.Start(Form("a"));
  set.SetWanted(3);
  EXPECT_EQ(Slots(), "a:starting");
  Load(0);
  EXPECT_EQ(set.count(), 1);
  Play();
  EXPECT_EQ(Slots(), "a:ready a:ready a:ready");
  EXPECT_EQ(ready, 3);
  EXPECT_EQ(set.up(), 3);
  EXPECT_EQ(set.starts(), 3u);
}

TEST_F(InstanceSetTest, OneThatNeverCameUpIsNotTriedWhileNoneIsWanted) {
  may_start = Unavailable("others have it");
  set.Start(Form("a"));
  EXPECT_EQ(troubles.size(), 1u);
  set.SetWanted(0);
  EXPECT_EQ(Slots(), "");
  clock.Advance(1min);
  Play();
  EXPECT_EQ(set.starts(), 1u);
  may_start = Status::Ok();
  set.SetWanted(2);
  EXPECT_EQ(Slots(), "a:starting");
  Play();
  EXPECT_EQ(Slots(), "a:ready a:ready");
}

TEST_F(InstanceSetTest, FewerAreWantedThenNoneThenSomeAgain) {
  set.Start(Form("a"));
  set.SetWanted(3);
  Play();
  set.SetWanted(1);
  EXPECT_EQ(Slots(), "a:ready a:ending a:ending");
  EXPECT_EQ(set.count(), 1);
  Play();
  EXPECT_EQ(Slots(), "a:ready");
  auto running = Send(1);
  set.SetWanted(0);
  auto waits = Send(2);
  EXPECT_EQ(Slots(), "a:ending");
  EXPECT_TRUE(workers.at(0)->killed.empty()) << "it still runs a batch";
  // Before the one that goes is gone.
  set.SetWanted(1);
  EXPECT_EQ(Slots(), "a:ending a:starting");
  Play();
  EXPECT_EQ(Slots(), "a:ready");
  EXPECT_TRUE(running->Right() && waits->Right());
  EXPECT_EQ(set.restarts(), 0u);
}

TEST_F(InstanceSetTest, OneThatDiesWhileItStartsIsStartedAgain) {
  set.Start(Form("a"));
  Play();
  set.SetWanted(2);
  EXPECT_EQ(Slots(), "a:ready a:starting");
  End(1, "signal 9 (Killed)");
  EXPECT_EQ(Slots(), "a:ready a:waiting to restart");
  ASSERT_EQ(troubles.size(), 1u);
  EXPECT_EQ(troubles[0].how, "signal 9 (Killed)");
  Play();
  EXPECT_EQ(Slots(), "a:ready a:ready");
  EXPECT_EQ(set.restarts(), 1u);
}

TEST_F(InstanceSetTest, CountsTheEndsThatWereForMemory) {
  set.Start(Form("a"));
  Play();
  End(0, "signal 9 (Killed)");
  Play();
  EXPECT_EQ(set.out_of_memory(), 0u);
  End(0, "signal 9 (Killed): out of memory, 64MiB allowed");
  Play();
  EXPECT_EQ(set.out_of_memory(), 1u);
  EXPECT_EQ(set.restarts(), 2u);
}

TEST_F(InstanceSetTest, OneThatIsNotWantedWhileItWaitsToRestartGoesAtOnce) {
  set.Start(Form("a"));
  Play();
  set.SetWanted(2);
  Play();
  for (int i = 0; i < 3; ++i) {  // the third time it waits
    End(1, "exit 1");
    loop.RunPosted();
  }
  ASSERT_EQ(Slots(), "a:ready a:waiting to restart");
  set.SetWanted(1);
  EXPECT_EQ(Slots(), "a:ready");
  clock.Advance(1min);
  Play();
  EXPECT_EQ(Slots(), "a:ready");
}

TEST_F(InstanceSetTest, AnotherFormTakesOverOneByOne) {
  set.Start(Form("a"));
  set.SetWanted(2);
  Play();
  bool adopted = false;
  auto form = std::make_shared<InstanceForm>(*Form("b", 2));
  form->times = {{1, 7ms, 8ms}, {4, 9ms, 10ms}};
  set.Adopt(form, [&](const Status& status) { adopted = status.ok(); });
  EXPECT_EQ(Slots(), "a:ready a:ready b:starting");
  // What serves is never fewer than before.
  for (int i = 0; i < 1000 && !adopted; ++i) {
    int up = 0;
    for (const auto& info : set.Infos()) up += info.state == "ready" ? 1 : 0;
    ASSERT_GE(up, 2);
    ASSERT_LE(set.count(), 3);
    loop.RunPosted();
    for (const auto& [id, worker] : std::map(workers)) Step(id, worker);
  }
  EXPECT_TRUE(adopted);
  Play();
  EXPECT_EQ(Slots(), "b:ready b:ready");
  EXPECT_EQ(dispatcher->Stats().times.Estimate(4), 9ms);
}

TEST_F(InstanceSetTest, RequestsAreAnsweredOnceWhileTheFormChanges) {
  set.Start(Form("a"));
  set.SetWanted(2);
  Play();
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int form = 0; form < 10; ++form) {
    set.Adopt(Form(std::to_string(form)), {});
    for (int i = 0; i < 40; ++i) {
      calls.push_back(Send(static_cast<float>(calls.size())));
      loop.RunPosted();
      for (const auto& [id, worker] : std::map(workers)) {
        if ((i + id) % 3 == 0) Step(id, worker);
      }
      if (i == 20 && !workers.empty()) End(workers.begin()->first, "signal 9 (Killed)");
    }
  }
  Play();
  EXPECT_EQ(Slots(), "9:ready 9:ready");
  for (const auto& call : calls) EXPECT_TRUE(call->Right()) << call->status.ToString();
}

TEST_F(InstanceSetTest, AFormThatCannotBeHadIsGivenUp) {
  for (const bool by_engine : {true, false}) {
    SCOPED_TRACE(by_engine);
    if (by_engine) {
      set.Start(Form("a"));
      Play();
    }
    refuse = by_engine ? "b" : "";
    may_start = by_engine ? Status::Ok() : Unavailable("no more processes");
    Status told;
    set.Adopt(Form("b"), [&](const Status& status) { told = status; });
    Play();
    EXPECT_FALSE(told.ok());
    EXPECT_EQ(Slots(), "a:ready");
    may_start = Status::Ok();
  }
  // Also one whose workers die while they load.
  Status told;
  set.Adopt(Form("c"), [&](const Status& status) { told = status; });
  for (int i = 0; i < RestartPolicy::kLoadAttempts; ++i) {
    ASSERT_EQ(workers.size(), 2u);
    End(workers.rbegin()->first, "signal 9 (Killed): out of memory");
    clock.Advance(1s);
    loop.RunPosted();
  }
  EXPECT_EQ(told.code(), Code::kUnavailable);
  EXPECT_NE(told.message().find("out of memory"), std::string::npos) << told.message();
  EXPECT_EQ(Slots(), "a:ready");
  set.SetWanted(2);
  Play();
  EXPECT_EQ(Slots(), "a:ready a:ready");
}

TEST_F(InstanceSetTest, AFormOfWhichThereCannotBeAsManyAsAreWantedIsGivenUp) {
  set.Start(Form("a"));
  set.SetWanted(2);
  Play();
  ASSERT_EQ(Slots(), "a:ready a:ready");
  std::vector<Status> told;
  set.Adopt(Form("b"), [&](const Status& status) { told.push_back(status); });
  Load(2);
  for (int i = 0; i < 100 && Slots().find("b:ready") == std::string::npos; ++i) {
    loop.RunPosted();
    for (const auto& [id, worker] : std::map(workers)) {
      if (worker->loaded) Step(id, worker);
    }
  }
  // One is exchanged; the next one's worker dies again and again.
  for (int i = 0; i < RestartPolicy::kLoadAttempts; ++i) {
    EXPECT_TRUE(told.empty());
    const auto at =
        std::ranges::find_if(workers, [](const auto& one) { return !one.second->loaded; });
    ASSERT_NE(at, workers.end());
    End(at->first, "signal 9 (Killed): out of memory");
    clock.Advance(1s);
    loop.RunPosted();
  }
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].code(), Code::kUnavailable);
  // What serves stays until its successor does.
  EXPECT_EQ(set.up(), 2);
  Play();
  EXPECT_EQ(Slots(), "a:ready a:ready");
  // The next exchange goes through.
  set.Adopt(Form("c"), [&](const Status& status) { told.push_back(status); });
  Play();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_TRUE(told[1].ok());
  EXPECT_EQ(Slots(), "c:ready c:ready");
}

TEST_F(InstanceSetTest, AFormAdoptedAtRestIsUsedByTheNextStart) {
  set.Start(Form("a"));
  Play();
  set.SetWanted(0);
  Play();
  EXPECT_EQ(Slots(), "");
  bool adopted = false;
  set.Adopt(Form("b"), [&](const Status& status) { adopted = status.ok(); });
  EXPECT_FALSE(adopted);  // nobody knows yet whether it can be had
  EXPECT_EQ(Slots(), "");
  set.SetWanted(1);
  Play();
  EXPECT_EQ(Slots(), "b:ready");
  EXPECT_TRUE(adopted);
}

TEST_F(InstanceSetTest, AFormAdoptedAtRestThatCannotBeHadGivesWayToTheOneBefore) {
  set.Start(Form("a"));
  Play();
  set.SetWanted(0);
  Play();
  std::vector<Status> told;
  set.Adopt(Form("b"), [&](const Status& status) { told.push_back(status); });
  refuse = "b";
  auto call = Send(1);
  set.SetWanted(1);
  Play();
  EXPECT_EQ(Slots(), "a:ready");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].message(), "refused");
  EXPECT_TRUE(call->Right());
}

TEST_F(InstanceSetTest, SaysHowLongAStartTakes) {
  set.Start(Form("a"));
  EXPECT_EQ(set.start_up(), Duration::zero());
  clock.Advance(100ms);
  Play();
  EXPECT_EQ(set.start_up(), 100ms);
  set.SetWanted(2);
  clock.Advance(200ms);
  Play();
  EXPECT_EQ(set.start_up(), 150ms);
  set.Adopt(Form("b"), {});
  EXPECT_EQ(set.start_up(), Duration::zero());
}

TEST_F(InstanceSetTest, NothingStartsAfterTheEnd) {
  set.Start(Form("a"));
  set.SetWanted(2);
  Play();
  Status told;
  set.Adopt(Form("b"), [&](const Status& status) { told = status; });
  set.End();
  workers.clear();
  EXPECT_EQ(told.code(), Code::kUnavailable);
  const size_t before = started.size();
  set.SetWanted(5);
  set.Adopt(Form("c"), [&](const Status& status) { told = status; });
  EXPECT_FALSE(told.ok());
  clock.Advance(1min);
  loop.RunPosted();
  EXPECT_EQ(started.size(), before);
  EXPECT_EQ(set.up(), 0);
}

}  // namespace
}  // namespace evenkeel
