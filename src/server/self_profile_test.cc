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
  const Signature& signature() const override { return signature_; }
  std::string EngineInfo() const override { return R"({"name": "fake", "version": "1"})"; }
  Duration objective() const override { return Duration(objective_ns.load()); }
  ServingState Serving(Time /*now*/) const override { return {}; }
  double RowsPerSecond(Time /*now*/) const override { return 0; }
  std::vector<LiveSize> LiveTimes() const override { return {}; }
  bool SharesCores() const override { return true; }
  std::optional<int64_t> OutOfMemoryAt() const override {
    return killed_at > 0 ? std::optional(killed_at.load()) : std::nullopt;
  }
  void AdoptForm(InstanceForm /*form*/, std::function<void(Status)> done) override {
    ++forms;
    done(takes ? Status::Ok() : Unavailable("no more processes"));
  }
  void SetBestBatch(int /*rows*/, Duration /*batch_time*/) override {}

  ModelConfig settings;
  std::atomic<int64_t> objective_ns{Duration(50ms).count()}, killed_at{0};
  std::atomic<bool> takes{true};
  std::atomic<int> forms{0};

 private:
  const Signature signature_ = FakeCall::ModelSignature(1);
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
  ASSERT_TRUE(Await([](const auto& view) { return view.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).adopted->shape.milli_cores, 1000);
  model->takes = false;
  model->objective_ns = Duration(13ms).count();  // takes two cores
  clock.Advance(70s);
  ASSERT_TRUE(Await([](const auto& view) { return !view.adoption_failure.empty(); }));
  model->objective_ns = Duration(50ms).count();
  clock.Advance(20s);
  EXPECT_TRUE(Await([](const auto& view) { return view.adoption_failure.empty(); }));
  EXPECT_EQ(model->forms, 2);
}

TEST_F(SelfProfileTest, WorkersThatNothingHoldsToAShapeAreNotExchangedForItsMemory) {
  Begin();
  ASSERT_TRUE(Await([](const auto& view) { return view.adopted.has_value(); }));
  EXPECT_EQ(profile->ViewOf(*model).adopted->shape.memory_bytes, 256 * kMiB);
  model->killed_at = 256 * kMiB;
  ASSERT_TRUE(
      Await([](const auto& view) { return view.adopted->shape.memory_bytes == 512 * kMiB; }));
  EXPECT_EQ(model->forms, 1);
}

TEST_F(SelfProfileTest, AViewDoesNotWaitForTheDisk) {
  sqlite3* other = nullptr;
  ASSERT_EQ(::sqlite3_open(StorePath().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(::sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto waits =
      std::async(std::launch::async, [this] { profile->StartForm(model->settings); });
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

}  // namespace
}  // namespace evenkeel
