#include "profiling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "profiling/safetensors.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

Signature OneInput(DataType dtype, Shape shape, bool batched = true) {
  Signature signature;
  signature.inputs.push_back({"x", dtype, shape, {}, {}});
  signature.batched = batched;
  signature.max_batch = batched ? 64 : 1;
  return signature;
}

// A request of rows of one int64 each, numbered from `first`.
void OfferNumbers(SampleStream& stream, int64_t first, int64_t rows) {
  std::vector<int64_t> values(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) values[static_cast<size_t>(i)] = first + i;
  const TensorView view{0, DataType::kInt64, {rows, 1}, std::as_bytes(std::span(values))};
  stream.Offer({&view, 1}, rows);
}

std::vector<int64_t> NumbersOf(const SampleSet& set) {
  std::vector<int64_t> numbers;
  for (const auto& row : set.rows) {
    int64_t value = 0;
    EXPECT_EQ(row->inputs.at(0).size(), sizeof value);
    std::memcpy(&value, row->inputs[0].data(), sizeof value);
    numbers.push_back(value);
  }
  return numbers;
}

std::string BytesElements(const std::vector<std::string>& elements) {
  std::string data;
  for (const std::string& element : elements) {
    const auto length = static_cast<uint32_t>(element.size());
    data.append(reinterpret_cast<const char*>(&length), sizeof length);
    data += element;
  }
  return data;
}

class SamplerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "evenkeel-samples" /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  void TearDown() override {
    spdlog::set_default_logger(before_);
    fs::remove_all(folder_);
  }

  SamplerOptions InMemory() {
    SamplerOptions options;
    options.seed = 11;
    options.unix_seconds = [this] { return now_s_.load(); };
    return options;
  }
  SamplerOptions OnDisk() {
    SamplerOptions options = InMemory();
    options.folder = folder_.string();
    options.flush_every = std::chrono::hours(1);
    return options;
  }
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    if (!fs::exists(folder_)) return files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    return files;
  }
  size_t Warnings(const std::string& text) const {
    const std::string log = log_.str();
    size_t count = 0;
    for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }

  const Signature numbers_ = OneInput(DataType::kInt64, {kDynamic, 1});
  std::atomic<int64_t> now_s_{1'700'000'000};
  fs::path folder_;
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(SamplerTest, KeepsAllRowsUntilFullThenStaysBounded) {
  auto options = InMemory();
  options.max_rows = 5;
  const auto sampler = Sampler::Create(options);
  const auto stream = sampler->Open("m", numbers_, SampleMode::kMemory);
  OfferNumbers(*stream, 0, 3);
  auto sets = sampler->Snapshot("m");
  ASSERT_EQ(sets.size(), 1u);
  EXPECT_THAT(NumbersOf(sets[0]), ElementsAre(0, 1, 2));
  EXPECT_EQ(sets[0].signature, "x:INT64[1]");
  EXPECT_EQ(sets[0].rows[0]->arrived_s, now_s_);
  OfferNumbers(*stream, 3, 40);
  OfferNumbers(*stream, 43, 1);
  sets = sampler->Snapshot("");
  EXPECT_EQ(sets[0].seen, 44u);
  EXPECT_EQ(sets[0].rows.size(), 5u);
  EXPECT_EQ(sets[0].bytes, 40u);
  const auto numbers = NumbersOf(sets[0]);
  EXPECT_EQ(std::set<int64_t>(numbers.begin(), numbers.end()).size(), 5u);
}

TEST_F(SamplerTest, RowsOfLargeAndSmallRequestsAreKeptEquallyOften) {
  constexpr int kRows = 48;
  constexpr int kRuns = 8'000;
  std::vector<double> counts(kRows);
  for (int run = 0; run < kRuns; ++run) {
    auto options = InMemory();
    options.seed = static_cast<uint64_t>(run) + 1;
    options.max_rows = 4;
    const auto sampler = Sampler::Create(options);
    const auto stream = sampler->Open("m", numbers_, SampleMode::kMemory);
    for (int64_t at = 0, rows = 1; at < kRows; at += rows, rows = rows % 7 + 1) {
      OfferNumbers(*stream, at, std::min<int64_t>(rows, kRows - at));
    }
    const auto sets = sampler->Snapshot("m");
    ASSERT_EQ(sets.at(0).seen, kRows);
    for (const int64_t i : NumbersOf(sets[0])) ++counts[static_cast<size_t>(i)];
  }
  const double expected = kRuns * 4.0 / kRows;
  double chi = 0;
  for (const double count : counts) chi += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi, 82.7);  // 47 degrees of freedom, 0.1 %
}

TEST_F(SamplerTest, SignaturesAreKeptApartAndBounded) {
  const auto sampler = Sampler::Create(InMemory());
  const auto stream =
      sampler->Open("m", OneInput(DataType::kUint8, {kDynamic, kDynamic}), SampleMode::kMemory);
  const std::vector<std::byte> data(64);
  for (int64_t width = 1; width <= kMaxSignatures + 3; ++width) {
    const TensorView view{
        0, DataType::kUint8, {2, width}, std::span(data).first(static_cast<size_t>(2 * width))};
    stream->Offer({&view, 1}, 2);
    stream->Offer({&view, 1}, 2);
  }
  const auto sets = sampler->Snapshot("m");
  ASSERT_EQ(sets.size(), static_cast<size_t>(kMaxSignatures));
  for (const auto& set : sets) EXPECT_EQ(set.rows.size(), 4u);
}

TEST_F(SamplerTest, InputsMayComeInAnyOrder) {
  Signature signature = OneInput(DataType::kUint8, {kDynamic, 1});
  signature.inputs.push_back({"y", DataType::kUint8, {kDynamic, 2}, {}, {}});
  const auto sampler = Sampler::Create(InMemory());
  const auto stream = sampler->Open("m", signature, SampleMode::kMemory);
  const std::string x = "12";
  const std::string y = "abcd";
  const TensorView vx{0, DataType::kUint8, {2, 1}, std::as_bytes(std::span(x))};
  const TensorView vy{1, DataType::kUint8, {2, 2}, std::as_bytes(std::span(y))};
  stream->Offer(std::vector{vx, vy}, 2);
  stream->Offer(std::vector{vy, vx}, 2);
  const auto sets = sampler->Snapshot("m");
  ASSERT_EQ(sets.size(), 1u);
  EXPECT_EQ(sets[0].signature, "x:UINT8[1] y:UINT8[2]");
  ASSERT_EQ(sets[0].rows.size(), 4u);
  EXPECT_EQ(sets[0].rows[1]->inputs, sets[0].rows[3]->inputs);
  EXPECT_EQ(static_cast<char>(sets[0].rows[1]->inputs[1][0]), 'c');
}

TEST_F(SamplerTest, BytesRowsAreCutAtTheirElements) {
  const auto sampler = Sampler::Create(InMemory());
  const auto stream =
      sampler->Open("m", OneInput(DataType::kBytes, {kDynamic, 2}), SampleMode::kMemory);
  const std::string data = BytesElements({"a", "", "long element", "d"});
  const TensorView view{0, DataType::kBytes, {2, 2}, std::as_bytes(std::span(data))};
  stream->Offer({&view, 1}, 2);
  const auto sets = sampler->Snapshot("m");
  ASSERT_EQ(sets.at(0).rows.size(), 2u);
  const auto& second = sets[0].rows[1]->inputs[0];
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(second.data()), second.size()),
            BytesElements({"long element", "d"}));
}

TEST_F(SamplerTest, BoundOnBytesHolds) {
  auto options = InMemory();
  options.max_bytes = 1000 * kMaxSignatures;
  const auto sampler = Sampler::Create(options);
  const auto text =
      sampler->Open("text", OneInput(DataType::kBytes, {kDynamic, 1}), SampleMode::kMemory);
  for (size_t i = 0; i < 200; ++i) {
    const std::string data = BytesElements({std::string(i * 13 % 300, 'x')});
    const TensorView view{0, DataType::kBytes, {1, 1}, std::as_bytes(std::span(data))};
    text->Offer({&view, 1}, 1);
    ASSERT_LE(sampler->Snapshot("text").at(0).bytes, 1000u);
  }
  EXPECT_EQ(sampler->Snapshot("text").at(0).seen, 200u);
  EXPECT_GT(sampler->Snapshot("text").at(0).rows.size(), 1u);
  // Dense rows: as many as fit; one that never fits keeps nothing and breaks nothing.
  const std::vector<std::byte> data(2000);
  for (const int64_t width : {300, 2000}) {
    const auto dense =
        sampler->Open("dense", OneInput(DataType::kUint8, {kDynamic, width}), SampleMode::kMemory);
    const TensorView view{
        0, DataType::kUint8, {1, width}, std::span(data).first(static_cast<size_t>(width))};
    for (int i = 0; i < 9; ++i) dense->Offer({&view, 1}, 1);
  }
  const auto sets = sampler->Snapshot("dense");
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[0].rows.size() + sets[1].rows.size(), 3u);
}

TEST_F(SamplerTest, ModelsWithoutABatchAxisAreKeptWhole) {
  const auto sampler = Sampler::Create(InMemory());
  const auto stream =
      sampler->Open("m", OneInput(DataType::kUint8, {3}, false), SampleMode::kMemory);
  const std::string data = "abc";
  const TensorView view{0, DataType::kUint8, {3}, std::as_bytes(std::span(data))};
  stream->Offer({&view, 1}, 1);
  const auto sets = sampler->Snapshot("m");
  EXPECT_EQ(sets.at(0).signature, "x:UINT8[3]");
  EXPECT_EQ(sets.at(0).rows.at(0)->inputs.at(0).size(), 3u);
}

TEST_F(SamplerTest, MalformedViewsAreIgnored) {
  const auto sampler = Sampler::Create(InMemory());
  const auto stream =
      sampler->Open("m", OneInput(DataType::kBytes, {kDynamic, 1}), SampleMode::kMemory);
  const std::string lie("\xff\xff\xff\xff", 4);
  const TensorView view{0, DataType::kBytes, {1, 1}, std::as_bytes(std::span(lie))};
  stream->Offer({&view, 1}, 1);
  stream->Offer({}, 1);
  const TensorView other{7, DataType::kBytes, {1, 1}, {}};
  stream->Offer({&other, 1}, 1);
  for (const auto& set : sampler->Snapshot("m")) EXPECT_TRUE(set.rows.empty());
}

TEST_F(SamplerTest, OffKeepsNothing) {
  const auto sampler = Sampler::Create(InMemory());
  OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kOff), 0, 10);
  EXPECT_TRUE(sampler->Snapshot("m").empty());
  EXPECT_EQ(sampler->Export("m").status().code(), Code::kNotFound);
  EXPECT_EQ(sampler->Remove("m").code(), Code::kNotFound);
}

TEST_F(SamplerTest, EveryRowIsCountedOnceUnderConcurrency) {
  auto options = InMemory();
  options.max_rows = 16;
  const auto sampler = Sampler::Create(options);
  const auto stream = sampler->Open("m", numbers_, SampleMode::kMemory);
  constexpr int64_t kThreads = 4;
  constexpr int64_t kRequests = 5'000;
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < kRequests; ++i) OfferNumbers(*stream, (t * kRequests + i) * 3, 3);
    });
  }
  for (int i = 0; i < 200; ++i) {
    for (const auto& set : sampler->Snapshot("m")) EXPECT_LE(NumbersOf(set).size(), 16u);
  }
  for (auto& thread : threads) thread.join();
  const auto sets = sampler->Snapshot("m");
  EXPECT_EQ(sets.at(0).seen, static_cast<uint64_t>(kThreads * kRequests * 3));
  const auto numbers = NumbersOf(sets[0]);
  EXPECT_EQ(std::set<int64_t>(numbers.begin(), numbers.end()).size(), 16u);
}

TEST_F(SamplerTest, RowsAndCountsSurviveARestart) {
  auto options = OnDisk();
  options.max_rows = 6;
  std::vector<int64_t> before;
  double threshold = 0;
  {
    const auto sampler = Sampler::Create(options);
    OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kDisk), 0, 100);
    const auto set = sampler->Snapshot("m").at(0);
    before = NumbersOf(set);
    threshold = set.threshold;
  }
  ASSERT_EQ(Files().size(), 1u);
  const auto sampler = Sampler::Create(options);
  const auto set = sampler->Snapshot("m").at(0);
  EXPECT_EQ(NumbersOf(set), before);
  EXPECT_EQ(set.seen, 100u);
  EXPECT_EQ(set.threshold, threshold);
  OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kDisk), 100, 50);
  ASSERT_EQ(sampler->Snapshot("m").size(), 1u);
  EXPECT_EQ(sampler->Snapshot("m")[0].seen, 150u);
}

TEST_F(SamplerTest, SampleStaysUniformOverRestarts) {
  constexpr int kRows = 30;
  constexpr int kRuns = 120;
  std::vector<double> counts(3);  // by third: before, between and after restarts
  for (int run = 0; run < kRuns; ++run) {
    for (int part = 0; part < 3; ++part) {
      auto options = OnDisk();
      options.max_rows = 3;
      options.seed = static_cast<uint64_t>(run * 3 + part + 1);
      const auto sampler = Sampler::Create(options);
      OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kDisk), part * kRows / 3, kRows / 3);
      if (part < 2) continue;
      for (const int64_t i : NumbersOf(sampler->Snapshot("m").at(0)))
        ++counts[static_cast<size_t>(i * 3 / kRows)];
      ASSERT_TRUE(sampler->Remove("m").ok());
    }
  }
  const double expected = kRuns;
  double chi = 0;
  for (const double count : counts) chi += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi, 13.8);  // 2 degrees of freedom, 0.1 %
}

TEST_F(SamplerTest, MemoryModeLeavesTheDiskAlone) {
  {
    const auto sampler = Sampler::Create(OnDisk());
    OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kMemory), 0, 10);
    sampler->Flush();
  }
  EXPECT_TRUE(Files().empty());
}

TEST_F(SamplerTest, SmallerLimitsApplyToWhatIsLoaded) {
  {
    const auto sampler = Sampler::Create(OnDisk());
    OfferNumbers(*sampler->Open("m", numbers_, SampleMode::kDisk), 0, 100);
  }
  auto options = OnDisk();
  options.max_rows = 10;
  const auto set = Sampler::Create(options)->Snapshot("m").at(0);
  EXPECT_EQ(set.rows.size(), 10u);
  EXPECT_EQ(set.seen, 100u);
  EXPECT_LT(set.threshold, 1.0);
}

TEST_F(SamplerTest, DamagedFilesAreSetAsideWithAWarning) {
  {
    const auto sampler = Sampler::Create(OnDisk());
    OfferNumbers(*sampler->Open("good", numbers_, SampleMode::kDisk), 0, 9);
    OfferNumbers(*sampler->Open("cut", numbers_, SampleMode::kDisk), 0, 9);
  }
  for (const auto& path : Files()) {
    if (path.parent_path().filename() == "cut") fs::resize_file(path, fs::file_size(path) - 1);
  }
  fs::create_directories(folder_ / "other");
  fs::copy_file(*fs::directory_iterator(folder_ / "good"),
                folder_ / "other" / "0000000000000000.safetensors");
  std::ofstream(folder_ / "good" / "x.safetensors.tmp") << "half";
  const auto sampler = Sampler::Create(OnDisk());
  EXPECT_EQ(sampler->Snapshot("").size(), 1u);
  EXPECT_EQ(sampler->Snapshot("good").size(), 1u);
  EXPECT_EQ(Warnings("set aside"), 2u);
  EXPECT_TRUE(fs::exists(folder_ / "other" / "0000000000000000.safetensors.bad"));
  EXPECT_FALSE(fs::exists(folder_ / "good" / "x.safetensors.tmp"));
}

TEST_F(SamplerTest, FullDiskCostsOneWarningAndNoSamples) {
  const auto sampler = Sampler::Create(OnDisk());
  const auto stream = sampler->Open("m", numbers_, SampleMode::kDisk);
  OfferNumbers(*stream, 0, 10);
  sampler->Flush();
  const auto whole = fs::file_size(Files().at(0));
  // No file may grow: what a full disk looks like to write().
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit none{16, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  for (int i = 1; i < 4; ++i) {
    OfferNumbers(*stream, i * 10, 10);
    sampler->Flush();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(Warnings("sampling goes on in memory"), 1u);
  EXPECT_EQ(sampler->Snapshot("m").at(0).rows.size(), 40u);
  ASSERT_EQ(Files().size(), 1u);
  EXPECT_EQ(fs::file_size(Files()[0]), whole);  // the earlier file, untouched
  sampler->Flush();
  EXPECT_GT(fs::file_size(Files()[0]), whole);
}

TEST_F(SamplerTest, OldRowsAreDroppedInMemoryAndOnDisk) {
  auto options = OnDisk();
  options.max_age_s = 100;
  const auto sampler = Sampler::Create(options);
  const auto stream = sampler->Open("m", numbers_, SampleMode::kDisk);
  OfferNumbers(*stream, 0, 3);
  now_s_ += 60;
  OfferNumbers(*stream, 3, 2);
  now_s_ += 60;
  sampler->Flush();
  EXPECT_THAT(NumbersOf(sampler->Snapshot("m").at(0)), testing::UnorderedElementsAre(3, 4));
  EXPECT_EQ(Files().size(), 1u);
  now_s_ += 60;
  sampler->Flush();
  EXPECT_TRUE(sampler->Snapshot("m").at(0).rows.empty());
  EXPECT_TRUE(Files().empty());
  OfferNumbers(*stream, 5, 1);
  EXPECT_THAT(NumbersOf(sampler->Snapshot("m").at(0)), ElementsAre(5));
}

TEST_F(SamplerTest, RemoveForgetsEverywhere) {
  const auto sampler = Sampler::Create(OnDisk());
  const auto one = sampler->Open("one", numbers_, SampleMode::kDisk);
  const auto two = sampler->Open("two", numbers_, SampleMode::kDisk);
  OfferNumbers(*one, 0, 300);
  OfferNumbers(*two, 0, 3);
  sampler->Flush();
  ASSERT_TRUE(sampler->Remove("one").ok());
  EXPECT_TRUE(sampler->Snapshot("one").empty());
  EXPECT_EQ(Files().size(), 1u);
  OfferNumbers(*one, 7, 1);
  EXPECT_EQ(sampler->Snapshot("one").at(0).seen, 1u);
  EXPECT_THAT(NumbersOf(sampler->Snapshot("one").at(0)), ElementsAre(7));
  ASSERT_TRUE(sampler->Remove("").ok());
  EXPECT_TRUE(sampler->Snapshot("").empty());
  EXPECT_TRUE(Files().empty());
}

TEST_F(SamplerTest, ExportHasEverySignature) {
  const auto sampler = Sampler::Create(InMemory());
  const auto stream =
      sampler->Open("m", OneInput(DataType::kBytes, {kDynamic, kDynamic}), SampleMode::kMemory);
  const std::string data = BytesElements({"a", "bc", "", "d"});
  const TensorView wide{0, DataType::kBytes, {1, 4}, std::as_bytes(std::span(data))};
  stream->Offer({&wide, 1}, 1);
  const auto one = sampler->Export("m");
  ASSERT_TRUE(one.ok());
  const auto plain = DecodeSafetensors(std::as_bytes(std::span(*one)));
  ASSERT_TRUE(plain.ok()) << plain.status().ToString();
  ASSERT_NE(plain->Find("x"), nullptr);
  EXPECT_EQ(plain->Find("x")->data.size(), 4u);
  EXPECT_EQ(plain->Find("x.offsets")->shape, std::vector<uint64_t>{5});
  EXPECT_EQ(plain->metadata.at("signature"), "x:BYTES[4]");
  const TensorView narrow{0, DataType::kBytes, {2, 2}, std::as_bytes(std::span(data))};
  stream->Offer({&narrow, 1}, 2);
  const auto both = sampler->Export("m");
  ASSERT_TRUE(both.ok());
  const auto prefixed = DecodeSafetensors(std::as_bytes(std::span(*both)));
  ASSERT_TRUE(prefixed.ok());
  EXPECT_EQ(prefixed->metadata.at("0/signature"), "x:BYTES[2]");
  EXPECT_EQ(prefixed->metadata.at("1/signature"), "x:BYTES[4]");
  EXPECT_NE(prefixed->Find("1/x.offsets"), nullptr);
}

TEST_F(SamplerTest, StreamsMayOutliveTheSampler) {
  auto sampler = Sampler::Create(InMemory());
  const auto stream = sampler->Open("m", numbers_, SampleMode::kMemory);
  now_s_ = 1;
  sampler.reset();
  OfferNumbers(*stream, 0, 3);
}

TEST(SampleFileTest, ContradictionsAreRefused) {
  SampleSet set;
  set.model = "m";
  set.inputs = {{"x", DataType::kUint8, {2}, {}, {}}};
  set.signature = SignatureText(set.inputs);
  set.seen = 5;
  auto row = std::make_shared<SampleRow>();
  row->inputs.emplace_back(2);
  set.rows.push_back(row);
  const auto decode = [](const SampleSet& changed) {
    const auto file = EncodeSamples({&changed, 1});
    return file.ok() && DecodeSamples(std::as_bytes(std::span(*file))).ok();
  };
  EXPECT_TRUE(decode(set));
  auto changed = set;
  changed.signature = "y";
  EXPECT_FALSE(decode(changed));
  changed = set;
  changed.seen = 0;
  EXPECT_FALSE(decode(changed));
  changed = set;
  changed.threshold = 0;
  EXPECT_FALSE(decode(changed));
  changed = set;
  changed.rows.clear();
  EXPECT_FALSE(decode(changed));
}

}  // namespace
}  // namespace evenkeel
