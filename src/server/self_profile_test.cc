// The daemon's profiling on tables that are complete already: no container is started.
#include "server/self_profile.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "batching/fake_call.h"
#include "core/format.h"
#include "profiling/model_profile.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMiB = int64_t{1} << 20;

// Takes every form, or none.
class FakeModel final : public ProfiledModel {
 public:
  const ModelConfig& config() const override { return settings; }
  const Signature& signature() const override { return served; }
  std::string EngineInfo() const override { return R"({"name": "fake", "version": "1"})"; }
  Duration objective() const override { return Duration(objective_ns.load()); }
  ServingState Serving(Time /*now*/) const override { return {}; }
  double RowsPerSecond(Time /*now*/) const override { return rate; }
  DeviceClass device_class() const override { return settings.device; }
  DeviceSize HeldShare() const override { return holds; }
  std::vector<LiveSize> LiveTimes(DeviceClass /*device*/) const override { return {}; }
  bool SharesCores() const override { return true; }
  std::optional<int64_t> OutOfMemoryAt() const override {
    return killed_at > 0 ? std::optional(killed_at.load()) : std::nullopt;
  }
  void AdoptForm(InstanceForm form, std::function<void(Status)> done) override {
    ++forms;
    if (form.device == DeviceClass::kGpu) {
      const std::lock_guard lock(mutex);
      share = form.device_share;
    }
    done(takes ? Status::Ok() : Unavailable("no more processes"));
  }
  void HoldClasses(bool cpu, bool gpu) override {
    const std::lock_guard lock(mutex);
    held.push_back(fmt::format("{}{}", cpu ? "c" : "", gpu ? "g" : ""));
  }
  void SetBestBatch(int /*rows*/, Duration /*batch_time*/) override {}

  ModelConfig settings;
  std::atomic<int64_t> objective_ns{Duration(50ms).count()}, killed_at{0};
  std::atomic<bool> takes{true};
  std::atomic<int> forms{0};
  std::atomic<double> rate{0};
  DeviceSize holds;
  std::mutex mutex;  // guards what follows
  DeviceSize share;
  std::vector<std::string> held;  // "c", "g", "cg", as told
  Signature served = FakeCall::ModelSignature(1);
};

class SelfProfileTest : public ::testing::Test {
 protected:
  SelfProfileTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder = std::filesystem::temp_directory_path() /
             fmt::format("evenkeel_self_profile_{}_{}", info->name(), ::getpid());
    std::filesystem::create_directories(folder);
    model->settings.name = "m";
    model->settings.engine = "fake";
    model->settings.path = folder / "m.fake";
    std::ofstream(model->settings.path) << "{}\n";
    options.state = folder;
    options.shapes = "1c/256MiB,1c/512MiB,2c/512MiB";
    options.batches = "1";
    options.after = 0s;
    FillTable();
    profile = SelfProfile::Create(options, *sampler, clock).value();
  }
  ~SelfProfileTest() override {
    profile.reset();
    std::filesystem::remove_all(folder);
  }

  // Two cores take less time than one, and cost more.
  void FillTable() {
    const TableKey key =
        TableKeyOf(model->settings, HostFor(options.rung, {}), options.rung, model->EngineInfo())
            .value();
    const auto store = LoadTableStore::Open(StorePath(), &warnings);
    for (const CellShape& shape :
         {CellShape{1000, 256 * kMiB}, CellShape{1000, 512 * kMiB}, CellShape{2000, 512 * kMiB}}) {
      LoadRow row;
      row.cell = {shape, 1, Precision::kF32};
      row.batch_us = row.p50_us = row.p99_us = row.no_batch_us =
          shape.milli_cores == 1000 ? 10'000 : 6'000;
      row.runs = 10;
      ASSERT_TRUE(store->Put(key, std::string(kFromSignature), row).ok());
    }
  }
  std::string StorePath() const { return folder / kLoadTablesFile; }
  void Begin() {
    profile->Begin([this] { return std::vector<std::shared_ptr<ProfiledModel>>{model}; });
  }
  bool Await(const std::function<bool(const SelfProfile::View&)>& what) const {
    const Time end = SteadyClock::Instance().Now() + 30s;
    while (SteadyClock::Instance().Now() < end) {
      if (what(profile->ViewOf(*model))) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

  std::filesystem::path folder;
  std::vector<std::string> warnings;
  ManualClock clock;
  std::unique_ptr<Sampler> sampler = Sampler::Create({});
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>();
  SelfProfileOptions options;
  std::unique_ptr<SelfProfile> profile;
};

TEST_F(SelfProfileTest, AFailureToAdoptIsForgottenOnceWhatFailedIsNotWantedAnyMore) {
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).chosen.adopted->shape.milli_cores, 1000);
  model->takes = false;
  model->objective_ns = Duration(13ms).count();  // takes two cores
  clock.Advance(70s);
  ASSERT_TRUE(Await([](const auto& view) { return !view.chosen.adoption_failure.empty(); }));
  model->objective_ns = Duration(50ms).count();
  clock.Advance(20s);
  EXPECT_TRUE(Await([](const auto& view) { return view.chosen.adoption_failure.empty(); }));
  EXPECT_EQ(model->forms, 2);
}

TEST_F(SelfProfileTest, WorkersThatNothingHoldsToAShapeAreNotExchangedForItsMemory) {
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).chosen.adopted->shape.memory_bytes, 256 * kMiB);
  model->killed_at = 256 * kMiB;
  ASSERT_TRUE(Await(
      [](const auto& view) { return view.chosen.adopted->shape.memory_bytes == 512 * kMiB; }));
  EXPECT_EQ(model->forms, 1);
}

TEST_F(SelfProfileTest, AViewDoesNotWaitForTheDisk) {
  sqlite3* other = nullptr;
  ASSERT_EQ(::sqlite3_open(StorePath().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(::sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto waits =
      std::async(std::launch::async, [this] { profile->StartForms(model->settings); });
  Duration longest{};
  const auto now = [] { return SteadyClock::Instance().Now(); };
  for (const Time end = now() + 500ms; now() < end;) {
    const Time begin = now();
    EXPECT_TRUE(profile->ViewOf(*model).on_disk);
    longest = std::max<Duration>(longest, now() - begin);
  }
  EXPECT_EQ(waits.wait_for(0s), std::future_status::timeout);
  EXPECT_LT(longest, 2s);
  ::sqlite3_close(other);
}

// One core of the host counts, so that what an accelerator is worth does not depend on the machine.
class SelfProfileOnDeviceTest : public SelfProfileTest {
 protected:
  static constexpr CellShape kHost{1000, 256 * kMiB, 0, 0};

  ~SelfProfileOnDeviceTest() override { profile.reset(); }  // before the accelerators

  void Measured(DeviceClass device, bool by_method = false) {
    all.Find();
    model->served = FakeCall::ModelSignature(2);
    model->settings.device = device;
    options.accelerators = &all;
    options.worker_cpus = {0};
    options.by_method = by_method;
    options.shapes = "1c/256MiB,1c/1GiB+gpu0:4c/1GiB,1c/1GiB+gpu0:8c/1GiB";
    options.batches = "1,2";
    const TableKey key =
        TableKeyOf(model->settings, HostFor(options.rung, options.worker_cpus), options.rung,
                   model->EngineInfo(), TableDevice(all.emulated(), ""))
            .value();
    const auto store = LoadTableStore::Open(StorePath(), &warnings);
    for (const int batch : {1, 2}) {
      Put(*store, key, kHost, batch, 10'000 * batch);
      Put(*store, key, Share(4), batch, 3000 + 1000 * batch);
      Put(*store, key, Share(8), batch, 2500 + 1000 * batch);
    }
    profile = SelfProfile::Create(options, *sampler, clock).value();
  }
  static CellShape Share(int cores) { return {1000, 1024 * kMiB, cores, 1024 * kMiB}; }
  static void Put(LoadTableStore& store, const TableKey& key, const CellShape& shape, int batch,
                  double us) {
    LoadRow row;
    row.cell = {shape, batch, Precision::kF32};
    row.batch_us = row.p50_us = row.p99_us = us;
    row.no_batch_us = 2 * us;
    row.runs = 10;
    ASSERT_TRUE(store.Put(key, std::string(kFromSignature), row).ok());
  }
  std::string Held() const {
    const std::lock_guard lock(model->mutex);
    return model->held.empty() ? "" : model->held.back();
  }
  bool AwaitHeld(const std::string& what) const {
    return Await([&](const auto&) { return Held() == what; });
  }
  DeviceSize GivenShare() const {
    const std::lock_guard lock(model->mutex);
    return model->share;
  }

  Accelerators all{*ParseEmulatedGpu("16c/4GiB,a=3ms,c=1ms"), "/nowhere"};
};

TEST_F(SelfProfileOnDeviceTest, AShareIsChosenFromAKeptTable) {
  Measured(DeviceClass::kGpu);
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
  const auto view = profile->ViewOf(*model);
  EXPECT_EQ(view.phase, SelfProfile::Phase::kComplete);
  EXPECT_EQ(*view.chosen.adopted, (Cell{Share(4), 2, Precision::kF32}));
  EXPECT_EQ(GivenShare(), (DeviceSize{4, 1024 * kMiB}));
  EXPECT_FALSE(view.on_device || view.held) << "it has one class";
  EXPECT_EQ(view.table.size(), 4u) << "the processor is none of its classes";
}

TEST_F(SelfProfileOnDeviceTest, TheMethodsShareIsTheLeastThatHasRoomAndKeepsTheObjective) {
  model->objective_ns = Duration(4600us).count();  // two rows on a quarter take 5 ms
  Measured(DeviceClass::kAuto, /*by_method=*/true);
  model->settings.device = DeviceClass::kGpu;  // as served: `method` fixes it
  {
    const auto others = all.Take({9, kMiB * 64});
    ASSERT_TRUE(others.ok());
    Begin();
    ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
    EXPECT_EQ(*profile->ViewOf(*model).chosen.adopted, (Cell{Share(4), 1, Precision::kF32}));
  }
  clock.Advance(70s);
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted->batch == 2; }));
  EXPECT_EQ(profile->ViewOf(*model).chosen.adopted->shape, Share(8));
  EXPECT_EQ(GivenShare(), (DeviceSize{8, 1024 * kMiB}));
}

TEST_F(SelfProfileOnDeviceTest, TheClassFollowsTheLoad) {
  Measured(DeviceClass::kAuto);
  Begin();
  ASSERT_TRUE(AwaitHeld("g"));
  ASSERT_TRUE(Await([](const auto& view) { return view.on_device->adopted.has_value(); }));
  const auto view = profile->ViewOf(*model);
  EXPECT_EQ(view.chosen.adopted->shape, kHost);
  EXPECT_EQ(view.on_device->adopted->shape, Share(4));
  EXPECT_TRUE(view.held->gpu && !view.held->cpu);
  model->rate = 1000;  // two rows in 5 ms, 80 % of the time: 320
  ASSERT_TRUE(AwaitHeld("cg"));
  model->rate = 0;
  clock.Advance(70s);
  ASSERT_TRUE(AwaitHeld("g"));
}

TEST_F(SelfProfileOnDeviceTest, ARestartBeginsWithBothChoices) {
  Measured(DeviceClass::kAuto);
  Begin();
  ASSERT_TRUE(Await([](const auto& view) {
    return view.chosen.adopted.has_value() && view.on_device->adopted.has_value();
  }));
  profile->Stop();  // keeps what is to be kept
  profile = SelfProfile::Create(options, *sampler, clock).value();
  const auto forms = profile->StartForms(model->settings);
  ASSERT_EQ(forms.size(), 2u);
  EXPECT_EQ(forms[0].device, DeviceClass::kCpu);
  EXPECT_EQ(forms[1].device, DeviceClass::kGpu);
  EXPECT_EQ(forms[1].device_share, (DeviceSize{4, 1024 * kMiB}));
  EXPECT_EQ(forms[1].times.size(), 2u);
  model->settings.gpu_shape = {8, 1024 * kMiB};  // the manifest says another
  EXPECT_EQ(profile->StartForms(model->settings).size(), 1u);
  model->settings.device = DeviceClass::kCpu;
  EXPECT_TRUE(profile->StartForms(model->settings).empty()) << "its table is another";
}

TEST_F(SelfProfileOnDeviceTest, TheShareThatItHasAlreadyIsNotExchangedAndNeedsNoRoom) {
  model->holds = {4, 1024 * kMiB};
  Measured(DeviceClass::kGpu);
  const auto others = all.Take({16, 4096 * kMiB});
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).chosen.adopted->shape, Share(4));
  EXPECT_EQ(model->forms, 0);
}

TEST_F(SelfProfileOnDeviceTest, WhatTheManifestGaveIsNotExchanged) {
  model->settings.gpu_shape = {8, 1024 * kMiB};
  Measured(DeviceClass::kGpu);
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.chosen.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).chosen.adopted->shape, Share(8));
  EXPECT_EQ(model->forms, 0);
}

}  // namespace
}  // namespace evenkeel
