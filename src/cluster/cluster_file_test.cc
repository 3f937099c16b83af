#include "cluster/cluster_file.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

const char* const kNode =
    R"({"name":"a","gflops":100,"memory_gb_s":20,"memory":"8GiB","free_memory":"6GiB","accelerators":[{"backend":"CUDA","gflops":9000,"memory_gb_s":400,"memory":"8GiB"}]})";

std::string File(const std::string& tasks, const std::string& more = "",
                 const std::string& nodes = kNode) {
  return R"({"nodes":[)" + nodes + R"(],"tasks":[)" + tasks + "]" + more + "}";
}

void ExpectRefused(const std::string& text, const std::string& words,
                   Code code = Code::kInvalidArgument) {
  const auto file = ParseClusterFile(text);
  ASSERT_FALSE(file.ok()) << text;
  EXPECT_EQ(file.status().code(), code) << file.status().message();
  EXPECT_NE(file.status().message().find(words), std::string::npos) << file.status().message();
}

TEST(ClusterFileTest, IsReadWhole) {
  const auto file = ParseClusterFile(File(
      R"({"name":"embed","gflop":2,"overhead":"1ms"},{"name":"chat","kind":"language replica","count":3,"memory":"400MiB","on":"both"})",
      R"(,"links":{"bandwidth":"10MB","round_trip":"2ms"},"edges":[{"before":"embed","after":"chat","bytes":"1kB"}],"measured":[{"task":"chat","on":"a/CUDA","seconds":0.5}])"));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->nodes[0].free_memory_bytes, int64_t{6} << 30);
  EXPECT_EQ(file->nodes[0].total.accelerators.at(0).backend, "CUDA");
  EXPECT_DOUBLE_EQ(file->link.bytes_per_s, 1e7);
  EXPECT_DOUBLE_EQ(file->link.round_trip_s, 2e-3);
  ASSERT_EQ(file->graph.tasks.size(), 4u);
  EXPECT_EQ(file->graph.tasks[3].name, "chat-3");
  EXPECT_TRUE(file->graph.tasks[3].may_use_accelerator);
  EXPECT_DOUBLE_EQ(file->graph.tasks[0].overhead_s, 1e-3);
  EXPECT_EQ(file->graph.dependencies.size(), 3u);
  EXPECT_EQ(file->measured.size(), 3u);
}

TEST(ClusterFileTest, CorrectionsAreReadAndWhatIsForPeopleIsPassedOver) {
  const auto file = ParseClusterFile(
      File(R"({"name":"t","count":2})",
           R"(,"corrections":[{"task":"t","on":"a","factor":1.5,"predicted":1,"measured":1.6,)"
           R"("noise":0.1,"samples":7,"age_s":3}],"live":{"nodes":[]},"feedback":{"asking":"x"})"));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->corrections.size(), 2);
  EXPECT_EQ(file->corrections[1].task, 1);
  EXPECT_EQ(file->corrections[1].place, "a");
  EXPECT_EQ(file->corrections[1].factor, 1.5);
  ExpectRefused(File(R"({"name":"t"})", R"(,"corrections":[{"task":"t","on":"b","factor":1}])"),
                "corrections[0]: there is no node or accelerator 'b'");
  ExpectRefused(File(R"({"name":"t"})", R"(,"corrections":[{"task":"t","on":"a","factor":0}])"),
                "corrections[0].factor");
  ExpectRefused(File(R"({"name":"t"})", R"(,"corrections":[{"task":"u","on":"a","factor":1}])"),
                "corrections[0]: there is no task 'u'");
}

TEST(ClusterFileTest, AModelMayHaveReplicas) {
  const auto file = ParseClusterFile(File(
      R"({"name":"t","replicas":2,"asked":2,"serving":["a","a/CUDA"],"on":"both"},{"name":"u"})"));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->graph.tasks.size(), 2);
  EXPECT_EQ(file->graph.tasks[0].replicas, 2);
  EXPECT_EQ(file->graph.tasks[0].asked, 2);
  EXPECT_EQ(file->graph.tasks[0].serving, (std::vector<std::string>{"a", "a/CUDA"}));
  EXPECT_EQ(file->graph.tasks[1].replicas, 0);
  ExpectRefused(File(R"({"name":"t","replicas":0})"), "tasks[0].replicas");
  ExpectRefused(File(R"({"name":"t","replicas":2,"count":2})"), "tasks[0]: expected count or");
  ExpectRefused(File(R"({"name":"t","serving":["a"]})"), "tasks with replicas");
  ExpectRefused(File(R"({"name":"t","replicas":2,"serving":[1]})"), "tasks[0].serving");
  ExpectRefused(File(R"({"name":"t","replicas":2,"serving":["b"]})"),
                "there is no node or accelerator 'b'");
  ExpectRefused(
      File(R"({"name":"t","replicas":2},{"name":"u"})", R"(,"edges":[{"before":"t","after":"u"}])"),
      "replicas and edges");
}

TEST(ClusterFileTest, WhatIsWrongIsNamedWithItsPlace) {
  ExpectRefused("[]", "expected a JSON object");
  ExpectRefused("{", "malformed JSON");
  ExpectRefused(R"({"nodes":[],"tasks":[]})", "nodes: expected at least one");
  ExpectRefused(File(R"({"name":"t"})", R"(,"task":[])"), "did you mean 'tasks'?");
  ExpectRefused(File(R"({"nam":"t"})"), "tasks[0]: unknown key 'nam'; did you mean 'name'?");
  ExpectRefused(File(R"({"gflop":1})"), "tasks[0]: 'name' is missing");
  ExpectRefused(File(R"({"name":"t","gflop":-1})"), "tasks[0].gflop: expected a number");
  ExpectRefused(File(R"({"name":"t","gflop":"2"})"), "tasks[0].gflop: expected a number");
  ExpectRefused(File(R"({"name":"t","memory":"8 apples"})"), "tasks[0].memory: expected a size");
  ExpectRefused(File(R"({"name":"t","count":1.5})"), "tasks[0].count");
  ExpectRefused(File(R"({"name":"t","kind":"wish"})"), "tasks[0].kind");
  ExpectRefused(File(R"({"name":"t","on":"moon"})"), "tasks[0].on");
  ExpectRefused(File(R"({"name":"t"},{"name":"t"})"), "is there twice");
  ExpectRefused(File(R"({"name":"t"})", "", std::string(kNode) + "," + kNode), "is there twice");
  ExpectRefused(File(R"({"name":"t"})", R"(,"edges":[{"before":"t","after":"u"}])"),
                "edges[0]: there is no task 'u'");
  ExpectRefused(File(R"({"name":"t"})", R"(,"measured":[{"task":"t","on":"b","seconds":1}])"),
                "measured[0]: there is no node or accelerator 'b'");
  ExpectRefused(File(R"({"name":"t"})", R"(,"measured":[{"task":"t","on":"a","seconds":0}])"),
                "measured[0].seconds");
  ExpectRefused(File(R"({"name":"t"},{"name":"u"})",
                     R"(,"edges":[{"before":"t","after":"u"},{"before":"u","after":"t"}])"),
                "in a circle: t -> u -> t");
  ExpectRefused(File(R"({"name":"t"})", R"(,"links":{"bandwidth":"0"})"), "links.bandwidth");
  ExpectRefused(File(R"({"name":"t"})", "", R"({"name":"a"})"), "nodes[0]: 'gflops' is missing");
  ExpectRefused(File(R"({"name":"t","count":100001})"), "tasks[0].count");
  ExpectRefused(File(R"({"name":"t","count":60000},{"name":"u","count":60000})"), "100000 tasks",
                Code::kTooLarge);
}

}  // namespace
}  // namespace evenkeel
