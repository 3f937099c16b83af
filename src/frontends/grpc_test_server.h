// A KServeGrpc over a FakeService on a free loopback port, with a client: for the gRPC front end's tests.
#pragma once

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "access/authorizer.h"
#include "frontends/fake_service.h"
#include "frontends/kserve_grpc.h"
#include "proto/grpc_service.grpc.pb.h"

namespace evenkeel {

class GrpcServerTest : public testing::Test {
 protected:
  void SetUp() override { StartServer({}); }

  void StartServer(GrpcOptions options) {
    options.port = 0;
    server_.reset();
    auto started = KServeGrpc::Start(service_, *authorizer_, options);
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
    channel_ = NewChannel();
    stub_ = inference::GRPCInferenceService::NewStub(channel_);
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  // One row of `values` for model echo.
  static inference::ModelInferRequest Echo(std::initializer_list<float> values) {
    inference::ModelInferRequest request;
    request.set_model_name("echo");
    auto* const input = request.add_inputs();
    input->set_name("x");
    input->set_datatype("FP32");
    input->add_shape(static_cast<int64_t>(values.size() / 4));
    input->add_shape(4);
    request.add_raw_input_contents(Bytes(values));
    return request;
  }

  static std::string Bytes(std::initializer_list<float> values) {
    return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
  }

  // For states that another thread brings about; false after ten seconds.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  FakeService service_;
  const Authorizer* authorizer_ = &Authorizer::Off();  // before StartServer()
  std::unique_ptr<KServeGrpc> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
};

}  // namespace evenkeel
