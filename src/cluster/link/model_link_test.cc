// Models' files over a real socket: both ends, and who is let in.
#include "cluster/link/model_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "cluster/link/link_server.h"
#include "cluster/link/model_message.h"
#include "cluster/models/models_test_kit.h"
#include "cluster/pki/pki_test_kit.h"
#include "core/format.h"
#include "net/io_loop.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Nothing but models is asked of it.
class EmptyHost final : public NodeHost {
 public:
  bool IsOfCluster(std::string_view node) const override { return node == "a"; }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override { return {}; }
  void OnFigures(const NodeFigures& /*theirs*/) override {}
  Status SetOwnState(std::string_view /*state*/) override { return Status::Ok(); }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view, std::string_view) override {
    return NotFound("no model");
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view) override {
    return NotFound("no model");
  }
};

// Real files, orders that are only remembered.
class FakeModels final : public ModelHost {
 public:
  explicit FakeModels(const std::string& folder) : files_(folder) {}
  void ListModel(std::string model, std::function<void(Result<ModelListing>)> done) override {
    ++asked;
    done(files_.List(model));
  }
  void ReadPiece(FilePiece piece, std::function<void(Result<std::string>)> done) override {
    ++asked;
    done(files_.Read(piece));
  }
  Status Deploy(const DeployOrder& order) override {
    ++asked;
    const std::lock_guard lock(mutex);
    ordered = order;
    return answer;
  }
  DeployProgress Progress(const std::string& model, const std::string& digest) const override {
    DeployProgress progress;
    if (model == "bert" && IsSha256(digest))
      progress = {DeployState::kCopying, 10, 4, 1, 3, "a", "none"};
    return progress;
  }
  void Undeploy(UndeployOrder order, std::function<void(Status)> done) override {
    ++asked;
    const std::lock_guard lock(mutex);
    taken = order;
    if (hold) {
      held = std::move(done);
    } else {
      done(answer);
    }
  }

  std::atomic<int> asked{0};
  std::mutex mutex;  // guards what follows
  DeployOrder ordered;
  UndeployOrder taken;
  Status answer;
  bool hold = false;
  std::function<void(Status)> held;

 private:
  ModelFiles files_;
};

class ModelLinkTest : public testing::Test {
 protected:
  ModelLinkTest() {
    folder_.Write("bert/model.onnx", std::string(2'500'000, 'w'));
    folder_.Write("bert/1/labels.txt", "a\nb\n");
    folder_.MakeFolder("bert/2");
  }
  void Start(const link::NodeCredentials* credentials) {
    LinkServerOptions options;
    options.models = &models_;
    options.credentials = credentials;
    if (credentials != nullptr) {
      loop_ = pki::Must(IoLoop::Create("link"));
      loop_->Start();
      options.loop = loop_.get();
    }
    server_ = pki::Must(LinkServer::Start(host_, SteadyClock::Instance(), options));
  }
  std::unique_ptr<ModelLink> Connect(const link::NodeCredentials* credentials = nullptr) const {
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    options.credentials = credentials;
    options.node = "b";
    return std::make_unique<ModelLink>(options);
  }
  void TearDown() override {
    server_.reset();
    if (loop_) {
      loop_->Stop();
      loop_->Join();
      loop_.reset();
    }
  }

  ScratchFolder folder_;
  EmptyHost host_;
  FakeModels models_{folder_.path()};
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<LinkServer> server_;
};

TEST_F(ModelLinkTest, AModelComesOverTheLinkAsItIs) {
  Start(nullptr);
  const auto link = Connect();
  const auto listing = link->List("bert");
  ASSERT_TRUE(listing.ok()) << listing.status().ToString();
  EXPECT_EQ(*listing, *ModelFiles(folder_.path()).List("bert"));
  EXPECT_TRUE(CheckListing(*listing, "bert").ok());
  const auto piece =
      link->Read({"bert", listing->digest, "model.onnx", 2'000'000, kMostPieceBytes});
  ASSERT_TRUE(piece.ok()) << piece.status().ToString();
  EXPECT_EQ(*piece, std::string(500'000, 'w'));

  ScratchFolder here, state;
  ModelFiles own(here.path());
  CopyOptions copy;
  copy.sleep = [](Duration time) { std::this_thread::sleep_for(time); };
  copy.stopped = [] { return false; };
  copy.report = [](const CopyProgress&) {};
  copy.bytes_per_s = 1 << 30;
  std::vector<ModelSource*> sources = {link.get()};
  const auto copied = CopyModel({"bert", listing->digest, PartialFolder(here.path(), state.path())},
                                own, sources, SteadyClock::Instance(), copy);
  ASSERT_TRUE(copied.ok()) << copied.status().ToString();
  EXPECT_EQ(here.Read("bert/1/labels.txt"), "a\nb\n");
}

TEST_F(ModelLinkTest, WhatIsWrongComesBackAsTheOtherNodeSaysIt) {
  Start(nullptr);
  const auto link = Connect();
  EXPECT_EQ(link->List("nothere").status().code(), Code::kNotFound);
  EXPECT_EQ(link->List("../bert").status().code(), Code::kNotFound);
  const std::string digest = link->List("bert")->digest;
  EXPECT_EQ(link->Read({"bert", digest, "../../etc/passwd", 0, 10}).status().code(),
            Code::kNotFound);
  EXPECT_EQ(link->Read({"bert", digest, "model.onnx", 0, kMostPieceBytes + 1}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(link->Read({"bert", std::string(64, '0'), "model.onnx", 0, 1}).status().code(),
            Code::kConflict);
}

TEST_F(ModelLinkTest, OrdersAndProgressArrive) {
  Start(nullptr);
  const auto link = Connect();
  const std::string digest = DigestOfBytes("x");
  EXPECT_TRUE(link->Deploy({"bert", digest, {"a", "c"}, "the plan"}).ok());
  EXPECT_EQ(models_.ordered.model, "bert");
  EXPECT_EQ(models_.ordered.digest, digest);
  EXPECT_THAT(models_.ordered.holders, ElementsAre("a", "c"));
  EXPECT_EQ(models_.ordered.why, "the plan");
  EXPECT_FALSE(models_.ordered.plan) << "people's orders have no stamp";
  const PlanStamp stamp{{1, 12}, 15};
  EXPECT_TRUE(link->Deploy({"bert", digest, {"a"}, "", stamp}).ok());
  EXPECT_EQ(models_.ordered.plan, stamp);
  const auto progress = link->Progress("bert", digest);
  ASSERT_TRUE(progress.ok());
  EXPECT_EQ(progress->state, DeployState::kCopying);
  EXPECT_EQ(progress->bytes_total, 10U);
  EXPECT_EQ(progress->bytes_done, 4U);
  EXPECT_EQ(progress->bytes_resumed, 1U);
  EXPECT_EQ(progress->bytes_fetched, 3U);
  EXPECT_EQ(progress->from, "a");
  EXPECT_EQ(link->Progress("bert", "none")->state, DeployState::kUnknown);
  EXPECT_TRUE(link->Undeploy({"bert", false, "why"}).ok());
  EXPECT_FALSE(models_.taken.remove_files);
  EXPECT_FALSE(models_.taken.force);
  EXPECT_FALSE(models_.taken.plan);
  EXPECT_TRUE(link->Undeploy({"bert", true, "why", stamp, true}).ok());
  EXPECT_TRUE(models_.taken.force);
  EXPECT_EQ(models_.taken.plan, stamp);
  models_.answer = Conflict("it is on its way here");
  EXPECT_EQ(link->Deploy({"bert", digest, {}, ""}).code(), Code::kConflict);
  EXPECT_EQ(link->Undeploy({"bert", true, ""}).code(), Code::kConflict);
}

TEST_F(ModelLinkTest, OrdersThatSayNothingSensibleDoNotReachTheNode) {
  Start(nullptr);
  const auto link = Connect();
  const std::string digest = DigestOfBytes("x");
  for (const DeployOrder& order :
       {DeployOrder{"../x", digest, {}, ""}, DeployOrder{"x", "short", {}, ""},
        DeployOrder{"x", digest, {"a b"}, ""}, DeployOrder{"x", digest, {}, "two\nlines"}}) {
    EXPECT_EQ(link->Deploy(order).code(), Code::kInvalidArgument) << order.model;
  }
  EXPECT_EQ(link->Undeploy({"../x", true, ""}).code(), Code::kInvalidArgument);
  EXPECT_EQ(link->Undeploy({"x", true, std::string(1000, 'y')}).code(), Code::kInvalidArgument);
  EXPECT_EQ(models_.asked, 0);
}

TEST_F(ModelLinkTest, ALinkThatIsStoppedEndsWhatIsUnderWay) {
  Start(nullptr);
  models_.hold = true;
  const auto link = Connect();
  std::thread stopper([&] {
    while (models_.asked == 0) std::this_thread::yield();
    link->Stop();
  });
  EXPECT_EQ(link->Undeploy({"bert", true, ""}).code(), Code::kCancelled);
  stopper.join();
  EXPECT_EQ(link->List("bert").status().code(), Code::kCancelled);
  const std::lock_guard lock(models_.mutex);
  models_.held(Status::Ok());  // the server waits for it
}

TEST_F(ModelLinkTest, NobodyThereIsUnavailable) {
  Start(nullptr);
  const auto link = Connect();
  server_.reset();
  EXPECT_EQ(link->List("bert").status().code(), Code::kUnavailable);
}

TEST_F(ModelLinkTest, WhoIsNotOfTheClusterGetsNothing) {
  const pki::TestCluster cluster("home"), other("elsewhere");
  const auto of = [](const pki::TestCluster& one, const std::string& node) {
    return pki::Must(link::NodeCredentials::Create(one.Node(node)));
  };
  const auto server = of(cluster, "b"), own = of(cluster, "a"), stranger = of(other, "a");
  Start(&server);
  EXPECT_TRUE(Connect(&own)->List("bert").ok());
  const int asked = models_.asked;
  EXPECT_FALSE(Connect(&stranger)->List("bert").ok());
  EXPECT_FALSE(Connect()->List("bert").ok());
  EXPECT_FALSE(Connect(&stranger)->Undeploy({"bert", true, ""}).ok());
  const auto unlisted = of(cluster, "c");  // joined a moment ago, or taken off
  const Status unknown = Connect(&unlisted)->List("bert").status();
  EXPECT_EQ(unknown.code(), Code::kUnavailable) << unknown.ToString();
  EXPECT_THAT(unknown.message(), HasSubstr("node 'c' is not known here yet"));
  EXPECT_EQ(models_.asked, asked);
  TearDown();
}

TEST(ModelMessageTest, DigestsGoThereAndBack) {
  const std::string digits = DigestOfBytes("x");
  EXPECT_EQ(DigestDigits(DigestBytes(digits)), digits);
  EXPECT_EQ(DigestBytes("short"), "");
  EXPECT_EQ(DigestBytes(std::string(64, 'G')), "");
  EXPECT_EQ(DigestDigits("short"), "");
}

TEST(ModelMessageTest, AListingOfTooManyFilesOrBytesIsRefused) {
  node::v1::ListModelResponse message;
  message.add_files()->set_bytes(kMostModelBytes + 1);
  EXPECT_EQ(ReadListing(message).status().code(), Code::kInvalidArgument);
  message.Clear();
  for (size_t i = 0; i <= kMostModelFiles; ++i) message.add_files();
  EXPECT_EQ(ReadListing(message).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel
