#include "profiling/load_table_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class LoadTableStoreTest : public testing::Test {
 protected:
  LoadTableStoreTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("load_tables_") + info->name());
    fs::remove_all(folder_);
    path_ = (folder_ / "state" / "tables.db").string();
  }
  ~LoadTableStoreTest() override { fs::remove_all(folder_); }

  std::unique_ptr<LoadTableStore> Open() { return LoadTableStore::Open(path_, &warnings_); }

  fs::path folder_;
  std::string path_;
  std::vector<std::string> warnings_;
  const TableKey key_{"m", "d", "machine, \"x\"", "oci CPU"};
};

LoadRow Row(int batch, double us) {
  LoadRow row;
  row.cell = Cell{{500, int64_t{256} << 20, 0, 0}, batch, Precision::kF32};
  row.batch_us = us;
  row.p50_us = us * 0.9;
  row.p99_us = us * 1.5;
  row.no_batch_us = us * 2;
  row.peak_memory_bytes = 12345;
  row.runs = 77;
  row.major_faults = 5;
  return row;
}

void ExpectSame(const LoadRow& a, const LoadRow& b) {
  EXPECT_EQ(a.cell, b.cell);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_NEAR(a.batch_us, b.batch_us, 1e-3);
  EXPECT_NEAR(a.p50_us, b.p50_us, 1e-3);
  EXPECT_NEAR(a.p99_us, b.p99_us, 1e-3);
  EXPECT_NEAR(a.no_batch_us, b.no_batch_us, 1e-3);
  EXPECT_EQ(a.peak_memory_bytes, b.peak_memory_bytes);
  EXPECT_EQ(a.runs, b.runs);
  EXPECT_EQ(a.major_faults, b.major_faults);
  EXPECT_EQ(a.diff_max, b.diff_max);
  EXPECT_EQ(a.diff_mean, b.diff_mean);
  EXPECT_EQ(a.detail, b.detail);
}

TEST_F(LoadTableStoreTest, RowsComeBackAfterReopeningInEveryField) {
  LoadRow bad = Row(8, 1);
  bad.cell.precision = Precision::kBf16;
  bad.cell.shape = {1000, 1 << 30, 16, int64_t{4} << 30};
  bad.outcome = CellOutcome::kTimeout;
  bad.diff_max = 0.5;
  bad.diff_mean = 0.25;
  bad.detail = "it's \"late\"\n";
  {
    auto store = Open();
    EXPECT_TRUE(store->on_disk());
    ASSERT_TRUE(store->Put(key_, "samples", Row(1, 100.125)).ok());
    ASSERT_TRUE(store->Put(key_, "samples", bad).ok());
  }
  const auto table = Open()->Get(key_);
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->inputs, "samples");
  ASSERT_THAT(table->rows, SizeIs(2));
  ExpectSame(table->rows[0], Row(1, 100.125));
  ExpectSame(table->rows[1], bad);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(LoadTableStoreTest, ACellIsReplacedAndKeysAreNeverMixed) {
  auto store = Open();
  TableKey other = key_;
  other.digest = "e";
  ASSERT_TRUE(store->Put(key_, "samples", Row(1, 100)).ok());
  ASSERT_TRUE(store->Put(other, "samples", Row(1, 300)).ok());
  ASSERT_TRUE(store->Put(key_, "samples", Row(1, 200)).ok());
  ASSERT_THAT(store->Get(key_)->rows, SizeIs(1));
  EXPECT_EQ(store->Get(key_)->rows[0].batch_us, 200);
  EXPECT_THAT(*store->All("m"), SizeIs(2));
  EXPECT_THAT(*store->All(""), SizeIs(2));
  EXPECT_THAT(*store->All("n"), IsEmpty());
  ASSERT_TRUE(store->Remove(key_).ok());
  EXPECT_THAT(store->Get(key_)->rows, IsEmpty());
  EXPECT_THAT(store->Get(other)->rows, SizeIs(1));
}

TEST_F(LoadTableStoreTest, ARowOfSamplesDoesNotMakeThoseBesideItSampled) {
  auto store = Open();
  for (const int batch : {1, 2, 4})
    ASSERT_TRUE(store->Put(key_, "signature", Row(batch, 100)).ok());
  ASSERT_TRUE(store->Put(key_, "samples", Row(1, 200)).ok());
  EXPECT_EQ(store->Get(key_)->inputs, "signature");
  const auto sampled = store->Get(key_, "samples");
  EXPECT_EQ(sampled->inputs, "samples");
  ASSERT_THAT(sampled->rows, SizeIs(1));
  EXPECT_EQ(sampled->rows[0].batch_us, 200);
  EXPECT_THAT(store->Get(key_, "signature")->rows, SizeIs(3));
}

TEST_F(LoadTableStoreTest, DamageAnywhereIsAWarningAndAWorkingStore) {
  {
    auto store = Open();
    for (int batch = 1; batch <= 300; ++batch)
      ASSERT_TRUE(store->Put(key_, "samples", Row(batch, 1)).ok());
  }
  std::ifstream in(path_, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (size_t at = 0; at < whole.size(); at += whole.size() / 24) {
    std::string damaged = whole;
    for (size_t i = at; i < std::min(at + 200, damaged.size()); ++i) damaged[i] = '\xa5';
    std::ofstream(path_, std::ios::binary) << damaged;
    fs::remove(path_ + ".bad");
    auto store = Open();
    const LoadRow row = Row(999, 5);
    ASSERT_TRUE(store->Put(key_, "samples", row).ok()) << "damage at " << at;
    const auto table = store->Get(key_);
    ASSERT_TRUE(table.ok());
    ExpectSame(table->rows.back(), row);
  }
  EXPECT_THAT(warnings_, testing::Not(IsEmpty()));
}

// As it was before rows had `major_faults`.
TEST_F(LoadTableStoreTest, AnOlderProgramsRowsAreKept) {
  fs::create_directories(folder_ / "state");
  sqlite3* db = nullptr;
  ASSERT_EQ(::sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  const int made = ::sqlite3_exec(
      db,
      "CREATE TABLE load_rows ("
      " model TEXT NOT NULL, digest TEXT NOT NULL, machine TEXT NOT NULL, setup TEXT NOT NULL,"
      " milli_cores INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, gpu_cores INTEGER NOT NULL,"
      " gpu_memory_bytes INTEGER NOT NULL, batch INTEGER NOT NULL, precision TEXT NOT NULL,"
      " inputs TEXT NOT NULL, outcome TEXT NOT NULL, batchtime_us REAL NOT NULL,"
      " p50_us REAL NOT NULL, p99_us REAL NOT NULL, nobatchtime_us REAL NOT NULL,"
      " peak_memory_bytes INTEGER NOT NULL, runs INTEGER NOT NULL, difference_max REAL NOT NULL,"
      " difference_mean REAL NOT NULL, detail TEXT NOT NULL, measured_s INTEGER NOT NULL,"
      " PRIMARY KEY (model, digest, machine, setup, milli_cores, memory_bytes, gpu_cores,"
      " gpu_memory_bytes, batch, precision)) WITHOUT ROWID;"
      "INSERT INTO load_rows VALUES ('m', 'd', 'machine, \"x\"', 'oci CPU', 500, 268435456, 0, 0, "
      "1,"
      " 'f32', 'samples', 'ok', 100, 90, 150, 200, 12345, 77, -1, -1, '', 1);"
      "PRAGMA user_version = 1",
      nullptr, nullptr, nullptr);
  ::sqlite3_close(db);
  ASSERT_EQ(made, SQLITE_OK);
  for (int again = 0; again < 2; ++again) {
    auto store = Open();
    const auto table = store->Get(key_);
    ASSERT_TRUE(table.ok());
    ASSERT_THAT(table->rows, SizeIs(1 + again));
    LoadRow old = Row(1, 100);
    old.major_faults = 0;
    ExpectSame(table->rows[0], old);
    ASSERT_TRUE(store->Put(key_, "samples", Row(2, 50)).ok());
    EXPECT_THAT(store->Get(key_)->rows, SizeIs(2));
  }
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(LoadTableStoreTest, AnEmptyFileIsAnEmptyStore) {
  fs::create_directories(folder_ / "state");
  std::ofstream(path_).flush();
  EXPECT_TRUE(Open()->Put(key_, "samples", Row(1, 1)).ok());
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(LoadTableStoreTest, WhereNothingCanBeWrittenItKeepsRowsInMemoryAndSaysSo) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "state") << "a file where the folder should be";
  auto store = Open();
  EXPECT_FALSE(store->on_disk());
  ASSERT_TRUE(store->Put(key_, "samples", Row(1, 1)).ok());
  EXPECT_THAT(store->Get(key_)->rows, SizeIs(1));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("cannot be kept")));
}

TEST_F(LoadTableStoreTest, TwoStoresOnOneFileSeeEachOthersRows) {
  auto one = Open(), two = Open();
  ASSERT_TRUE(one->Put(key_, "samples", Row(1, 1)).ok());
  ASSERT_TRUE(two->Put(key_, "samples", Row(2, 1)).ok());
  EXPECT_THAT(one->Get(key_)->rows, SizeIs(2));
}

TEST(LoadTableTest, JsonComesBack) {
  LoadTable table{{"m\"\n", "d", "x", "s"}, "signature", {Row(1, 100), Row(2, 150)}};
  table.rows[1].outcome = CellOutcome::kOom;
  table.rows[1].implied = true;
  table.rows[1].detail = "no, \"memory\"";
  const auto back = LoadTablesFromJson(ToJson({&table, 1}).dump());
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  ASSERT_THAT(*back, SizeIs(1));
  EXPECT_EQ(back->front().key, table.key);
  ExpectSame(back->front().rows[0], table.rows[0]);
  EXPECT_EQ(back->front().rows[1].outcome, CellOutcome::kOom);
  EXPECT_TRUE(back->front().rows[1].implied);
}

TEST(LoadTableTest, BadJsonIsRefusedByRow) {
  for (
      const char* text :
      {"", "[]", "{}", R"({"schema":"evenkeel.load-tables/v1"})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m"}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m","rows":[7]}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m","rows":[{"batch":0}]}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m","rows":[{"batch":1}]}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m","rows":[{"batch":1,"batchtime_us":1,"outcome":"?"}]}]})",
       R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m","rows":[{"batch":1,"batchtime_us":1,"precision":"f8"}]}]})"}) {
    EXPECT_EQ(LoadTablesFromJson(text).status().code(), Code::kInvalidArgument) << text;
  }
}

TEST(LoadTableTest, CsvQuotesWhatNeedsIt) {
  const LoadTable table{{"m", "d", "a, \"b\"", "s"}, "samples", {Row(1, 100)}};
  const std::string csv = ToCsv({&table, 1});
  EXPECT_THAT(csv, HasSubstr("m,d,\"a, \"\"b\"\"\",s,0.5c/256MiB,0.5,268435456,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 2);
}

StoredChoice Choice(const TableKey& key, const std::string& stamp) {
  return {key,
          stamp,
          Row(8, 900).cell,
          {{1, Duration(1000), Duration(1200)}, {8, Duration(9000), Duration(9900)}},
          "1c, batch 8: cheapest"};
}

TEST_F(LoadTableStoreTest, AChoiceIsThereAfterARestart) {
  ASSERT_TRUE(Open()->PutChoice(Choice(key_, "s1")).ok());
  const auto found = Open()->FindChoice("m", "s1", key_.machine, "oci CPU");
  ASSERT_TRUE(found.ok() && found->has_value());
  const StoredChoice& choice = **found;
  EXPECT_EQ(choice.key, key_);
  EXPECT_EQ(choice.cell, Row(8, 900).cell);
  EXPECT_EQ(choice.why, "1c, batch 8: cheapest");
  ASSERT_THAT(choice.times, SizeIs(2));
  EXPECT_EQ(choice.times[1].rows, 8);
  EXPECT_EQ(choice.times[1].mean, Duration(9000));
  EXPECT_EQ(choice.times[1].p99, Duration(9900));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(LoadTableStoreTest, AChoiceIsOfItsFilesMachineAndRung) {
  const auto store = Open();
  ASSERT_TRUE(store->PutChoice(Choice(key_, "s1")).ok());
  EXPECT_FALSE(store->FindChoice("other", "s1", key_.machine, "oci CPU")->has_value());
  EXPECT_FALSE(store->FindChoice("m", "s2", key_.machine, "oci CPU")->has_value());
  EXPECT_FALSE(store->FindChoice("m", "s1", "another", "oci CPU")->has_value());
  EXPECT_FALSE(store->FindChoice("m", "s1", key_.machine, "cgroup CPU")->has_value());
  ASSERT_TRUE(store->RemoveChoices("m", "s2").ok());
  EXPECT_TRUE(store->FindChoice("m", "s1", key_.machine, "oci CPU")->has_value());
  // The newer takes the place of the older.
  StoredChoice newer = Choice(key_, "s2");
  newer.cell.batch = 4;
  ASSERT_TRUE(store->PutChoice(newer).ok());
  EXPECT_FALSE(store->FindChoice("m", "s1", key_.machine, "oci CPU")->has_value());
  EXPECT_EQ((*store->FindChoice("m", "s2", key_.machine, "oci CPU"))->cell.batch, 4);
  ASSERT_TRUE(store->RemoveChoices("m", "s2").ok());
  EXPECT_FALSE(store->FindChoice("m", "s2", key_.machine, "oci CPU")->has_value());
}

TEST_F(LoadTableStoreTest, ALanguageModelsTableIsFoundByItsStamp) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->PutLanguageTable(key_, "s1", "first").ok());
    ASSERT_TRUE(store->PutLanguageTable(key_, "s1", "second").ok());
  }
  const auto store = Open();
  EXPECT_EQ(store->FindLanguageTable(key_, "s1").value(), "second");
  EXPECT_EQ(store->FindLanguageTable(key_, "s2").value(), std::nullopt);
  TableKey other = key_;
  other.machine = "another";
  EXPECT_EQ(store->FindLanguageTable(other, "s1").value(), std::nullopt);
  other = key_;
  other.digest = "";  // is not asked for
  EXPECT_EQ(store->FindLanguageTable(other, "s1").value(), "second");
}

}  // namespace
}  // namespace evenkeel
