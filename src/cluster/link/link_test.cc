// Both ends of the link over a real socket.
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "cluster/link/figures_message.h"
#include "cluster/link/infer_message.h"
#include "cluster/link/link_client.h"
#include "cluster/link/link_server.h"
#include "cluster/pki/pki_test_kit.h"
#include "core/format.h"
#include "net/io_loop.h"
#include "proto/node.grpc.pb.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TensorSpec Spec(std::string name) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.dtype = DataType::kFp32;
  spec.shape = {-1, 2};
  return spec;
}

Signature EchoSignature() {
  Signature signature;
  signature.inputs.push_back(Spec("x"));
  signature.outputs.push_back(Spec("y"));
  signature.batched = true;
  signature.max_batch = 8;
  return signature;
}

// Answers with its input, or holds the call until it is cancelled.
class EchoModel final : public ServedModel {
 public:
  explicit EchoModel(bool hold) : hold_(hold) {}
  ~EchoModel() override {
    for (std::thread& thread : threads_) thread.join();
  }
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return signature_; }
  void Infer(InferCall* call) override {
    ++calls;
    if (hold_) {
      const std::lock_guard lock(mutex_);
      held_.insert(call);
      changed_.notify_all();
      return;
    }
    TensorView view = call->inputs[0];
    view.spec = 0;
    Timings timings;
    timings.compute = milliseconds(3);
    timings.batch_rows = 4;
    call->Done(Status::Ok(), {&view, 1}, timings);
  }
  void Cancel(InferCall* call) override {
    const std::lock_guard lock(mutex_);
    if (held_.erase(call) == 0) return;
    // Elsewhere, as a dispatcher would: not inside Cancel().
    threads_.emplace_back([call] { call->Done(Cancelled("the client went away"), {}, {}); });
  }
  void AwaitHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !held_.empty(); });
  }
  bool calls_others() const override { return graph; }
  std::atomic<int> calls{0};
  std::atomic<bool> graph{false};

 private:
  const bool hold_;
  const std::string name_ = "echo", version_ = "1";
  const Signature signature_ = EchoSignature();
  std::mutex mutex_;
  std::condition_variable changed_;
  // A client that has given up one may send the next before that is cancelled here.
  std::set<InferCall*> held_;
  std::vector<std::thread> threads_;
};

class FakeHost final : public NodeHost {
 public:
  explicit FakeHost(bool hold = false) : model(std::make_shared<EchoModel>(hold)) {}
  bool IsOfCluster(std::string_view node) const override { return node == "a"; }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override {
    NodeFigures figures;
    figures.node = "b";
    figures.incarnation = 1;
    figures.sequence = ++sequence;
    figures.cores = 2;
    figures.models.push_back(
        {.name = "echo", .version = "1", .row_s = 0.25, .signature = DigestOf(model->signature())});
    return figures;
  }
  void OnFigures(const NodeFigures& theirs) override {
    const std::lock_guard lock(mutex);
    heard = theirs;
  }
  Status SetOwnState(std::string_view state) override {
    return state == "drain" ? Status::Ok() : InvalidArgument("no state '{}'", state);
  }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view name, std::string_view) override {
    if (name != "echo") return NotFound("unknown model '{}'", name);
    return std::shared_ptr<ServedModel>(model);
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view name) override {
    return NotFound("unknown model '{}'", name);
  }
  std::mutex mutex;
  NodeFigures heard;
  std::atomic<uint64_t> sequence{0};
  std::shared_ptr<EchoModel> model;
};

class PlainCall final : public InferCall {
 public:
  void Done(const Status&, std::span<const TensorView>, const Timings&) override {}
};

// Waits for one end of a call.
struct End {
  std::mutex mutex;
  std::condition_variable changed;
  int ends = 0;
  LinkClient::InferEnd end;
  std::vector<float> values;

  LinkClient::OnInferEnd Callback() {
    return [this](const LinkClient::InferEnd& told, std::span<const TensorView> outputs) {
      const std::lock_guard lock(mutex);
      ++ends;
      end = told;
      for (const TensorView& view : outputs) {
        values.resize(view.data.size() / sizeof(float));
        std::memcpy(values.data(), view.data.data(), view.data.size());
      }
      changed.notify_all();
    };
  }
  void Await() {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, seconds(20), [this] { return ends > 0; }));
  }
};

class LinkTest : public testing::Test {
 protected:
  void Begin(bool hold = false) {
    host_ = std::make_unique<FakeHost>(hold);
    auto server = LinkServer::Start(*host_, SteadyClock::Instance(), {});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    client_ = std::make_unique<LinkClient>(options);
    call_.inputs.push_back(
        {0, DataType::kFp32, {2, 2}, std::as_bytes(std::span<const float>(data_))});
  }
  std::shared_ptr<LinkClient::Running> Infer(End& end, std::string_view model = "echo") {
    return client_->Infer(call_, {.model = model, .version = ""},
                          std::make_shared<Signature>(EchoSignature()),
                          SteadyClock::Instance().Now(), end.Callback());
  }

  const float data_[4] = {1, 2, 3, 4};
  PlainCall call_;
  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<LinkServer> server_;
  std::unique_ptr<LinkClient> client_;
};

TEST_F(LinkTest, FiguresAreExchanged) {
  Begin();
  NodeFigures own;
  own.node = "a";
  own.cores = 1;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Result<NodeFigures>> answer;
  client_->Tell(own, seconds(10), [&](Result<NodeFigures> told) {
    const std::lock_guard lock(mutex);
    answer = std::move(told);
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, seconds(20), [&] { return answer.has_value(); }));
  ASSERT_TRUE(answer->ok()) << answer->status().ToString();
  EXPECT_EQ((**answer).node, "b");
  ASSERT_EQ((**answer).models.size(), 1);
  EXPECT_DOUBLE_EQ((**answer).models[0].row_s, 0.25);
  const std::lock_guard host(host_->mutex);
  EXPECT_EQ(host_->heard.node, "a");
}

TEST_F(LinkTest, ACallRunsThereAndItsAnswerComesBack) {
  Begin();
  End end;
  Infer(end);
  end.Await();
  EXPECT_TRUE(end.end.status.ok()) << end.end.status.ToString();
  EXPECT_EQ(end.values, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(end.end.timings.compute, milliseconds(3));
  EXPECT_EQ(end.end.timings.batch_rows, 4);
}

TEST_F(LinkTest, WhetherItStandsIsKnownWithoutAsking) {
  Begin();
  EXPECT_FALSE(client_->connected());
  End end;
  Infer(end);
  end.Await();
  EXPECT_TRUE(client_->connected());
  server_.reset();
  End lost;
  Infer(lost);
  lost.Await();
  EXPECT_FALSE(client_->connected());
}

// Whoever asks for the one does not get the other: else calls of graphs could go round.
TEST_F(LinkTest, AModelAnswersNoCallOfAGraphOfItsName) {
  Begin();
  for (const bool graph : {false, true}) {
    host_->model->graph = graph;
    for (const bool asked : {false, true}) {
      End end;
      client_->Infer(call_, {.model = "echo", .version = "", .graph = asked},
                     std::make_shared<Signature>(EchoSignature()), SteadyClock::Instance().Now(),
                     end.Callback());
      end.Await();
      EXPECT_EQ(end.end.status.code(), graph == asked ? Code::kOk : Code::kNotFound)
          << end.end.status.ToString();
    }
  }
  EXPECT_EQ(host_->model->calls, 2);
}

TEST_F(LinkTest, AnErrorOfTheModelIsNotAFailureOfTheLink) {
  Begin();
  End end;
  Infer(end, "none");
  end.Await();
  EXPECT_EQ(end.end.status.code(), Code::kNotFound);
  EXPECT_FALSE(end.end.link_failed);
}

TEST_F(LinkTest, ANodeThatIsNotThereIsAFailureOfTheLink) {
  Begin();
  server_.reset();
  End end;
  Infer(end);
  end.Await();
  EXPECT_EQ(end.end.status.code(), Code::kUnavailable);
  EXPECT_TRUE(end.end.link_failed);
}

TEST_F(LinkTest, ANodeThatEndsMeanwhileIsAFailureOfTheLink) {
  Begin(/*hold=*/true);
  End end;
  Infer(end);
  host_->model->AwaitHeld();
  server_.reset();  // cancels what runs
  end.Await();
  EXPECT_FALSE(end.end.status.ok());
  EXPECT_EQ(end.ends, 1);
}

TEST_F(LinkTest, ACancelledCallIsCancelledThere) {
  Begin(/*hold=*/true);
  End end;
  const auto running = Infer(end);
  host_->model->AwaitHeld();
  running->Cancel();
  end.Await();
  EXPECT_EQ(end.end.status.code(), Code::kCancelled);
  EXPECT_FALSE(end.end.link_failed);
}

TEST_F(LinkTest, WhatIsGivenUpCountsAsLost) {
  Begin(/*hold=*/true);
  End end;
  Infer(end);
  host_->model->AwaitHeld();
  client_->GiveUpAll();
  end.Await();
  EXPECT_TRUE(end.end.link_failed);
}

TEST_F(LinkTest, AClosedLinkHasEndedItsCallsAndIsThereYet) {
  Begin(/*hold=*/true);
  End end, late;
  Infer(end);
  host_->model->AwaitHeld();
  client_->Close();
  EXPECT_EQ(end.ends, 1);
  EXPECT_TRUE(end.end.link_failed);
  Infer(late);  // whoever comes too late gets an answer, too
  client_->Close();
  EXPECT_EQ(late.ends, 1);
}

TEST_F(LinkTest, TheClientsEndEndsItsCalls) {
  Begin(/*hold=*/true);
  End end;
  Infer(end);
  host_->model->AwaitHeld();
  client_.reset();
  EXPECT_EQ(end.ends, 1);
}

// With certificates

class SecureLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = pki::Must(IoLoop::Create("link"));
    loop_->Start();
    LinkServerOptions options;
    options.credentials = &server_credentials_;
    options.loop = loop_.get();
    server_ = pki::Must(LinkServer::Start(host_, SteadyClock::Instance(), options));
  }
  Result<NodeFigures> Tell(const link::NodeCredentials* credentials, const std::string& expect,
                           const std::string& as) {
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    options.credentials = credentials;
    options.node = expect;
    LinkClient client(options);
    NodeFigures own;
    own.node = as;
    own.cores = 1;
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Result<NodeFigures>> answer;
    client.Tell(own, seconds(5), [&](Result<NodeFigures> told) {
      const std::lock_guard lock(mutex);
      answer = std::move(told);
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, seconds(20), [&] { return answer.has_value(); }));
    return answer ? *answer : Result<NodeFigures>(Unavailable("no answer"));
  }
  static link::NodeCredentials Of(const pki::TestCluster& cluster, const std::string& node) {
    return pki::Must(link::NodeCredentials::Create(cluster.Node(node)));
  }

  const pki::TestCluster cluster_{"home"}, other_{"elsewhere"};
  const link::NodeCredentials server_credentials_ = Of(cluster_, "b");
  FakeHost host_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<LinkServer> server_;
};

TEST_F(SecureLinkTest, NodesOfOneClusterTalk) {
  const auto own = Of(cluster_, "a");
  const auto told = Tell(&own, "b", "a");
  ASSERT_TRUE(told.ok()) << told.status().ToString();
  EXPECT_EQ(told->node, "b");
}

TEST_F(SecureLinkTest, NobodyElseIsLetIn) {
  const auto stranger = Of(other_, "a");
  EXPECT_FALSE(Tell(&stranger, "b", "a").ok());
  EXPECT_FALSE(Tell(nullptr, "b", "a").ok());
  const std::lock_guard lock(host_.mutex);
  EXPECT_EQ(host_.heard.node, "");
}

TEST_F(SecureLinkTest, ANodeTellsItsOwnFiguresOnly) {
  const auto own = Of(cluster_, "a");
  const auto told = Tell(&own, "b", "c");
  EXPECT_EQ(told.status().code(), Code::kPermissionDenied) << told.status().ToString();
  const std::lock_guard lock(host_.mutex);
  EXPECT_EQ(host_.heard.node, "");
}

TEST_F(SecureLinkTest, WhoeverIsAtTheAddressHasToBeTheExpectedNode) {
  const auto own = Of(cluster_, "a");
  EXPECT_FALSE(Tell(&own, "c", "a").ok());
}

// Messages that no node of ours sends

TEST(InferMessageTest, WrongTensorsAreRefusedByName) {
  const auto refuse = [](auto change) {
    node::v1::InferRequest message;
    auto* tensor = message.add_inputs();
    tensor->set_name("x");
    tensor->set_datatype("FP32");
    tensor->add_shape(1);
    tensor->add_shape(2);
    tensor->set_data(std::string(8, '\0'));
    change(message);
    PlainCall call;
    return ReadCall(message, EchoSignature(), Time{}, &call);
  };
  EXPECT_TRUE(refuse([](auto&) {}).ok());
  const std::pair<std::function<void(node::v1::InferRequest&)>, const char*> cases[] = {
      {[](auto& m) { m.mutable_inputs(0)->set_name("z"); }, "'z' is not one of the model's"},
      {[](auto& m) { m.mutable_inputs(0)->set_datatype("FP31"); }, "unknown datatype 'FP31'"},
      {[](auto& m) { m.mutable_inputs(0)->set_shape(0, -1); }, "a dimension of -1"},
      {[](auto& m) { m.mutable_inputs(0)->set_shape(0, int64_t{1} << 62); }, "'x'"},
      {[](auto& m) { m.mutable_inputs(0)->set_data("1234567"); }, "expected 8 bytes, got 7"},
      {[](auto& m) { *m.add_inputs() = m.inputs(0); }, "'x' comes twice"},
      {[](auto& m) { m.set_priority(17); }, "priority: expected 0 to 16, got 17"},
      {[](auto& m) { m.set_left_ns(-1); }, "a deadline of -1 ns"},
      {[](auto& m) {
         for (int i = 0; i < 9; ++i) m.mutable_inputs(0)->add_shape(1);
       },
       "at most 8 dimensions"},
  };
  for (const auto& [change, words] : cases) {
    const Status status = refuse(change);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  }
}

TEST(InferMessageTest, AnAnswerThatDoesNotFitIsTheOtherNodesFault) {
  node::v1::InferResponse message;
  Timings timings;
  EXPECT_EQ(ReadAnswer(message, EchoSignature(), &timings).status().code(), Code::kInternal);
  message.mutable_outcome()->set_code(200);
  EXPECT_EQ(ReadAnswer(message, EchoSignature(), &timings).status().code(), Code::kInternal);
}

TEST(InferMessageTest, AnOutputOfAnotherTypeOrCutShortIsRefused) {
  Signature signature = EchoSignature();
  node::v1::InferResponse message;
  auto* output = message.add_outputs();
  output->set_name("y");
  output->set_datatype("INT64");
  output->add_shape(1);
  output->set_data(std::string(8, '\0'));
  Timings timings;
  Status status = ReadAnswer(message, signature, &timings).status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("expected FP32, got INT64"), std::string::npos);
  // An element of BYTES that says more than is there.
  signature.outputs[0].dtype = DataType::kBytes;
  output->set_datatype("BYTES");
  output->set_data(std::string("\x09\0\0\0ab", 6));
  status = ReadAnswer(message, signature, &timings).status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("says 9 bytes"), std::string::npos) << status.message();
  output->set_data(std::string("\x02\0\0\0ab", 6));
  EXPECT_TRUE(ReadAnswer(message, signature, &timings).ok());
}

// A kilobyte may unfold to a gigabyte, which gRPC would measure only then.
TEST_F(LinkTest, AFoldedMessageIsNotUnfolded) {
  Begin();
  const auto stub = node::v1::Node::NewStub(grpc::CreateChannel(
      fmt::format("127.0.0.1:{}", server_->port()), grpc::InsecureChannelCredentials()));
  node::v1::ProbeRequest request;
  request.set_payload(std::string(1 << 20, '\0'));
  for (const bool folded : {false, true}) {
    grpc::ClientContext context;
    if (folded) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    node::v1::ProbeResponse response;
    EXPECT_EQ(stub->Probe(&context, request, &response).ok(), !folded);
  }
}

TEST(InferMessageTest, SignaturesKeepTheirDigest) {
  Signature signature = EchoSignature();
  signature.inputs[0].range = IdRange{0, 9};
  signature.outputs[0].labels = {"cat", "dog"};
  node::v1::ModelDescription message;
  WriteSignature(signature, &message);
  const auto read = ReadSignature(message);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(DigestOf(*read), DigestOf(signature));
  EXPECT_EQ(read->outputs[0].labels, signature.outputs[0].labels);
  Signature other = signature;
  other.inputs[0].shape = {-1, 3};
  EXPECT_NE(DigestOf(other), DigestOf(signature));
}

TEST(FiguresMessageTest, WrongFiguresAreRefused) {
  const auto refuse = [](auto change) {
    NodeFigures figures;
    figures.node = "a";
    figures.models.push_back({.name = "m", .version = "1"});
    node::v1::Figures message;
    WriteFigures(figures, &message);
    change(message);
    return ReadFigures(message).status();
  };
  EXPECT_TRUE(refuse([](auto&) {}).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.set_node(""); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.set_cores(0); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.set_cores(std::nan("")); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.set_backlog_s(-1); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.set_backlog_s(1e300); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.mutable_models(0)->set_row_s(-1); }).ok());
  EXPECT_FALSE(refuse([](auto& m) { m.mutable_models(0)->set_name(std::string(200, 'a')); }).ok());
  EXPECT_FALSE(refuse([](auto& m) {
                 for (int i = 0; i < kMostModels; ++i) *m.add_models() = m.models(0);
               }).ok());
}

}  // namespace
}  // namespace evenkeel
