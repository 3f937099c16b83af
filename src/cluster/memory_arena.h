// A StoreArena over a MemoryStore: time passes only where the test lets it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "cluster/kv_store_contract.h"
#include "cluster/memory_store.h"
#include "core/fake_event_loop.h"

namespace evenkeel {

class MemoryArena final : public StoreArena {
 public:
  EventLoop& loop() override { return loop_; }
  const Clock& clock() override { return clock_; }
  Duration ttl() const override { return std::chrono::seconds(10); }
  std::unique_ptr<KvStore> Connect(const std::string& node) override {
    return store_.Connect(node);
  }
  void OnLoop(std::function<void()> task) override { task(); }

  bool Eventually(const std::function<bool()>& condition, Duration within) override {
    const Time end = clock_.Now() + within;
    loop_.RunPosted();
    while (!condition()) {
      const Time next = loop_.NextAlarm();
      if (next > end) {
        AdvanceTo(end);
        return condition();
      }
      AdvanceTo(next);
    }
    return true;
  }
  void Pass(Duration time) override {
    static_cast<void>(Eventually([] { return false; }, time));
  }

  void Cut(const std::string& node) override { store_.Cut(node); }
  void Heal(const std::string& node) override { store_.Heal(node); }
  void Slow(const std::string& node, Duration by) override { store_.Slow(node, by); }
  void Stall(Duration by) override { store_.Stall(by); }
  void KillAndStart() override {
    store_.Stop();
    Pass(std::chrono::milliseconds(300));
    store_.Start();
  }
  void Compact() override { store_.Compact(); }
  void EndLeases(const std::string& key_suffix) override { store_.EndLeases(key_suffix); }
  void Save() override { saved_ = store_.Save(); }
  void Restore() override { store_.Restore(*saved_); }
  bool saved() const { return saved_ != nullptr; }

  MemoryStore& store() { return store_; }

 private:
  void AdvanceTo(Time at) {
    clock_.Advance(std::max(at - clock_.Now(), Duration{}));
    loop_.RunPosted();
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  MemoryStore store_{loop_, clock_};
  std::shared_ptr<const MemoryStore::Image> saved_;
};

}  // namespace evenkeel
