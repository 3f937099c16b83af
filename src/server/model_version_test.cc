// A model version with real workers: its form changes, and it comes and goes, under load.
#include "server/model_version.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/format.h"
#include "net/io_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

const std::string kBuild = EVENKEEL_BINARY_DIR;

struct Call final : InferCall {
  explicit Call(std::vector<float> row) : values(std::move(row)) {
    inputs.push_back({0, DataType::kFp32, Shape{1, static_cast<int64_t>(values.size())},
                      std::as_bytes(std::span<const float>(values))});
    arrived = SteadyClock::Instance().Now();
  }
  void Done(const Status& s, std::span<const TensorView> outputs, const Timings&) override {
    std::vector<float> out;
    if (s.ok()) {
      out.resize(outputs[0].data.size() / sizeof(float));
      std::memcpy(out.data(), outputs[0].data.data(), outputs[0].data.size());
    }
    const std::lock_guard lock(mutex);
    ++answers;
    status = s;
    got = std::move(out);
    answered.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(answered.wait_for(lock, 60s, [this] { return answers > 0; })) << "no answer";
  }

  const std::vector<float> values;
  std::mutex mutex;
  std::condition_variable answered;
  std::vector<float> got;
  Status status;
  int answers = 0;
};

// Starts processes, but not the one that is to fail.
class FlakyRuntime final : public Runtime {
 public:
  Rung rung() const override { return runtime_->rung(); }
  Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) override {
    if (fails_in-- == 0) return Unavailable("no more processes");
    return runtime_->Start(spec);
  }

  std::atomic<int> fails_in{-1};  // starts before the one that fails; below 0: none does

 private:
  const std::unique_ptr<Runtime> runtime_ = MakeProcessRuntime();
};

class ModelVersionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kBuild + "/libexec/evenkeel/evenkeel-worker-fake"))
      GTEST_SKIP() << "the worker was not built";
    folder = std::filesystem::temp_directory_path() /
             ("evenkeel_model_version_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    loop = IoLoop::Create("test").value();
    loop->Start();
    runtime = std::make_unique<FlakyRuntime>();
    sampler = Sampler::Create({});
    node = std::make_unique<NodeScheduler>(policy::MakeNodePolicy("auto").value(), 2, false, *loop,
                                           SteadyClock::Instance());
    keeper = std::make_unique<InstanceKeeper>(
        InstanceKeeper::Options{2, 0, [] { return int64_t{1} << 40; }}, *loop,
        SteadyClock::Instance());
    context = std::make_unique<ServingContext>(ServingContext{*loop,
                                                              SteadyClock::Instance(),
                                                              *runtime,
                                                              *sampler,
                                                              kBuild + "/libexec/evenkeel",
                                                              "",
                                                              {},
                                                              1,
                                                              size_t{1} << 20,
                                                              SampleMode::kOff,
                                                              2,
                                                              node.get(),
                                                              keeper.get()});
  }
  void TearDown() override {
    if (loop == nullptr) return;
    if (version != nullptr) {
      std::promise<void> stopped;
      loop->Post([&] { version->Stop([&] { stopped.set_value(); }); });
      ASSERT_EQ(stopped.get_future().wait_for(60s), std::future_status::ready);
    }
    // Alarms do not outlive the loop.
    std::promise<void> closed;
    loop->Post([&] {
      version.reset();
      node->Close();
      keeper->Close();
      closed.set_value();
    });
    closed.get_future().wait();
    loop->Stop();
    loop->Join();
    std::filesystem::remove_all(folder);
  }

  void Serve(const std::string& engine, const std::string& path) {
    config.name = "m";
    config.engine = engine;
    config.path = path;
    config.folder = std::filesystem::path(path).parent_path().string();
    config.min_instances = 0;
    config.keep_alive = keep_alive;
    std::promise<Status> ready;
    loop->Post([&] {
      version = std::make_shared<ModelVersion>(*context, config);
      version->Start([&](const Status& status) { ready.set_value(status); });
    });
    const Status status = ready.get_future().get();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void ServeFake(const std::string& text) {
    const std::string path = folder / "m.fake";
    std::ofstream(path) << text;
    Serve("fake", path);
  }
  std::future<Status> Adopt(int threads, std::optional<WorkerShape> shape = {}) {
    auto told = std::make_shared<std::promise<Status>>();
    InstanceForm form;
    form.threads = threads;
    form.shape = shape;
    form.why = "the test says so";
    form.times = {{1, 2ms, 3ms}, {64, 10ms, 12ms}};
    loop->Post([this, form, told] {
      version->Adopt(form, [told](const Status& status) { told->set_value(status); });
    });
    return told->get_future();
  }
  bool Await(const std::function<bool()>& what) const {
    const Time end = SteadyClock::Instance().Now() + 30s;
    while (SteadyClock::Instance().Now() < end) {
      if (what()) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  // Calls one after the other from several threads, until told to stop; each answer is held against `right`.
  struct Load {
    std::atomic<bool> stop{false};
    std::atomic<int> sent{0}, wrong{0};
    std::vector<std::jthread> threads;
    ~Load() { stop = true; }
  };
  std::unique_ptr<Load> Start(int threads, size_t width,
                              std::function<bool(const Call&)> right) const {
    auto load = std::make_unique<Load>();
    for (int t = 0; t < threads; ++t) {
      load->threads.emplace_back([this, l = load.get(), t, width, right] {
        for (int i = 0; !l->stop; ++i) {
          Call call(std::vector<float>(width, static_cast<float>(t * 1000 + i % 16)));
          version->Infer(&call);
          call.Wait();
          const std::lock_guard lock(call.mutex);
          ++l->sent;
          if (call.answers != 1 || !call.status.ok() || !right(call)) ++l->wrong;
        }
      });
    }
    return load;
  }
  void ChangeFormsUnderLoad(size_t width, const std::function<bool(const Call&)>& right) {
    auto load = Start(4, width, right);
    ASSERT_TRUE(Await([&] { return load->sent > 50; }));
    for (int round = 0; round < 4; ++round) {
      auto told = Adopt(round % 2 == 0 ? 2 : 1);
      ASSERT_EQ(told.wait_for(60s), std::future_status::ready);
      const Status status = told.get();
      ASSERT_TRUE(status.ok()) << status.ToString();
      const int before = load->sent;
      ASSERT_TRUE(Await([&] { return load->sent > before + 50; }));
      const auto now = version->InstancesNow();
      EXPECT_EQ(now.form->threads, round % 2 == 0 ? 2 : 1);
      ASSERT_TRUE(Await([&] {
        for (const auto& info : version->Instances()) {
          if (info.form != now.form) return false;
        }
        return true;
      })) << "one of the old form is still there";
    }
    load->stop = true;
    load->threads.clear();
    EXPECT_EQ(load->wrong, 0);
    EXPECT_EQ(version->InstancesNow().restarts, 0u);
    EXPECT_EQ(static_cast<uint64_t>(load->sent), version->Stats().success.count);
  }

  ModelConfig config;
  Duration keep_alive = 5min;
  std::filesystem::path folder;
  std::unique_ptr<IoLoop> loop;
  std::unique_ptr<FlakyRuntime> runtime;
  std::unique_ptr<Sampler> sampler;
  std::unique_ptr<NodeScheduler> node;
  std::unique_ptr<InstanceKeeper> keeper;
  std::unique_ptr<Accelerators> accelerators;
  std::unique_ptr<ServingContext> context;
  std::shared_ptr<ModelVersion> version;
};

constexpr const char* kEcho =
    "inputs: [{name: x, dtype: FP32, shape: [-1, 4]}]\n"
    "outputs: [{name: y, dtype: FP32, shape: [-1, 4], function: echo}]\n"
    "delay_us: {fixed: 300, per_row: 20}\n";

TEST_F(ModelVersionTest, TheFormChangesUnderLoadAndEveryCallIsAnsweredOnce) {
  ServeFake(kEcho);
  ChangeFormsUnderLoad(4, [](const Call& call) { return call.got == call.values; });
}

TEST_F(ModelVersionTest, TheFormOfARealModelChangesUnderLoad) {
  const std::string model = kBuild + "/demo-models/digits/model.onnx";
  if (!std::filesystem::exists(model) ||
      !std::filesystem::exists(kBuild + "/libexec/evenkeel/evenkeel-worker-openvino"))
    GTEST_SKIP() << "no " << model << ", or no worker";
  Serve("openvino", model);
  ChangeFormsUnderLoad(64, [](const Call& call) { return call.got.size() == 10; });
}

TEST_F(ModelVersionTest, AFormThatTheHostCannotHoldIsRefusedAndTheOldOneServesOn) {
  ServeFake(kEcho);
  context->libexec += "-gone";  // no worker can be started any more
  auto told = Adopt(2);
  ASSERT_EQ(told.wait_for(60s), std::future_status::ready);
  EXPECT_FALSE(told.get().ok());
  EXPECT_EQ(version->InstancesNow().form->threads, 1);
  Call call(std::vector<float>{1, 2, 3, 4});
  version->Infer(&call);
  call.Wait();
  EXPECT_EQ(call.got, call.values);
}

TEST_F(ModelVersionTest, AtRestItHasNoInstanceAndTheNextCallsAreHeldAndAnswered) {
  keep_alive = 50ms;
  ServeFake(kEcho);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(Await([&] { return version->at_rest() && version->Instances().empty(); }));
    EXPECT_TRUE(version->available());
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < 20; ++i)
      calls.push_back(std::make_unique<Call>(std::vector<float>(4, static_cast<float>(i))));
    for (const auto& call : calls) version->Infer(call.get());
    for (const auto& call : calls) {
      call->Wait();
      EXPECT_EQ(call->got, call->values) << call->status.ToString();
      EXPECT_EQ(call->answers, 1);
    }
  }
  EXPECT_EQ(version->InstancesNow().starts, 4u);
  EXPECT_GT(version->InstancesNow().start_up, Duration::zero());
}

TEST_F(ModelVersionTest, HeldCallsAreAnsweredThoughOneOfItsInstancesCannotBeStarted) {
  keep_alive = 50ms;
  config.instances = 3;
  ServeFake(kEcho);
  for (const int before : {0, 1, 2}) {
    ASSERT_TRUE(Await([&] { return version->at_rest() && version->Instances().empty(); }));
    runtime->fails_in = before;
    Call call({1, 2, 3, 4});
    version->Infer(&call);
    call.Wait();
    EXPECT_EQ(call.got, call.values) << call.status.ToString();
  }
}

TEST_F(ModelVersionTest, AnAcceleratorThatOthersHaveKeepsNobodyFromTheProcessor) {
  accelerators = std::make_unique<Accelerators>(
      ParseEmulatedGpu("4c/1GiB,a=2ms,c=50us,m0=1MiB,serial=0,host=1").value(), "");
  accelerators->Find();
  const auto taken = accelerators->Take({4, int64_t{1} << 30});
  ASSERT_TRUE(taken.ok());
  context->accelerators = accelerators.get();
  config.device = DeviceClass::kAuto;
  keep_alive = 50ms;
  ServeFake(kEcho);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(Await([&] { return version->at_rest() && version->Instances().empty(); }));
    Call call({1, 2, 3, 4});
    version->Infer(&call);
    call.Wait();
    EXPECT_EQ(call.got, call.values) << call.status.ToString();
  }
}

class ModelVersionClassesTest : public ModelVersionTest {
 protected:
  void ServeBoth(const std::string& device) {
    accelerators = std::make_unique<Accelerators>(ParseEmulatedGpu(device).value(), "");
    accelerators->Find();
    context->accelerators = accelerators.get();
    config.device = DeviceClass::kAuto;
    ServeFake(kEcho);
  }
  void Hold(bool cpu, bool gpu) { version->HoldClasses(cpu, gpu); }
  // Of those that stay, by class.
  std::string Slots() const {
    int cpu = 0, gpu = 0;
    for (const auto& info : version->Instances()) {
      if (info.state == "ending") continue;
      ++(info.form->device == DeviceClass::kGpu ? gpu : cpu);
    }
    return fmt::format("{}+{}", cpu, gpu);
  }
  bool AwaitSlots(const std::string& slots) {
    return Await([&] { return Slots() == slots; });
  }
  std::future<Status> AdoptShare(const DeviceSize& share) {
    auto told = std::make_shared<std::promise<Status>>();
    InstanceForm form;
    form.device = DeviceClass::kGpu;
    form.device_share = share;
    form.why = "the test says so";
    version->AdoptForm(form, [told](const Status& status) { told->set_value(status); });
    return told->get_future();
  }
  DeviceSize Taken() const { return accelerators->Uses().front().taken; }
};

constexpr const char* kDevice = "16c/4GiB,a=500us,c=50us,m0=1MiB,serial=0";
constexpr int64_t kGiB = int64_t{1} << 30;

TEST_F(ModelVersionClassesTest, TheClassesChangeUnderLoadAndEveryCallIsAnsweredOnce) {
  ServeBoth(kDevice);
  ASSERT_TRUE(AwaitSlots("1+1"));
  auto load = Start(4, 4, [](const Call& call) { return call.got == call.values; });
  for (int round = 0; round < 2; ++round) {
    Hold(false, true);
    ASSERT_TRUE(AwaitSlots("0+1")) << Slots();
    Hold(true, false);
    ASSERT_TRUE(AwaitSlots("1+0")) << Slots();
    Hold(true, true);
    ASSERT_TRUE(AwaitSlots("1+1")) << Slots();
    const int before = load->sent;
    ASSERT_TRUE(Await([&] { return load->sent > before + 50; }));
  }
  load->stop = true;
  load->threads.clear();
  EXPECT_EQ(load->wrong, 0);
  EXPECT_EQ(version->InstancesNow().restarts, 0u);
}

TEST_F(ModelVersionClassesTest, AnotherShareIsAdoptedUnderLoadWhereThereIsRoomForBoth) {
  ServeBoth(kDevice);
  ASSERT_TRUE(Await([&] { return Taken() == DeviceSize{4, kGiB}; }));
  Hold(false, true);
  ASSERT_TRUE(AwaitSlots("0+1"));
  auto load = Start(4, 4, [](const Call& call) { return call.got == call.values; });
  auto told = AdoptShare({8, 2 * kGiB});
  ASSERT_EQ(told.wait_for(60s), std::future_status::ready);
  EXPECT_TRUE(told.get().ok());
  ASSERT_TRUE(Await([&] { return Taken() == DeviceSize{8, 2 * kGiB}; })) << "the old one is kept";
  told = AdoptShare({12, kGiB});  // 8 are free
  ASSERT_EQ(told.wait_for(60s), std::future_status::ready);
  EXPECT_EQ(told.get().code(), Code::kUnavailable);
  EXPECT_EQ(Taken(), (DeviceSize{8, 2 * kGiB}));
  const int before = load->sent;
  ASSERT_TRUE(Await([&] { return load->sent > before + 50; }));
  load->stop = true;
  load->threads.clear();
  EXPECT_EQ(load->wrong, 0);
}

TEST_F(ModelVersionClassesTest, TheProcessorStandsInWhileTheDeviceCannotBeHad) {
  keep_alive = 50ms;
  ServeBoth("4c/1GiB,a=500us,c=50us,m0=1MiB,serial=0");
  Hold(false, true);
  ASSERT_TRUE(Await([&] { return version->at_rest() && version->Instances().empty(); }));
  {
    const auto taken = accelerators->Take({4, kGiB});
    ASSERT_TRUE(taken.ok());
    Call call({1, 2, 3, 4});
    version->Infer(&call);
    call.Wait();
    EXPECT_EQ(call.got, call.values) << call.status.ToString();
    EXPECT_EQ(version->Stats().by_device[0].batches, 1u);
  }
}

}  // namespace
}  // namespace evenkeel
