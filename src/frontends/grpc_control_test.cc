// Every call but inference, and the health service, through a real channel.
#include "frontends/grpc_control.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "frontends/grpc_test_server.h"
#include "frontends/guarded_service.h"
#include "proto/health.grpc.pb.h"

namespace evenkeel {
namespace {

using grpc::StatusCode;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class GrpcControlTest : public GrpcServerTest {
 protected:
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, response);
  }
  using Stub = inference::GRPCInferenceService::Stub;
};

TEST_F(GrpcControlTest, LiveAndReadyFollowTheService) {
  inference::ServerLiveResponse live;
  ASSERT_TRUE(Call(&Stub::ServerLive, inference::ServerLiveRequest(), &live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(Call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_TRUE(ready.ready());
  service_.SetReady(false);
  ASSERT_TRUE(Call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_FALSE(ready.ready());
}

TEST_F(GrpcControlTest, ModelReadyIsFalseWhileLoadingAndForUnknownModels) {
  for (const auto& [name, expected] :
       {std::pair{"echo", true}, {"loading", false}, {"nothere", false}}) {
    inference::ModelReadyRequest request;
    request.set_name(name);
    inference::ModelReadyResponse response;
    ASSERT_TRUE(Call(&Stub::ModelReady, request, &response).ok());
    EXPECT_EQ(response.ready(), expected) << name;
  }
}

TEST_F(GrpcControlTest, MetadataOfServerAndModel) {
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(Call(&Stub::ServerMetadata, inference::ServerMetadataRequest(), &server).ok());
  EXPECT_EQ(server.name(), "evenkeel");
  EXPECT_FALSE(server.version().empty());
  const std::vector<std::string> extensions(std::begin(kServerExtensions),
                                            std::end(kServerExtensions));
  EXPECT_EQ(std::vector<std::string>(server.extensions().begin(), server.extensions().end()),
            extensions);

  inference::ModelMetadataRequest request;
  request.set_name("ids");
  inference::ModelMetadataResponse model;
  ASSERT_TRUE(Call(&Stub::ModelMetadata, request, &model).ok());
  EXPECT_EQ(model.name(), "ids");
  EXPECT_EQ(model.versions(0), "1");
  EXPECT_EQ(model.platform(), "fake");
  ASSERT_EQ(model.inputs_size(), 1);
  EXPECT_EQ(model.inputs(0).name(), "ids");
  EXPECT_EQ(model.inputs(0).datatype(), "INT64");
  ASSERT_EQ(model.inputs(0).shape_size(), 2);
  EXPECT_EQ(model.inputs(0).shape(0), -1);
  EXPECT_EQ(model.inputs(0).shape(1), 3);
  EXPECT_EQ(model.outputs(0).name(), "out");

  request.set_name("nothere");
  EXPECT_EQ(Call(&Stub::ModelMetadata, request, &model).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(GrpcControlTest, ConfigComesAsTheProtocolsMessage) {
  inference::ModelConfigRequest request;
  request.set_name("echo");
  inference::ModelConfigResponse response;
  const grpc::Status status = Call(&Stub::ModelConfig, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.config().name(), "echo");
  EXPECT_EQ(response.config().max_batch_size(), 64);
}

TEST_F(GrpcControlTest, StatisticsOfOneModelAndOfAll) {
  inference::ModelInferResponse ignored;
  ASSERT_TRUE(Call(&Stub::ModelInfer, Echo({1, 2, 3, 4}), &ignored).ok());
  inference::ModelStatisticsRequest request;
  request.set_name("echo");
  inference::ModelStatisticsResponse response;
  ASSERT_TRUE(Call(&Stub::ModelStatistics, request, &response).ok());
  ASSERT_EQ(response.model_stats_size(), 1);
  EXPECT_EQ(response.model_stats(0).inference_count(), 1U);
  EXPECT_EQ(response.model_stats(0).inference_stats().success().ns(), 1000U);
  ASSERT_EQ(response.model_stats(0).batch_stats_size(), 1);
  EXPECT_EQ(response.model_stats(0).batch_stats(0).batch_size(), 1U);

  request.clear_name();
  ASSERT_TRUE(Call(&Stub::ModelStatistics, request, &response).ok());
  EXPECT_EQ(response.model_stats_size(), 4);
}

TEST_F(GrpcControlTest, RepositoryIndexLoadAndUnload) {
  inference::RepositoryIndexRequest index;
  inference::RepositoryIndexResponse models;
  ASSERT_TRUE(Call(&Stub::RepositoryIndex, index, &models).ok());
  EXPECT_EQ(models.models_size(), 5);
  index.set_ready(true);
  ASSERT_TRUE(Call(&Stub::RepositoryIndex, index, &models).ok());
  EXPECT_EQ(models.models_size(), 4);
  EXPECT_EQ(models.models(0).state(), "READY");

  inference::RepositoryModelLoadRequest load;
  load.set_model_name("echo");
  (*load.mutable_parameters())["config"].set_string_param("{}");
  inference::RepositoryModelLoadResponse loaded;
  ASSERT_TRUE(Call(&Stub::RepositoryModelLoad, load, &loaded).ok());
  inference::RepositoryModelUnloadRequest unload;
  unload.set_model_name("echo");
  inference::RepositoryModelUnloadResponse unloaded;
  ASSERT_TRUE(Call(&Stub::RepositoryModelUnload, unload, &unloaded).ok());
  EXPECT_EQ(service_.actions(), (std::vector<std::string>{"load echo {}", "unload echo"}));

  service_.FailLoads(InvalidArgument("evenkeel.yaml:3: unknown key 'x'"));
  const grpc::Status failed = Call(&Stub::RepositoryModelLoad, load, &loaded);
  EXPECT_EQ(failed.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(failed.error_message(), "evenkeel.yaml:3: unknown key 'x'");

  (*load.mutable_parameters())["file:1/model.onnx"].set_bytes_param("x");
  EXPECT_EQ(Call(&Stub::RepositoryModelLoad, load, &loaded).error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST(GrpcControlLogTest, ANameWithALineEndWritesNoLineOfItsOwn) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  FakeService fake;
  GuardedService service(fake, CallerAccess::Everything());
  inference::RepositoryModelLoadRequest load;
  load.set_model_name("a\nforged");
  LoadModel(service, load, [](const Status&) {});
  inference::RepositoryModelUnloadRequest unload;
  unload.set_model_name("b\nforged");
  UnloadModel(service, unload, [](const Status&) {});
  spdlog::set_default_logger(before);
  EXPECT_NE(log.str().find("load of model 'a\\x0aforged'"), std::string::npos) << log.str();
  EXPECT_NE(log.str().find("unload of model 'b\\x0aforged'"), std::string::npos) << log.str();
  EXPECT_EQ(log.str().find("\nforged"), std::string::npos);
}

TEST(GrpcControlLogTest, WhoChangesTheLogIsInIt) {
  std::ostringstream log;
  const auto logger = spdlog::default_logger();
  const auto level = spdlog::get_level();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  spdlog::set_level(spdlog::level::info);
  auto key = std::make_shared<KeyRecord>();
  key->name = "ci";
  FakeService fake;
  const GuardedService service(fake, CallerAccess::Of(key));
  inference::LogSettingsRequest request;
  inference::LogSettingsResponse response;
  (*request.mutable_settings())["log_info"].set_bool_param(false);
  EXPECT_TRUE(ApplyLogSettings(service, request, &response).ok());
  const auto silenced = spdlog::get_level();
  (*request.mutable_settings())["log_info"].set_bool_param(true);
  EXPECT_TRUE(ApplyLogSettings(service, request, &response).ok());
  spdlog::set_default_logger(logger);
  spdlog::set_level(level);
  EXPECT_EQ(silenced, spdlog::level::warn);
  EXPECT_NE(log.str().find("grpc: log level warning requested by API key 'ci'"), std::string::npos)
      << log.str();
  EXPECT_NE(log.str().find("grpc: log level info requested by API key 'ci'"), std::string::npos)
      << log.str();
}

TEST_F(GrpcControlTest, SharedMemoryIsRefusedInWords) {
  inference::SystemSharedMemoryStatusResponse system;
  inference::CudaSharedMemoryRegisterResponse cuda;
  const grpc::Status status =
      Call(&Stub::SystemSharedMemoryStatus, inference::SystemSharedMemoryStatusRequest(), &system);
  EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_NE(status.error_message().find("shared memory"), std::string::npos);
  EXPECT_EQ(
      Call(&Stub::CudaSharedMemoryRegister, inference::CudaSharedMemoryRegisterRequest(), &cuda)
          .error_code(),
      StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcControlTest, TraceSettingsAreShownAndCannotBeSwitchedOn) {
  inference::TraceSettingRequest request;
  inference::TraceSettingResponse response;
  ASSERT_TRUE(Call(&Stub::TraceSetting, request, &response).ok());
  EXPECT_EQ(response.settings().at("trace_level").value(0), "OFF");
  (*request.mutable_settings())["trace_level"].add_value("OFF");
  EXPECT_TRUE(Call(&Stub::TraceSetting, request, &response).ok());
  (*request.mutable_settings())["trace_level"].set_value(0, "TIMESTAMPS");
  EXPECT_EQ(Call(&Stub::TraceSetting, request, &response).error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcControlTest, LogSettingsAreTheProcesssLogLevel) {
  const auto before = spdlog::get_level();
  spdlog::set_level(spdlog::level::info);
  inference::LogSettingsRequest request;
  inference::LogSettingsResponse response;
  ASSERT_TRUE(Call(&Stub::LogSettings, request, &response).ok());
  EXPECT_TRUE(response.settings().at("log_info").bool_param());
  EXPECT_EQ(response.settings().at("log_verbose_level").uint32_param(), 0U);

  (*request.mutable_settings())["log_info"].set_bool_param(false);
  ASSERT_TRUE(Call(&Stub::LogSettings, request, &response).ok());
  EXPECT_FALSE(response.settings().at("log_info").bool_param());
  EXPECT_TRUE(response.settings().at("log_warning").bool_param());
  EXPECT_EQ(spdlog::get_level(), spdlog::level::warn);

  (*request.mutable_settings())["nonsense"].set_bool_param(true);
  EXPECT_EQ(Call(&Stub::LogSettings, request, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
  spdlog::set_level(before);
}

class GrpcHealthTest : public GrpcServerTest {
 protected:
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  void SetUp() override {
    GrpcServerTest::SetUp();
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }
  grpc::Status Check(const std::string& name, HealthCheckResponse* response) {
    HealthCheckRequest request;
    request.set_service(name);
    grpc::ClientContext context;
    return health_->Check(&context, request, response);
  }
};

TEST_F(GrpcHealthTest, CheckAnswersForTheServerAndForEachModel) {
  HealthCheckResponse response;
  for (const char* name : {"", "inference.GRPCInferenceService", "echo"}) {
    ASSERT_TRUE(Check(name, &response).ok()) << name;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << name;
  }
  ASSERT_TRUE(Check("loading", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("nothere", &response).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(GrpcHealthTest, WatchSendsTheStateAndThenItsChangesUntilTheServerDrains) {
  HealthCheckRequest request;
  grpc::ClientContext context;
  const auto watch = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  service_.SetReady(false);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  service_.SetReady(true);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_->Drain();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(GrpcHealthTest, WatchOfAnUnknownNameSaysSoAndStaysOpen) {
  HealthCheckRequest request;
  request.set_service("nothere");
  grpc::ClientContext context;
  const auto watch = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);
}

}  // namespace
}  // namespace evenkeel
