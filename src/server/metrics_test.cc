#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

ModelMetrics WithOutlook() {
  ModelMetrics model;
  model.name = "m";
  model.version = "1";
  NodeScheduler::Outlook outlook;
  outlook.window.target = 8;
  outlook.window.right_rows = 8;
  outlook.left_age = 3ms;
  outlook.forecasts[1].interval = 500ms;
  outlook.forecasts[1].next_rows = 50;
  outlook.forecasts[1].last_rows = 40;
  outlook.steering = 1;
  outlook.forecast_errors.Observe(0);
  outlook.forecast_errors.Observe(20);
  outlook.forecast_errors.Observe(1e9);
  model.outlook = outlook;
  return model;
}

std::string Rendered(const ModelMetrics& model, const NodeMetrics& node = {}) {
  return RenderMetrics({model}, node, {});
}

TEST(MetricsTest, TheForecastsErrorIsAHistogram) {
  const std::string text = Rendered(WithOutlook());
  EXPECT_THAT(text, HasSubstr("# TYPE evenkeel_forecast_error_rows_per_second histogram"));
  const std::string name = R"(evenkeel_forecast_error_rows_per_second_)";
  const std::string bucket = name + R"(bucket{model="m",version="1",le=)";
  EXPECT_THAT(text, HasSubstr(bucket + "\"0.1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"25\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"100000\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(name + R"(count{model="m",version="1"} 3)"));
  EXPECT_THAT(text, Not(HasSubstr("evenkeel_forecast_error_rows{")));
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_forecast_rows_per_second{model="m",version="1"} 100)"));
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_actual_rows_per_second{model="m",version="1"} 80)"));
}

TEST(MetricsTest, TheWindowsBoundsAreGauges) {
  ModelMetrics model = WithOutlook();
  std::string text = Rendered(model);
  EXPECT_THAT(text, HasSubstr("# TYPE evenkeel_window_right_rows gauge"));
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_window_right_rows{model="m",version="1"} 8)"));
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_window_left_age_seconds{model="m",version="1"} 0.003)"));
  EXPECT_THAT(text, Not(HasSubstr("evenkeel_window_right_seconds{"))) << "it has no end in time";
  model.outlook->window.left = Time(1s);
  model.outlook->window.right = Time(1s + 250ms);
  text = Rendered(model);
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_window_right_seconds{model="m",version="1"} 0.25)"));
}

TEST(MetricsTest, ANodesLoadStandsBesideItsCapacity) {
  NodeMetrics node;
  node.cores = 4;
  node.load = {.busy_cores = 3, .forecast_cores = 4.5};
  node.memory = {int64_t{8} << 20, int64_t{2} << 20};
  node.loop_lag = 2500us;
  std::string text = Rendered({}, node);
  EXPECT_THAT(text, HasSubstr("evenkeel_node_cores 4\n"));
  EXPECT_THAT(text, HasSubstr("evenkeel_node_busy_cores 3\n"));
  EXPECT_THAT(text, HasSubstr("evenkeel_node_forecast_cores 4.5\n"));
  EXPECT_THAT(text, HasSubstr("evenkeel_loop_lag_seconds 0.0025\n"));
  EXPECT_THAT(text, HasSubstr("evenkeel_node_memory_bytes 8388608\n"));
  EXPECT_THAT(text, HasSubstr("evenkeel_node_memory_free_bytes 2097152\n"));
  node.memory = {};
  text = Rendered({}, node);
  EXPECT_THAT(text, Not(HasSubstr("evenkeel_node_memory_bytes 0"))) << "not known is not none";
}

TEST(MetricsTest, EndsForMemoryAreCountedApart) {
  ModelMetrics model = WithOutlook();
  model.scale.restarts = 3;
  model.scale.out_of_memory = 2;
  const std::string text = Rendered(model);
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_worker_restarts_total{model="m",version="1"} 3)"));
  EXPECT_THAT(text, HasSubstr(R"(evenkeel_worker_out_of_memory_total{model="m",version="1"} 2)"));
}

}  // namespace
}  // namespace evenkeel
