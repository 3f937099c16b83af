#include "cluster/link/figures_message.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "proto/node.pb.h"

namespace evenkeel {
namespace {

TEST(FiguresForShowTest, WhatIsMeasuredAndMovedIsTold) {
  NodeFigures figures;
  figures.node = "a";
  figures.busy_cores = 1.5;
  figures.link_bytes_s = 4e9;
  figures.moving = 2;
  figures.moved_lately = 30;
  ModelFigures& model = figures.models.emplace_back();
  model.name = "m";
  model.version = "1";
  model.call_rows = 40.5;
  model.done = uint64_t{1} << 40;
  model.start_up_s = 3.25;
  model.waiting = 7;
  model.step_s = {0.01, 0.015};
  model.prompt_s = 0.002;
  model.answer_tokens = 90;
  model.late_row_s = 0.125;
  ModelFigures& graph = figures.graphs.emplace_back();
  graph.name = "g";
  graph.version = "3";
  graph.signature = 99;
  figures.wishes = {{"m", 3, 1'700'000'000'000}};
  figures.leaving = {{"n", true}, {"o", false}};
  node::v1::Figures message;
  WriteFigures(figures, &message);
  const auto read = ReadFigures(message);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->busy_cores, 1.5);
  EXPECT_EQ(read->link_bytes_s, 4e9);
  EXPECT_EQ(read->moving, 2);
  EXPECT_EQ(read->moved_lately, 30);
  ASSERT_EQ(read->models.size(), 1);
  EXPECT_EQ(read->models[0].call_rows, 40.5);
  EXPECT_EQ(read->models[0].done, uint64_t{1} << 40);
  EXPECT_EQ(read->models[0].start_up_s, 3.25);
  EXPECT_EQ(read->models[0].waiting, 7);
  EXPECT_EQ(read->models[0].step_s, (std::vector{0.01, 0.015}));
  EXPECT_DOUBLE_EQ(read->models[0].prompt_s, 0.002);
  EXPECT_DOUBLE_EQ(read->models[0].answer_tokens, 90);
  EXPECT_EQ(read->models[0].late_row_s, 0.125);
  ASSERT_EQ(read->graphs.size(), 1);
  EXPECT_EQ(read->graphs[0].name, "g");
  EXPECT_EQ(read->graphs[0].version, "3");
  EXPECT_EQ(read->graphs[0].signature, 99);
  EXPECT_EQ(read->wishes, figures.wishes);
  ASSERT_EQ(read->leaving.size(), 2);
  EXPECT_EQ(read->leaving[0].model, "n");
  EXPECT_TRUE(read->leaving[0].certain);
  EXPECT_FALSE(read->leaving[1].certain);
}

TEST(FiguresOfGraphsTest, WhatNoNodeOfOursTellsIsRefused) {
  NodeFigures figures;
  figures.node = "a";
  figures.graphs.push_back({.name = "g", .version = "1"});
  const auto read = [&](const auto& change) {
    node::v1::Figures message;
    WriteFigures(figures, &message);
    change(message);
    return ReadFigures(message).status();
  };
  EXPECT_TRUE(read([](auto&) {}).ok());
  EXPECT_EQ(read([](auto& m) { m.mutable_graphs(0)->set_name("no name"); }).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(read([](auto& m) { m.mutable_graphs(0)->set_version("one"); }).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(read([](auto& m) {
              for (int i = 0; i <= kMostModels; ++i) *m.add_graphs() = m.graphs(0);
            }).code(),
            Code::kInvalidArgument);
}

NodeFigures Measured(uint64_t incarnation) {
  NodeFigures figures;
  figures.node = "a";
  figures.incarnation = incarnation;
  figures.software = "1.2.3";
  figures.resources.gflops = 40;
  figures.resources.fingerprint = "AMD EPYC, 2 cores, 24 GiB, avx2 (3f2a91c0)";
  figures.free_memory_bytes = 1000;
  return figures;
}

// Two nodes that tell each other in turn: a tells, b hears it and answers, and a hears that.
class TwoNodes {
 public:
  struct Exchange {
    size_t bytes = 0;   // that a told
    NodeFigures heard;  // by b
  };
  Exchange Tell(NodeFigures a) {
    node::v1::Figures message;
    at_a_.Mark(&a);
    WriteFigures(a, &message);
    Exchange exchange{message.ByteSizeLong(), Over(message)};
    at_b_.Complete(&exchange.heard);
    NodeFigures b;
    b.node = "b";
    b.incarnation = 9;
    at_b_.Mark(&b);
    node::v1::Figures answer;
    WriteFigures(b, &answer);
    NodeFigures heard = Over(answer);
    at_a_.Complete(&heard);
    return exchange;
  }
  void RestartB() { at_b_ = ToldBefore(); }

 private:
  static NodeFigures Over(const node::v1::Figures& message) {
    const auto read = ReadFigures(message);
    EXPECT_TRUE(read.ok()) << read.status().ToString();
    return read.ok() ? *read : NodeFigures();
  }
  ToldBefore at_a_, at_b_;
};

TEST(ToldBeforeTest, WhatDoesNotChangeIsToldOnce) {
  TwoNodes nodes;
  const auto first = nodes.Tell(Measured(5));
  NodeFigures later = Measured(5);
  later.free_memory_bytes = 7;
  const auto second = nodes.Tell(later);
  EXPECT_LT(second.bytes + 25, first.bytes);
  EXPECT_EQ(second.heard.software, "1.2.3");
  EXPECT_EQ(second.heard.resources.gflops, 40);
  EXPECT_EQ(second.heard.resources.fingerprint, "AMD EPYC, 2 cores, 24 GiB, avx2 (3f2a91c0)");
  EXPECT_EQ(second.heard.free_memory_bytes, 7);
  EXPECT_EQ(second.heard.cores, 1);
}

TEST(ToldBeforeTest, AfterARestartOfEitherItIsToldAnew) {
  TwoNodes nodes;
  nodes.Tell(Measured(5));
  NodeFigures restarted = Measured(6);
  restarted.software = "1.2.4";
  EXPECT_EQ(nodes.Tell(restarted).heard.software, "1.2.4");
  EXPECT_EQ(nodes.Tell(restarted).heard.software, "1.2.4");
  nodes.RestartB();
  // a has not heard of it: b has nothing to put in, and says so.
  EXPECT_EQ(nodes.Tell(restarted).heard.software, "");
  EXPECT_EQ(nodes.Tell(restarted).heard.software, "1.2.4");
  EXPECT_EQ(nodes.Tell(restarted).heard.resources.gflops, 40);
}

// It tells before it was asked, and is passed over until it answers at the address: what was known of the server before it says nothing of what it knows.
TEST(ToldBeforeTest, ANodeThatStartedAnewIsAnsweredWholeBeforeItsFiguresAreTaken) {
  ToldBefore at_b;
  NodeFigures before;
  before.incarnation = 5;
  before.knows = 9;
  NodeFigures anew;
  anew.incarnation = 6;
  at_b.Complete(&before);
  NodeFigures answer = Measured(9);
  at_b.MarkAnswer(before, &answer);
  EXPECT_TRUE(answer.as_before);
  EXPECT_EQ(answer.knows, 5U);
  at_b.MarkAnswer(anew, &answer);
  EXPECT_FALSE(answer.as_before);
  // Before anything was taken, those who know are not told again either.
  ToldBefore().MarkAnswer(before, &answer);
  EXPECT_TRUE(answer.as_before);
  EXPECT_EQ(answer.knows, 0U);
}

TEST(FiguresForShowTest, ANodeOfAVersionBeforeTellsRowsOfOne) {
  node::v1::Figures message;
  message.set_node("a");
  message.set_cores(1);
  message.add_models()->set_name("m");
  const auto read = ReadFigures(message);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->models[0].call_rows, 1);
}

TEST(FiguresForShowTest, NamesThatAreNoneAreRefused) {
  const auto read = [](const std::string& node, const std::string& model,
                       const std::string& version) {
    node::v1::Figures message;
    message.set_node(node);
    message.set_cores(1);
    auto* const one = message.add_models();
    one->set_name(model);
    one->set_version(version);
    return ReadFigures(message).status();
  };
  EXPECT_TRUE(read("desk", "chat-2.5_b", "17").ok());
  EXPECT_TRUE(read("desk", "chat", "").ok());
  for (const char* node : {"", "a\nb", "Desk", "a b", "-a"})
    EXPECT_EQ(read(node, "chat", "1").code(), Code::kInvalidArgument) << node;
  for (const char* model : {"", "a\nb", "../a", ".a", "a/b"})
    EXPECT_EQ(read("desk", model, "1").code(), Code::kInvalidArgument) << model;
  for (const char* version : {"a", "1\n", "-1", "123456789012345678901"})
    EXPECT_EQ(read("desk", "chat", version).code(), Code::kInvalidArgument) << version;
}

TEST(FiguresForShowTest, NumbersThatAreNoneAreRefused) {
  for (const double wrong : {-1.0, std::numeric_limits<double>::quiet_NaN(), 1e12}) {
    for (int field = 0; field < 3; ++field) {
      node::v1::Figures message;
      message.set_node("a");
      message.set_cores(1);
      auto* model = message.add_models();
      model->set_name("m");
      if (field == 0) message.set_busy_cores(wrong);
      if (field == 1) model->set_call_rows(wrong);
      if (field == 2) model->set_start_up_s(wrong);
      EXPECT_EQ(ReadFigures(message).status().code(), Code::kInvalidArgument) << field;
    }
  }
  for (int field = 0; field < 6; ++field) {
    node::v1::Figures message;
    message.set_node("a");
    message.set_cores(1);
    auto* wish = message.add_wishes();
    wish->set_model(field == 0 ? "" : field == 4 ? "../m" : "m");
    wish->set_replicas(field == 1 ? 1001 : 2);
    wish->set_unix_ms(field == 2 ? -1 : 5);
    message.add_leaving()->set_model(field == 3 ? std::string(129, 'm') : field == 5 ? "m\n" : "m");
    EXPECT_EQ(ReadFigures(message).status().code(), Code::kInvalidArgument) << field;
  }
  node::v1::Figures late;
  late.set_node("a");
  late.set_cores(1);
  late.add_wishes()->set_model("m");
  late.mutable_wishes(0)->set_unix_ms(int64_t{1} << 52);
  EXPECT_TRUE(ReadFigures(late).value().wishes.empty()) << "the next word could not be told";
  for (const double wrong : {-1.0, std::numeric_limits<double>::infinity()}) {
    node::v1::Figures linked;
    linked.set_node("a");
    linked.set_cores(1);
    linked.set_link_bytes_s(wrong);
    EXPECT_EQ(ReadFigures(linked).status().code(), Code::kInvalidArgument) << wrong;
    linked.set_link_bytes_s(1e300);
    EXPECT_EQ(ReadFigures(linked).value().link_bytes_s, 0) << "nobody has measured that";
  }
  node::v1::Figures message;
  message.set_node("a");
  message.set_cores(1);
  message.set_moving(std::numeric_limits<uint32_t>::max());
  const auto read = ReadFigures(message);
  ASSERT_TRUE(read.ok());
  EXPECT_GE(read->moving, 0) << "a count is never negative";
}

}  // namespace
}  // namespace evenkeel
