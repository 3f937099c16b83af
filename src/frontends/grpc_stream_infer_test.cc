#include "frontends/grpc_stream_infer.h"

#include <future>
#include <map>

#include "frontends/grpc_test_server.h"

namespace evenkeel {
namespace {

class GrpcStreamTest : public GrpcServerTest {
 protected:
  using Stream =
      grpc::ClientReaderWriter<inference::ModelInferRequest, inference::ModelStreamInferResponse>;

  inference::ModelInferRequest Numbered(int id) {
    auto request = Echo({static_cast<float>(id), 0, 0, 0});
    request.set_id(std::to_string(id));
    return request;
  }

  FakeModel& model_ = service_.model("echo");
};

TEST_F(GrpcStreamTest, EveryRequestIsAnsweredAndTheStreamEndsAfterTheHalfClose) {
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  constexpr int kRequests = 500;
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(stream->Write(Numbered(i)));
    stream->WritesDone();
  });
  std::map<std::string, std::string> answers;
  inference::ModelStreamInferResponse response;
  while (stream->Read(&response)) {
    EXPECT_EQ(response.error_message(), "");
    const auto& infer = response.infer_response();
    EXPECT_TRUE(infer.parameters().at("triton_final_response").bool_param());
    EXPECT_TRUE(answers.emplace(infer.id(), infer.raw_output_contents(0)).second) << infer.id();
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), static_cast<size_t>(kRequests));
  for (int i = 0; i < kRequests; ++i)
    EXPECT_EQ(answers[std::to_string(i)], Bytes({static_cast<float>(i), 0, 0, 0}));
}

TEST_F(GrpcStreamTest, ARequestThatFailsIsAnsweredInBandAndTheStreamGoesOn) {
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  auto bad = Numbered(1);
  bad.mutable_inputs(0)->set_name("z");
  ASSERT_TRUE(stream->Write(bad));
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_NE(response.error_message().find("unknown input 'z'"), std::string::npos);
  EXPECT_EQ(response.infer_response().id(), "1");

  model_.Fail(Overloaded("full"));
  ASSERT_TRUE(stream->Write(Numbered(2)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "full");
  EXPECT_EQ(response.infer_response().id(), "2");

  model_.Fail(Status::Ok());
  ASSERT_TRUE(stream->Write(Numbered(3)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().id(), "3");
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStreamTest, ReadsNoMoreThanItsBoundUntilAnswersGoOut) {
  model_.Hold(true);
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  constexpr int kRequests = static_cast<int>(kMaxStreamRequests) + 50;
  for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(stream->Write(Numbered(i)));
  stream->WritesDone();
  ASSERT_TRUE(Eventually([&] { return model_.held() >= kMaxStreamRequests; }));
  std::this_thread::yield();
  EXPECT_EQ(model_.held(), kMaxStreamRequests);
  model_.Hold(false);
  model_.Release();
  int answers = 0;
  inference::ModelStreamInferResponse response;
  while (stream->Read(&response)) ++answers;
  EXPECT_EQ(answers, kRequests);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStreamTest, CompressedMessagesCountAsWhatTheyUnfoldTo) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const auto stream = stub_->ModelStreamInfer(&context);
  model_.Hold(true);
  auto request = Echo({1, 2, 3, 4});
  request.mutable_inputs(0)->set_shape(0, 1 << 20);
  request.set_raw_input_contents(0, std::string(16 << 20, '\0'));
  // Eight of 16 MiB are the 128 MiB that a stream holds, though each is sent as some 16 KiB.
  std::thread sender([&] {
    for (int i = 0; i < 12; ++i) stream->Write(request);
    stream->WritesDone();
  });
  EXPECT_TRUE(Eventually([&] { return model_.held() == 8; }));
  std::this_thread::yield();
  EXPECT_EQ(model_.held(), 8U);
  model_.Hold(false);
  model_.Release();
  inference::ModelStreamInferResponse response;
  int answers = 0;
  while (stream->Read(&response)) ++answers;
  sender.join();
  EXPECT_EQ(answers, 12);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStreamTest, AClientThatGoesAwayCancelsEverythingInFlight) {
  model_.Hold(true);
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(stream->Write(Numbered(i)));
  ASSERT_TRUE(Eventually([&] { return model_.held() == 20; }));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return model_.cancels() == 20 && model_.held() == 0; }));
}

TEST_F(GrpcStreamTest, AStreamWithoutRequestsEndsWithTheHalfClose) {
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(GrpcStreamTest, DrainAnswersWhatWasReadAndEndsTheStream) {
  model_.Hold(true);
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Write(Numbered(i)));
  ASSERT_TRUE(Eventually([&] { return model_.held() == 3; }));
  server_->Drain();
  model_.Release();
  inference::ModelStreamInferResponse response;
  int answers = 0;
  while (stream->Read(&response)) ++answers;
  EXPECT_EQ(answers, 3);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcStreamTest, DrainEndsIdleStreamsOldAndNew) {
  grpc::ClientContext old_context, new_context;
  const std::unique_ptr<Stream> old_stream = stub_->ModelStreamInfer(&old_context);
  ASSERT_TRUE(old_stream->Write(Numbered(1)));
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(old_stream->Read(&response));
  server_->Drain();
  EXPECT_FALSE(old_stream->Read(&response));
  EXPECT_EQ(old_stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  const std::unique_ptr<Stream> new_stream = stub_->ModelStreamInfer(&new_context);
  EXPECT_FALSE(new_stream->Read(&response));
  EXPECT_EQ(new_stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcStreamTest, ShutdownWithOpenStreamsReturns) {
  model_.Hold(true);
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->ModelStreamInfer(&context);
  ASSERT_TRUE(stream->Write(Numbered(1)));
  ASSERT_TRUE(Eventually([&] { return model_.held() == 1; }));
  server_->Shutdown(Duration::zero());
  EXPECT_EQ(model_.held(), 0U);
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace evenkeel
