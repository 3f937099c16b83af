// Unary inference through a real channel. Streams, health and control calls have tests of their own.
#include "frontends/kserve_grpc.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <future>
#include <vector>

#include "frontends/grpc_test_server.h"

namespace evenkeel {
namespace {

using grpc::StatusCode;

class KServeGrpcTest : public GrpcServerTest {
 protected:
  grpc::Status Infer(const inference::ModelInferRequest& request,
                     inference::ModelInferResponse* response) {
    grpc::ClientContext context;
    return stub_->ModelInfer(&context, request, response);
  }
  // The error of a request that must fail.
  grpc::Status Refused(const inference::ModelInferRequest& request) {
    inference::ModelInferResponse response;
    const grpc::Status status = Infer(request, &response);
    EXPECT_FALSE(status.ok());
    return status;
  }
};

TEST_F(KServeGrpcTest, RawContentsComeBackAsRawContents) {
  auto request = Echo({1, 2, 3, 4, 5, 6, 7, 8});
  request.set_id("r-1");
  inference::ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model_name(), "echo");
  EXPECT_EQ(response.model_version(), "1");
  EXPECT_EQ(response.id(), "r-1");
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.outputs(0).name(), "y");
  EXPECT_EQ(response.outputs(0).datatype(), "FP32");
  ASSERT_EQ(response.outputs(0).shape_size(), 2);
  EXPECT_EQ(response.outputs(0).shape(0), 2);
  EXPECT_EQ(response.raw_output_contents(0), Bytes({1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(KServeGrpcTest, TypedContentsAreUnderstood) {
  inference::ModelInferRequest request;
  request.set_model_name("text");
  auto* const input = request.add_inputs();
  input->set_name("s");
  input->set_datatype("BYTES");
  input->add_shape(1);
  input->add_shape(1);
  input->mutable_contents()->add_bytes_contents("hello");
  inference::ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.raw_output_contents(0), std::string("\x05\0\0\0hello", 9));
}

TEST_F(KServeGrpcTest, ATensorOfMegabytesArrivesWhole) {
  inference::ModelInferRequest request = Echo({});
  std::string data(size_t{3} << 20, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 + (i >> 13));
  request.mutable_inputs(0)->set_shape(0, static_cast<int64_t>(data.size() / 16));
  request.set_raw_input_contents(0, data);
  inference::ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.raw_output_contents(0) == data);
}

TEST_F(KServeGrpcTest, OnlyRequestedOutputsAreSentInTheirOrder) {
  inference::ModelInferRequest request;
  request.set_model_name("types");
  for (const TensorSpec& spec : service_.model("types").signature().inputs) {
    auto* const input = request.add_inputs();
    input->set_name(spec.name);
    input->set_datatype(std::string(NameOf(spec.dtype)));
    input->add_shape(2);
    request.add_raw_input_contents(std::string(2 * ElementSize(spec.dtype), '\1'));
  }
  request.add_outputs()->set_name("out_int16");
  request.add_outputs()->set_name("out_bool");
  inference::ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.outputs_size(), 2);
  EXPECT_EQ(response.outputs(0).name(), "out_int16");
  EXPECT_EQ(response.raw_output_contents(0).size(), 4U);
  EXPECT_EQ(response.outputs(1).name(), "out_bool");

  request.add_outputs()->set_name("out_bool");
  EXPECT_EQ(Refused(request).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(KServeGrpcTest, ClassificationGivesTheLargestValuesWithLabels) {
  auto request = Echo({0.5, 4, 1, 2});
  auto* const output = request.add_outputs();
  output->set_name("y");
  (*output->mutable_parameters())["classification"].set_int64_param(2);
  inference::ModelInferResponse response;
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(response.outputs(0).datatype(), "BYTES");
  EXPECT_EQ(response.outputs(0).shape(1), 2);
  EXPECT_EQ(response.raw_output_contents(0), std::string("\x0e\0\0\0"
                                                         "4.000000:1:one"
                                                         "\x10\0\0\0"
                                                         "2.000000:3:three",
                                                         38));
}

TEST_F(KServeGrpcTest, BadRequestsNameWhatIsWrong) {
  struct Case {
    const char* expected;
    StatusCode code;
    std::function<void(inference::ModelInferRequest&)> spoil;
  };
  const std::vector<Case> cases = {
      {"nothere", StatusCode::NOT_FOUND, [](auto& r) { r.set_model_name("nothere"); }},
      {"version 7", StatusCode::NOT_FOUND, [](auto& r) { r.set_model_version("7"); }},
      {"not ready", StatusCode::UNAVAILABLE, [](auto& r) { r.set_model_name("loading"); }},
      {"unknown input 'z'", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { r.mutable_inputs(0)->set_name("z"); }},
      {"'FP31'", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { r.mutable_inputs(0)->set_datatype("FP31"); }},
      {"got 9", StatusCode::INVALID_ARGUMENT,
       [](auto& r) {
         while (r.inputs(0).shape_size() < 9) r.mutable_inputs(0)->add_shape(1);
       }},
      {"raw_input_contents", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { r.add_raw_input_contents("x"); }},
      {"has contents", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { r.mutable_inputs(0)->mutable_contents()->add_fp32_contents(1); }},
      {"fp32_contents", StatusCode::INVALID_ARGUMENT,
       [](auto& r) {
         r.clear_raw_input_contents();
         r.mutable_inputs(0)->mutable_contents()->add_int_contents(1);
       }},
      {"unknown output 'z'", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { r.add_outputs()->set_name("z"); }},
      {"sequences", StatusCode::UNIMPLEMENTED,
       [](auto& r) { (*r.mutable_parameters())["sequence_id"].set_int64_param(4); }},
      {"shared memory", StatusCode::UNIMPLEMENTED,
       [](auto& r) {
         (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("a");
       }},
      {"'priority'", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { (*r.mutable_parameters())["priority"].set_int64_param(17); }},
      {"'timeout'", StatusCode::INVALID_ARGUMENT,
       [](auto& r) { (*r.mutable_parameters())["timeout"].set_string_param("1"); }},
  };
  for (const Case& c : cases) {
    auto request = Echo({1, 2, 3, 4});
    c.spoil(request);
    const grpc::Status status = Refused(request);
    EXPECT_EQ(status.error_code(), c.code) << c.expected;
    EXPECT_NE(status.error_message().find(c.expected), std::string::npos) << status.error_message();
  }
  EXPECT_EQ(service_.model("echo").calls(), 0);
}

TEST_F(KServeGrpcTest, BytesThatAreNoMessageAreRefusedAndTheConnectionServesOn) {
  grpc::GenericStub generic(channel_);
  for (const std::string_view bytes : {"\x3a\xff\xff\xff\x7f", "\x0a\x02\xc0\x80", "garbage!",
                                       "\x1f\x8b\x08garbage", "\x78\x9cgarbage", "\x1f", "\x78"}) {
    grpc::ClientContext context;
    const grpc::Slice slice(bytes.data(), bytes.size());
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> result;
    generic.UnaryCall(&context, "/inference.GRPCInferenceService/ModelInfer", grpc::StubOptions(),
                      &request, &response,
                      [&](grpc::Status status) { result.set_value(std::move(status)); });
    EXPECT_EQ(result.get_future().get().error_code(), StatusCode::INVALID_ARGUMENT);
  }
  inference::ModelInferResponse response;
  EXPECT_TRUE(Infer(Echo({1, 2, 3, 4}), &response).ok());
}

TEST_F(KServeGrpcTest, ANameOfAMegabyteDoesNotHideItsOwnError) {
  auto request = Echo({1, 2, 3, 4});
  std::string name = "x";
  while (name.size() < size_t{1} << 20) name += "\xc3\xa9";
  request.set_model_name(name);
  const grpc::Status status = Refused(request);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_NE(status.error_message().find("unknown model"), std::string::npos);
  EXPECT_LT(status.error_message().size(), 4000U);
}

TEST_F(KServeGrpcTest, TheEarlierOfBothDeadlinesAndThePriorityReachTheModel) {
  auto request = Echo({1, 2, 3, 4});
  (*request.mutable_parameters())["priority"].set_uint64_param(3);
  (*request.mutable_parameters())["timeout"].set_int64_param(20'000'000);
  inference::ModelInferResponse response;
  FakeModel& model = service_.model("echo");
  const auto left = [&] { return Seconds(model.last_deadline() - SteadyClock::Instance().Now()); };

  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(model.last_priority(), 3);
  EXPECT_GT(left(), 5);
  EXPECT_LE(left(), 20);

  grpc::ClientContext soon;
  soon.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(9));
  ASSERT_TRUE(stub_->ModelInfer(&soon, request, &response).ok());
  EXPECT_GT(left(), 1);
  EXPECT_LE(left(), 9.1);

  request.clear_parameters();
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(model.last_deadline(), kNever);
}

TEST_F(KServeGrpcTest, AClientThatGoesAwayCancelsItsWork) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  grpc::ClientContext context;
  inference::ModelInferResponse response;
  const auto request = Echo({1, 2, 3, 4});
  std::future<grpc::Status> call = std::async(
      std::launch::async, [&] { return stub_->ModelInfer(&context, request, &response); });
  ASSERT_TRUE(Eventually([&] { return model.held() == 1; }));
  context.TryCancel();
  EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return model.cancels() == 1 && model.held() == 0; }));
}

TEST_F(KServeGrpcTest, ADeadlineThatPassesCancelsTheWork) {
  FakeModel& model = service_.model("echo");
  inference::ModelInferResponse response;
  ASSERT_TRUE(Infer(Echo({1, 2, 3, 4}), &response).ok());  // the connection stands
  model.Hold(true);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  EXPECT_EQ(stub_->ModelInfer(&context, Echo({1, 2, 3, 4}), &response).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return model.cancels() == 1 && model.held() == 0; }));
}

// Answers and cancellations meet in every order; the sanitizers watch the calls' lifetimes.
TEST_F(KServeGrpcTest, CancellationsRacingAnswersLeaveNothingBehind) {
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

TEST_F(KServeGrpcTest, ErrorsCarryTheirCodeAndWhenToRetry) {
  FakeModel& model = service_.model("echo");
  struct Case {
    Status error;
    StatusCode code;
    bool retry;
  };
  for (const Case& c : {Case{Overloaded("queue full"), StatusCode::RESOURCE_EXHAUSTED, true},
                        Case{Unavailable("no instance"), StatusCode::UNAVAILABLE, true},
                        Case{DeadlineExceeded("late"), StatusCode::DEADLINE_EXCEEDED, false},
                        Case{Internal("engine"), StatusCode::INTERNAL, false}}) {
    model.Fail(c.error);
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, Echo({1, 2, 3, 4}), &response);
    EXPECT_EQ(status.error_code(), c.code);
    EXPECT_EQ(status.error_message(), c.error.message());
    EXPECT_EQ(context.GetServerTrailingMetadata().count("retry-after"), c.retry ? 1U : 0U);
    EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"),
              c.retry ? 1U : 0U);
  }
}

TEST_F(KServeGrpcTest, RequestIdAndTimingsComeBackAsMetadata) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "abc-123");
  inference::ModelInferResponse response;
  ASSERT_TRUE(stub_->ModelInfer(&context, Echo({1, 2, 3, 4}), &response).ok());
  const auto& initial = context.GetServerInitialMetadata();
  ASSERT_EQ(initial.count("x-request-id"), 1U);
  EXPECT_EQ(initial.find("x-request-id")->second, "abc-123");
  const auto& trailing = context.GetServerTrailingMetadata();
  ASSERT_EQ(trailing.count("server-timing"), 1U);
  EXPECT_EQ(trailing.find("server-timing")->second,
            "queue;dur=1.500, batch;dur=0.020, compute;dur=0.300");
}

TEST_F(KServeGrpcTest, MessagesOverTheLimitAreRefused) {
  StartServer({.max_message_bytes = 1000});
  auto request = Echo({1, 2, 3, 4});
  request.set_raw_input_contents(0, std::string(2000, 'x'));
  EXPECT_EQ(Refused(request).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  inference::ModelInferResponse response;
  EXPECT_TRUE(Infer(Echo({1, 2, 3, 4}), &response).ok());
}

TEST_F(KServeGrpcTest, CompressedMessagesAreUnfolded) {
  auto request = Echo({1, 2, 3, 4});
  request.set_id(std::string(5000, 'i'));
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context, control;
    context.set_compression_algorithm(algorithm);
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.id(), request.id());
    EXPECT_EQ(response.raw_output_contents(0), Bytes({1, 2, 3, 4}));
    control.set_compression_algorithm(algorithm);
    inference::ModelMetadataRequest model;
    model.set_name(std::string(5000, 'n'));
    inference::ModelMetadataResponse answer;
    EXPECT_EQ(stub_->ModelMetadata(&control, model, &answer).error_code(), StatusCode::NOT_FOUND);
  }
}

TEST_F(KServeGrpcTest, AMessageIsNotUnfoldedPastTheLimit) {
  StartServer({.max_message_bytes = 100'000});
  auto request = Echo({1, 2, 3, 4});
  request.set_raw_input_contents(0, std::string(50'000'000, '\0'));
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context, control;
    context.set_compression_algorithm(algorithm);
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(),
              "inference request: the body unfolds to more than 100000 bytes");
    control.set_compression_algorithm(algorithm);
    inference::ModelReadyRequest ready;
    ready.set_name(std::string(200'000, 'n'));
    inference::ModelReadyResponse answer;
    EXPECT_EQ(stub_->ModelReady(&control, ready, &answer).error_code(),
              StatusCode::RESOURCE_EXHAUSTED);
  }
  inference::ModelInferResponse response;
  EXPECT_TRUE(Infer(Echo({1, 2, 3, 4}), &response).ok());
}

TEST_F(KServeGrpcTest, APortInUseIsAnError) {
  const auto second = KServeGrpc::Start(service_, *authorizer_, {.port = server_->port()});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kConflict);
  EXPECT_NE(second.status().message().find(std::to_string(server_->port())), std::string::npos);
}

TEST_F(KServeGrpcTest, ShutdownCancelsWhatIsStillUnderWayAndReturns) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  std::future<grpc::Status> call = std::async(std::launch::async, [&] {
    inference::ModelInferResponse response;
    return Infer(Echo({1, 2, 3, 4}), &response);
  });
  ASSERT_TRUE(Eventually([&] { return model.held() == 1; }));
  server_->Shutdown(Duration::zero());
  EXPECT_FALSE(call.get().ok());
  EXPECT_EQ(model.cancels(), 1);
  EXPECT_EQ(model.held(), 0U);
}

TEST_F(KServeGrpcTest, ShutdownWaitsForCallsWithinItsGrace) {
  FakeModel& model = service_.model("echo");
  model.Hold(true);
  std::future<grpc::Status> call = std::async(std::launch::async, [&] {
    inference::ModelInferResponse response;
    return Infer(Echo({1, 2, 3, 4}), &response);
  });
  ASSERT_TRUE(Eventually([&] { return model.held() == 1; }));
  std::future<void> shutdown =
      std::async(std::launch::async, [&] { server_->Shutdown(std::chrono::seconds(20)); });
  // A new connection is refused once the shutdown has begun; the held call still gets its answer.
  EXPECT_TRUE(Eventually([&] {
    return !NewChannel()->WaitForConnected(std::chrono::system_clock::now() +
                                           std::chrono::milliseconds(50));
  }));
  model.Release();
  EXPECT_TRUE(call.get().ok());
  shutdown.get();
}

}  // namespace
}  // namespace evenkeel
