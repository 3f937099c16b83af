// Every method over gRPC, with and without keys.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>
#include <tuple>
#include <vector>

#include "frontends/access_test_keys.h"
#include "frontends/grpc_test_server.h"
#include "frontends/routes.h"
#include "proto/health.grpc.pb.h"

namespace evenkeel {
namespace {

using grpc::StatusCode;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

class GrpcAccessTest : public GrpcServerTest {
 protected:
  void SetUp() override {
    authorizer_ = keys_.authorizer.get();
    StartServer({});
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }
  void TearDown() override { server_.reset(); }

  static void AddKey(grpc::ClientContext* context, const std::string& key) {
    if (!key.empty()) context->AddMetadata("authorization", "Bearer " + key);
  }
  // A call of any method with an empty message.
  StatusCode CallRaw(std::string_view method, const std::string& key) {
    grpc::ClientContext context;
    AddKey(&context, key);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    grpc::GenericStub stub(channel_);
    grpc::CompletionQueue queue;
    const grpc::Slice empty;
    const auto call = stub.PrepareCall(&context, std::string(method), &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue.Next(&tag, &ok));
      return ok;
    };
    call->StartCall(nullptr);
    bool open = wait();
    if (open) {
      call->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), nullptr);
      open = wait();
    }
    grpc::ByteBuffer answer;
    if (open) {
      call->Read(&answer, nullptr);
      // A watch has no end of its own.
      if (wait() && method.ends_with("Watch")) context.TryCancel();
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    queue.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) {
    }
    return status.error_code();
  }
  // A call whose message never comes, until it is answered or `this` goes.
  class Silent {
   public:
    Silent(const std::shared_ptr<grpc::Channel>& channel, std::string_view method,
           const std::string& key)
        : stub_(channel) {
      AddKey(&context_, key);
      context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
      call_ = stub_.PrepareCall(&context_, std::string(method), &queue_);
      call_->StartCall(nullptr);
      Wait();
    }
    ~Silent() {
      if (!ended_) {
        context_.TryCancel();
        EXPECT_FALSE(End().ok());
      }
      queue_.Shutdown();
      void* tag = nullptr;
      bool ok = false;
      while (queue_.Next(&tag, &ok)) {
      }
    }
    grpc::Status End() {
      grpc::Status status;
      call_->Finish(&status, nullptr);
      Wait();
      ended_ = true;
      return status;
    }

   private:
    void Wait() {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue_.Next(&tag, &ok));
    }
    grpc::GenericStub stub_;
    grpc::ClientContext context_;
    grpc::CompletionQueue queue_;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
    bool ended_ = false;
  };
  void StartAgain(GrpcOptions options) {
    StartServer(std::move(options));
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (inference::GRPCInferenceService::Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, const std::string& key) {
    grpc::ClientContext context;
    AddKey(&context, key);
    return (stub_.get()->*method)(&context, request, response);
  }
  StatusCode Infer(const std::string& model, const std::string& key) {
    inference::ModelInferRequest request = Echo({1, 2, 3, 4});
    request.set_model_name(model);
    inference::ModelInferResponse response;
    return Call(&Stub::ModelInfer, request, &response, key).error_code();
  }
  grpc::Status Check(const std::string& name, const std::string& key) {
    HealthCheckRequest request;
    request.set_service(name);
    HealthCheckResponse response;
    grpc::ClientContext context;
    AddKey(&context, key);
    return health_->Check(&context, request, &response);
  }
  using Stub = inference::GRPCInferenceService::Stub;

  TestKeys keys_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

TEST_F(GrpcAccessTest, TheTableHasEveryMethodOfTheProtocolsAndNoOther) {
  std::set<std::string> published;
  for (const auto* service :
       {inference::ModelInferRequest::descriptor()->file()->FindServiceByName(
            "GRPCInferenceService"),
        HealthCheckRequest::descriptor()->file()->FindServiceByName("Health")}) {
    ASSERT_NE(service, nullptr);
    for (int i = 0; i < service->method_count(); ++i)
      published.insert("/" + service->full_name() + "/" + service->method(i)->name());
  }
  std::set<std::string> listed;
  for (const GrpcRoute& route : GrpcRoutes()) listed.insert(std::string(route.method));
  EXPECT_EQ(listed, published);
}

TEST_F(GrpcAccessTest, WithoutAValidKeyNothingIsServedButWhatNeedsNone) {
  for (const GrpcRoute& route : GrpcRoutes()) {
    for (const std::string& key : {std::string(), keys_.wrong, keys_.expired, keys_.revoked}) {
      const StatusCode code = CallRaw(route.method, key);
      EXPECT_EQ(code == StatusCode::UNAUTHENTICATED, route.need != Need::kNothing)
          << route.method << " " << code;
    }
  }
  EXPECT_EQ(CallRaw("/inference.GRPCInferenceService/NotThere", ""), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(CallRaw("/inference.GRPCInferenceService/NotThere", keys_.metrics),
            StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(service_.actions().empty());
}

TEST_F(GrpcAccessTest, EveryMethodIsServedToTheKeyThatItNeeds) {
  for (const GrpcRoute& route : GrpcRoutes()) {
    const std::string& key = route.need == Need::kManage ? keys_.manage : keys_.all_models;
    const StatusCode code = CallRaw(route.method, key);
    EXPECT_NE(code, StatusCode::UNAUTHENTICATED) << route.method;
    // An empty name is no model's, so no scope covers it.
    if (route.need != Need::kModelInside) {
      EXPECT_NE(code, StatusCode::PERMISSION_DENIED) << route.method;
    }
    if (route.need == Need::kManage) {
      EXPECT_EQ(CallRaw(route.method, keys_.all_models), StatusCode::PERMISSION_DENIED)
          << route.method;
    }
  }
}

TEST_F(GrpcAccessTest, AModelTakesAScopeOfItsOwnWhetherItExistsOrNot) {
  EXPECT_EQ(Infer("echo", keys_.infer), StatusCode::OK);
  EXPECT_EQ(Infer("ids", keys_.infer), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Infer("nothere", keys_.infer), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Infer("echo", keys_.manage), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Infer("echo", keys_.metrics), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Infer("nothere", keys_.all_models), StatusCode::NOT_FOUND);
  for (const auto& [key, model, expected] :
       {std::tuple{keys_.infer, "echo", StatusCode::OK},
        {keys_.infer, "ids", StatusCode::PERMISSION_DENIED},
        {keys_.manage, "ids", StatusCode::OK},
        {keys_.metrics, "ids", StatusCode::PERMISSION_DENIED}}) {
    inference::ModelMetadataRequest metadata;
    metadata.set_name(model);
    inference::ModelMetadataResponse described;
    EXPECT_EQ(Call(&Stub::ModelMetadata, metadata, &described, key).error_code(), expected);
    inference::ModelReadyRequest ready;
    ready.set_name(model);
    inference::ModelReadyResponse answer;
    EXPECT_EQ(Call(&Stub::ModelReady, ready, &answer, key).error_code(), expected);
    inference::ModelConfigRequest config;
    config.set_name(model);
    inference::ModelConfigResponse configured;
    EXPECT_EQ(Call(&Stub::ModelConfig, config, &configured, key).error_code(), expected);
    inference::ModelStatisticsRequest statistics;
    statistics.set_name(model);
    inference::ModelStatisticsResponse counted;
    EXPECT_EQ(Call(&Stub::ModelStatistics, statistics, &counted, key).error_code(), expected);
  }
}

TEST_F(GrpcAccessTest, ListsShowOnlyWhatTheKeyMaySee) {
  inference::RepositoryIndexResponse models;
  ASSERT_TRUE(Call(&Stub::RepositoryIndex, {}, &models, keys_.infer).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).name(), "echo");
  ASSERT_TRUE(Call(&Stub::RepositoryIndex, {}, &models, keys_.manage).ok());
  EXPECT_EQ(models.models_size(), 5);
  inference::ModelStatisticsResponse statistics;
  ASSERT_TRUE(Call(&Stub::ModelStatistics, {}, &statistics, keys_.infer).ok());
  ASSERT_EQ(statistics.model_stats_size(), 1);
  EXPECT_EQ(statistics.model_stats(0).name(), "echo");
}

TEST_F(GrpcAccessTest, MalformedCredentialsAreUnauthenticated) {
  const std::string good = "Bearer " + keys_.all_models;
  for (const std::vector<std::string>& fields : {std::vector<std::string>{""},
                                                 {"Basic dXNlcjpwYXNz"},
                                                 {keys_.all_models},
                                                 {good, good},
                                                 {"", good},
                                                 {good + std::string(8'000, 'x')}}) {
    grpc::ClientContext context;
    for (const std::string& field : fields) context.AddMetadata("authorization", field);
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, Echo({1, 2, 3, 4}), &response);
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << fields.front().substr(0, 40);
    EXPECT_THAT(status.error_message(), testing::Not(HasSubstr(keys_.all_models)));
  }
}

TEST_F(GrpcAccessTest, HealthOfTheServerIsOpenAndThatOfAModelIsNot) {
  EXPECT_TRUE(Check("", "").ok());
  EXPECT_TRUE(Check("inference.GRPCInferenceService", keys_.wrong).ok());
  for (const char* name : {"echo", "nothere"}) {
    EXPECT_EQ(Check(name, "").error_code(), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(Check(name, keys_.metrics).error_code(), StatusCode::PERMISSION_DENIED);
  }
  EXPECT_TRUE(Check("echo", keys_.infer).ok());
  EXPECT_EQ(Check("nothere", keys_.all_models).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(GrpcAccessTest, AWatchOfAModelEndsWithItsKey) {
  HealthCheckRequest request;
  request.set_service("echo");
  grpc::ClientContext context;
  AddKey(&context, keys_.infer);
  const auto watch = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  keys_.Revoke("infer");
  EXPECT_FALSE(watch->Read(&response));
  const grpc::Status status = watch->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(), "the API key was revoked");
}

TEST_F(GrpcAccessTest, AnOpenStreamAsksAgainForEachRequest) {
  grpc::ClientContext context;
  AddKey(&context, keys_.infer);
  const auto stream = stub_->ModelStreamInfer(&context);
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Write(Echo({1, 2, 3, 4})));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  inference::ModelInferRequest other = Echo({1, 2, 3, 4});
  other.set_model_name("ids");
  ASSERT_TRUE(stream->Write(other));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(response.error_message(), HasSubstr("no scope infer: for model 'ids'"));
  keys_.Revoke("infer");
  ASSERT_TRUE(stream->Write(Echo({1, 2, 3, 4})));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "the API key was revoked");
  EXPECT_EQ(service_.model("echo").calls(), 1);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcAccessTest, AWrongKeyIsRefusedBeforeAnyMessageIsRead) {
  for (const GrpcRoute& route : GrpcRoutes()) {
    if (route.need == Need::kNothing) continue;
    EXPECT_EQ(Silent(channel_, route.method, keys_.wrong).End().error_code(),
              StatusCode::UNAUTHENTICATED)
        << route.method;
  }
}

TEST_F(GrpcAccessTest, WhoShowsNoKeyHasLittleTimeForItsMessage) {
  StartAgain({.keyless_patience = std::chrono::milliseconds(1000)});
  for (const char* method : {"/inference.GRPCInferenceService/ServerLive",
                             "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}) {
    const grpc::Status status = Silent(channel_, method, "").End();
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("without an API key")) << method;
  }
  // A watch goes on when its time for the message is over.
  grpc::ClientContext context;
  const auto watch = health_->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  server_->Drain();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Finish().ok());
}

TEST_F(GrpcAccessTest, CallsWithoutAKeyAreOnlySoManyAtATime) {
  {
    std::vector<std::unique_ptr<Silent>> open;
    for (int i = 0; i < 64; ++i)
      open.push_back(
          std::make_unique<Silent>(channel_, "/inference.GRPCInferenceService/ServerLive", ""));
    EXPECT_TRUE(
        Eventually([&] { return Check("", "").error_code() == StatusCode::RESOURCE_EXHAUSTED; }));
    EXPECT_TRUE(Check("", keys_.infer).ok());
  }
  EXPECT_TRUE(Eventually([&] { return Check("", "").ok(); }));
}

TEST_F(GrpcAccessTest, WatchesWithoutAKeyAreOnlySoMany) {
  struct Watch {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
  };
  const auto open = [&](const std::string& key) {
    auto watch = std::make_unique<Watch>();
    AddKey(&watch->context, key);
    watch->reader = health_->Watch(&watch->context, HealthCheckRequest());
    return watch;
  };
  std::vector<std::unique_ptr<Watch>> watches;
  HealthCheckResponse response;
  for (int i = 0; i < 64; ++i) {
    watches.push_back(open(""));
    ASSERT_TRUE(watches.back()->reader->Read(&response)) << i;
  }
  const auto refused = open("");
  EXPECT_FALSE(refused->reader->Read(&response));
  EXPECT_EQ(refused->reader->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const auto keyed = open(keys_.metrics);
  EXPECT_TRUE(keyed->reader->Read(&response));
  for (const auto& watch : watches) watch->context.TryCancel();
  for (const auto& watch : watches) EXPECT_FALSE(watch->reader->Finish().ok());
  EXPECT_TRUE(Eventually([&] {
    const auto again = open("");
    const bool opened = again->reader->Read(&response);
    again->context.TryCancel();
    EXPECT_FALSE(again->reader->Finish().ok());
    return opened;
  }));
  keyed->context.TryCancel();
  EXPECT_FALSE(keyed->reader->Finish().ok());
}

// ModelInfer comes another way where keys are needed: what kserve_grpc_test asks of it without them.
TEST_F(GrpcAccessTest, AnInferenceHasItsMetadataAndItsLimit) {
  StartAgain({.max_message_bytes = 1000});
  grpc::ClientContext context;
  AddKey(&context, keys_.infer);
  context.AddMetadata("x-request-id", "abc-123");
  inference::ModelInferResponse response;
  ASSERT_TRUE(stub_->ModelInfer(&context, Echo({1, 2, 3, 4}), &response).ok());
  EXPECT_EQ(response.raw_output_contents(0), Bytes({1, 2, 3, 4}));
  EXPECT_EQ(context.GetServerInitialMetadata().count("x-request-id"), 1U);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("server-timing"), 1U);
  inference::ModelInferRequest large = Echo({1, 2, 3, 4});
  large.set_id(std::string(2000, 'x'));
  EXPECT_EQ(Call(&Stub::ModelInfer, large, &response, keys_.infer).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Infer("echo", keys_.infer), StatusCode::OK);
}

TEST_F(GrpcAccessTest, AnInferenceEndsWithItsClientOrItsDeadline) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  const auto request = Echo({1, 2, 3, 4});
  grpc::ClientContext left;
  AddKey(&left, keys_.infer);
  std::future<grpc::Status> call = std::async(std::launch::async, [&] {
    inference::ModelInferResponse response;
    return stub_->ModelInfer(&left, request, &response);
  });
  ASSERT_TRUE(Eventually([&] { return model.held() == 1; }));
  left.TryCancel();
  EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return model.cancels() == 1 && model.held() == 0; }));
  grpc::ClientContext late;
  AddKey(&late, keys_.infer);
  late.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  inference::ModelInferResponse response;
  EXPECT_EQ(stub_->ModelInfer(&late, request, &response).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return model.cancels() == 2 && model.held() == 0; }));
}

TEST_F(GrpcAccessTest, AFoldedInferenceIsUnfoldedAndNotPastTheLimit) {
  StartAgain({.max_message_bytes = 100'000});
  for (const size_t size : {size_t{5'000}, size_t{50'000'000}}) {
    grpc::ClientContext context;
    AddKey(&context, keys_.infer);
    context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    inference::ModelInferRequest request = Echo({1, 2, 3, 4});
    request.set_id(std::string(size, 'i'));
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    if (size > 100'000) {
      EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
      EXPECT_THAT(status.error_message(), HasSubstr("unfolds to more than 100000 bytes"));
    } else {
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.id(), request.id());
    }
  }
}

TEST_F(GrpcAccessTest, CancellationsRacingAnswersLeaveNothingBehind) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  std::atomic<bool> stop{false};
  std::thread releaser([&] {
    while (!stop) {
      model.Release();
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        AddKey(&context, keys_.infer);
        context.set_deadline(
            std::chrono::system_clock::now() +
            std::chrono::microseconds((i + t) % 7 == 0 ? 10'000'000 : 150 * (i % 10)));
        inference::ModelInferResponse response;
        const auto request = Echo({1, 2, 3, static_cast<float>(i)});
        if (stub_->ModelInfer(&context, request, &response).ok()) {
          EXPECT_EQ(response.raw_output_contents(0), request.raw_input_contents(0));
        }
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_TRUE(Eventually([&] { return model.held() == 0; }));
  stop = true;
  releaser.join();
}

TEST_F(GrpcAccessTest, ShutdownCancelsAnInferenceThatIsUnderWayAndReturns) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  std::future<StatusCode> call =
      std::async(std::launch::async, [&] { return Infer("echo", keys_.infer); });
  // One whose message is still to come.
  const Silent silent(channel_, "/inference.GRPCInferenceService/ModelInfer", keys_.infer);
  ASSERT_TRUE(Eventually([&] { return model.held() == 1; }));
  server_->Shutdown(Duration::zero());
  EXPECT_NE(call.get(), StatusCode::OK);
  EXPECT_EQ(model.cancels(), 1);
  EXPECT_EQ(model.held(), 0U);
}

}  // namespace
}  // namespace evenkeel
