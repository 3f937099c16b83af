#include "cluster/home/store_home.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

using testing::HasSubstr;
using Kind = StoreHome::Kind;
using Json = nlohmann::json;

StoreHome Members() {
  StoreHome store;
  store.kind = Kind::kMembers;
  store.endpoints = {"10.0.0.2:8012", "[fd00::3]:8012"};
  store.generation = 1;
  store.origin = "desk";
  store.member = true;
  return store;
}

StoreHome External() {
  StoreHome store;
  store.kind = Kind::kExternal;
  store.endpoints = {"etcd.example:2379"};
  store.ca_file = "/etc/ca.pem";
  return store;
}

TEST(StoreHomeTest, WhatIsWrittenIsRead) {
  for (const StoreHome& store : {StoreHome(), Members(), External()}) {
    const auto read = ParseStoreHome(WriteStoreHome(store), "store");
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(*read, store);
  }
}

TEST(StoreHomeTest, AnythingElseIsRefusedByField) {
  const auto refusal = [](StoreHome store, const char* field, const Json& value) {
    Json object = WriteStoreHome(store);
    object[field] = value;
    const auto read = ParseStoreHome(object, "store");
    EXPECT_FALSE(read.ok()) << object;
    return read.status().message();
  };
  EXPECT_THAT(refusal(Members(), "kind", "raft"), HasSubstr("store.kind"));
  EXPECT_THAT(refusal(Members(), "endpoints", Json::array()), HasSubstr("endpoints"));
  EXPECT_THAT(refusal(Members(), "endpoints", {"etcd.example:2379"}), HasSubstr("numeric"));
  EXPECT_THAT(refusal(Members(), "endpoints", Json::array({7})), HasSubstr("HOST:PORT"));
  EXPECT_THAT(refusal(Members(), "origin", "A B"), HasSubstr("origin"));
  EXPECT_THAT(refusal(Members(), "generation", -1), HasSubstr("generation"));
  EXPECT_THAT(refusal(Members(), "more", 1), HasSubstr("more"));
  EXPECT_THAT(refusal(External(), "endpoints", {"http://etcd:2379"}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(refusal(External(), "ca_file", "ca.pem"), HasSubstr("absolute"));
  EXPECT_THAT(refusal(External(), "cert_file", "/cert.pem"), HasSubstr("key"));
  EXPECT_FALSE(ParseStoreHome(Json(5), "store").ok());
}

TEST(StoreHomeTest, OfTwoStoresTheOneBegunLaterIsTheClusters) {
  StoreHome one = Members(), other = Members();
  EXPECT_FALSE(IsNewer(one, other));
  other.endpoints = {"10.0.0.9:8012"};
  EXPECT_FALSE(IsNewer(other, one));  // its members changed
  other.origin = "shelf";
  EXPECT_TRUE(IsNewer(other, one));
  EXPECT_FALSE(IsNewer(one, other));
  one.generation = 2;
  EXPECT_TRUE(IsNewer(one, other));
}

TEST(StoreHomeTest, UrlsOfAnEtcdElsewhere) {
  bool tls = true;
  auto urls = ParseStoreUrls("http://10.0.0.9:2379,http://etcd.example:2379/", &tls);
  ASSERT_TRUE(urls.ok()) << urls.status().ToString();
  EXPECT_EQ(*urls, (std::vector<std::string>{"10.0.0.9:2379", "etcd.example:2379"}));
  EXPECT_FALSE(tls);
  urls = ParseStoreUrls("https://[::1]:2379", &tls);
  ASSERT_TRUE(urls.ok());
  EXPECT_TRUE(tls);
  for (const char* text : {"", "10.0.0.9:2379", "http://a:1,https://b:1", "http://a", "http://a:0",
                           "http://a:1/x", "http://a:1,"})
    EXPECT_FALSE(ParseStoreUrls(text, &tls).ok()) << text;
}

TEST(StoreHomeTest, AMembersPortsFollowItsNodes) {
  EXPECT_EQ(StorePeerUrlOf("10.0.0.2:8010").value(), "https://10.0.0.2:8013");
  EXPECT_EQ(StorePeerUrlOf("[::1]:8010").value(), "https://[::1]:8013");
  EXPECT_FALSE(StorePeerUrlOf("desk:8010").ok());
  EXPECT_EQ(StoreClientPortOf(8010), 8012);
}

}  // namespace
}  // namespace evenkeel
