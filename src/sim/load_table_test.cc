#include "sim/load_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

std::string Document(const std::string& rows, const std::string& more = "") {
  return R"({"schema":"evenkeel.load-tables/v1","models":[{"name":"m")" + more + R"(,"rows":[)" +
         rows + "]}]}";
}
constexpr const char* kRow = R"({"cores":1,"batch":2,"batchtime_us":100,"p99_us":150})";

TEST(LoadTableTest, ReadsRowsByShape) {
  const auto tables = ParseLoadTables(
      Document(std::string(kRow) +
                   R"(,{"cores":2,"batch":4,"batchtime_us":90,"p99_us":90,"outcome":"ok"},)"
                   R"({"cores":1,"batch":64,"batchtime_us":1,"p99_us":1,"outcome":"oom"})",
               R"(,"objective_ms":20)"),
      "t.json");
  ASSERT_TRUE(tables.ok()) << tables.status().ToString();
  const ModelTable& table = tables->front();
  EXPECT_EQ(table.objective, 20ms);
  EXPECT_EQ(table.by_cores.at(1).curve().Mean(2), 100us);
  EXPECT_EQ(table.by_cores.at(1).largest_batch(), 2);  // the row that ran out of memory is none
  EXPECT_EQ(table.by_cores.at(2).curve().P99(4), 90us);
}

TEST(LoadTableTest, RowsOfAnAcceleratorBelongToTheirShape) {
  const std::string gpu = R"({"cores":1,"gpu_cores":8,"gpu_memory_bytes":1073741824,)";
  const auto tables = ParseLoadTables(
      Document(
          std::string(kRow) + "," + gpu + R"("batch":2,"batchtime_us":7,"p99_us":8},)" + gpu +
          R"("batch":4,"batchtime_us":9,"p99_us":9,"outcome":"oom"},)" +
          R"({"cores":1,"gpu_cores":16,"gpu_memory_bytes":1073741824,"batch":64,"batchtime_us":5,"p99_us":5})"),
      "t.json");
  ASSERT_TRUE(tables.ok()) << tables.status().ToString();
  const ModelTable& table = tables->front();
  EXPECT_EQ(table.by_cores.at(1).curve().Mean(2), 100us);  // not that of the accelerator
  ASSERT_EQ(table.by_gpu.size(), 2u);
  const ServiceTimes& eight = table.by_gpu.at({8, int64_t{1} << 30});
  EXPECT_EQ(eight.curve().Mean(2), 7us);
  EXPECT_EQ(eight.largest_batch(), 2);
  const auto alone =
      ParseLoadTables(Document(gpu + R"("batch":2,"batchtime_us":7,"p99_us":8})"), "t.json");
  ASSERT_TRUE(alone.ok());
  EXPECT_TRUE(alone->front().by_cores.empty());
}

TEST(LoadTableTest, WhatIsWrongIsSaidWithItsPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"{", "not JSON"},
      {"[]", "schema"},
      {R"({"schema":"evenkeel.load-tables/v1","models":[]})", "no models"},
      {R"({"schema":"evenkeel.load-tables/v1","models":[3]})", "name"},
      {Document(""), "no row"},
      {Document("7"), "row 0"},
      {Document(R"({"cores":1,"batch":2,"batchtime_us":100})"), "p99_us"},
      {Document(R"({"cores":1,"batch":2,"batchtime_us":100,"p99_us":99})"), "p99_us"},
      {Document(R"({"cores":1,"batch":0,"batchtime_us":100,"p99_us":100})"), "batch"},
      {Document(R"({"cores":0,"batch":1,"batchtime_us":100,"p99_us":100})"), "cores"},
      {Document(R"({"cores":1,"batch":1,"batchtime_us":-1,"p99_us":100})"), "batchtime_us"},
      {Document(kRow, R"(,"noise":"pink")"), "noise"},
      {Document(
           R"({"cores":1,"gpu_cores":0,"gpu_memory_bytes":1,"batch":1,"batchtime_us":1,"p99_us":1})"),
       "gpu_cores"},
      {Document(R"({"cores":1,"gpu_cores":4,"batch":1,"batchtime_us":1,"p99_us":1})"),
       "gpu_memory_bytes"},
      {Document(kRow, R"(,"objective_ms":0)"), "objective_ms"},
  };
  for (const auto& [json, expected] : cases) {
    const auto tables = ParseLoadTables(json, "t.json");
    ASSERT_FALSE(tables.ok()) << json;
    EXPECT_EQ(tables.status().code(), Code::kInvalidArgument);
    EXPECT_TRUE(tables.status().message().starts_with("t.json: ")) << tables.status().message();
    EXPECT_NE(tables.status().message().find(expected), std::string::npos)
        << tables.status().message();
  }
}

TEST(ServiceTimesTest, ScatterAroundTheMeanUpToTheP99) {
  policy::BatchCurve curve;
  curve.Set(4, 1ms, 1500us);
  const ServiceTimes service(curve, true);
  Random random(1);
  std::vector<double> drawn;
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    drawn.push_back(Seconds(service.Draw(4, random)) * 1e3);
    sum += drawn.back();
  }
  std::ranges::sort(drawn);
  EXPECT_NEAR(sum / 1e5, 1, 0.01);
  EXPECT_NEAR(drawn[99'000], 1.5, 0.03);
}

TEST(ServiceTimesTest, WithoutNoiseEveryBatchTakesTheMean) {
  policy::BatchCurve curve;
  curve.Set(4, 1ms, 1500us);
  Random random(1);
  EXPECT_EQ(ServiceTimes(curve, false).Draw(4, random), 1ms);
}

}  // namespace
}  // namespace evenkeel::sim
