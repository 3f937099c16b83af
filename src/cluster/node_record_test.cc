#include "cluster/node_record.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace evenkeel {
namespace {

NodeRecord Good() {
  NodeRecord record;
  record.id = "0f3a";
  record.name = "Node-1.lab_a";
  record.addresses = {"10.0.0.1:8003", "[fd00::1]:8003", "node-1.lab:8003"};
  record.fingerprint = "AMD EPYC, 2 cores, 24 GiB, avx2 (3f2a91c0)";
  record.version = "0.1.0";
  record.started_unix_s = 1'700'000'000;
  record.incarnation = "0123456789abcdef";
  return record;
}

TEST(NodeRecordTest, IsReadAsItWasWritten) {
  const auto read = ParseNodeRecord(WriteNodeRecord(Good()));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, Good());
  NodeRecord least = Good();
  least.fingerprint = "";
  least.started_unix_s = 0;
  EXPECT_EQ(*ParseNodeRecord(WriteNodeRecord(least)), least);
}

TEST(NodeRecordTest, WhatIsOutOfBoundsIsRefusedByName) {
  ASSERT_TRUE(CheckNodeRecord(Good()).ok());
  const auto refused = [](const std::function<void(NodeRecord&)>& change, const char* field) {
    NodeRecord record = Good();
    change(record);
    const Status status = CheckNodeRecord(record);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << field;
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
    // Nor does it come in by the store.
    EXPECT_FALSE(ParseNodeRecord(WriteNodeRecord(record)).ok()) << field;
  };
  refused([](NodeRecord& r) { r.id = "A/b"; }, "id");
  refused([](NodeRecord& r) { r.id = std::string(65, 'a'); }, "id");
  refused([](NodeRecord& r) { r.name = ".hidden"; }, "name");
  refused([](NodeRecord& r) { r.name = "two words"; }, "name");
  refused([](NodeRecord& r) { r.addresses.clear(); }, "addresses");
  refused([](NodeRecord& r) { r.addresses.assign(9, "a:1"); }, "addresses");
  refused([](NodeRecord& r) { r.addresses[1] = "http://host:80"; }, "addresses");
  refused([](NodeRecord& r) { r.addresses[0] = "host"; }, "addresses");
  refused([](NodeRecord& r) { r.addresses[0] = "host:0"; }, "addresses");
  refused([](NodeRecord& r) { r.fingerprint = "a\nb"; }, "fingerprint");
  refused([](NodeRecord& r) { r.version = ""; }, "version");
  refused([](NodeRecord& r) { r.started_unix_s = -1; }, "started");
  refused([](NodeRecord& r) { r.incarnation = "0123"; }, "incarnation");
}

TEST(NodeRecordTest, AnotherSchemaAndUnknownKeysAreRefused) {
  const std::string good = WriteNodeRecord(Good());
  std::string other = good;
  other.replace(other.find("\"schema\":1"), 10, "\"schema\":2");
  EXPECT_NE(ParseNodeRecord(other).status().message().find("schema: expected 1, got"),
            std::string::npos);
  EXPECT_FALSE(ParseNodeRecord("{}").ok());
  EXPECT_FALSE(ParseNodeRecord("").ok());
  EXPECT_FALSE(ParseNodeRecord("{\"extra\":1," + good.substr(1)).ok());
  EXPECT_EQ(ParseNodeRecord(std::string(kMostRecordBytes + 1, ' ')).status().code(),
            Code::kTooLarge);
}

TEST(NodeRecordTest, RandomIdsAreIdsAndDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = RandomId();
    EXPECT_TRUE(IsNodeId(id));
    EXPECT_EQ(id.size(), 16U);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 1000U);
}

}  // namespace
}  // namespace evenkeel
