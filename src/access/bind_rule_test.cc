#include "access/bind_rule.h"

#include <gtest/gtest.h>

#include <string>

namespace evenkeel {
namespace {

TEST(BindRuleTest, LoopbackIsWhatTheKernelKeepsOnTheMachine) {
  for (const char* address : {"127.0.0.1", "127.0.0.2", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1",
                              "::ffff:127.0.0.1", "::FFFF:127.9.9.9"})
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  for (const char* address :
       {"0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "128.0.0.1", "126.255.255.255", "::2",
        "fe80::1", "::ffff:0.0.0.0", "::ffff:10.0.0.1", "::127.0.0.1", "127.1", "127.0.0.1.example",
        "", "127.", "localhost", "::1%lo", "[::1]", "2130706433"})
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
}

TEST(BindRuleTest, BeyondLoopbackItTakesTlsAndKeysOrAWord) {
  for (int bits = 0; bits < 8; ++bits) {
    const BindFacts facts{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
    for (const char* address : {"127.0.0.1", "::1", "::ffff:127.0.0.1"})
      EXPECT_TRUE(CheckBind(address, facts).ok()) << address << " " << bits;
    const bool allowed = facts.insecure || (facts.tls && facts.keys);
    for (const char* address : {"0.0.0.0", "::", "192.168.1.1", "::ffff:10.0.0.1"})
      EXPECT_EQ(CheckBind(address, facts).ok(), allowed) << address << " " << bits;
  }
}

TEST(BindRuleTest, TheRefusalSaysWhatIsMissingAndWhatToDo) {
  const auto message = [](BindFacts facts) { return CheckBind("0.0.0.0", facts).message(); };
  const auto says = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(says(message({}), "0.0.0.0") && says(message({}), "--insecure"));
  EXPECT_TRUE(says(message({}), "TLS is off") && says(message({}), "evenkeel key create"));
  EXPECT_TRUE(says(message({.keys = true}), "TLS is off"));
  EXPECT_FALSE(says(message({.keys = true}), "evenkeel key create"));
  EXPECT_FALSE(says(message({.tls = true}), "TLS is off"));
  EXPECT_TRUE(says(message({.tls = true}), "evenkeel key create"));
}

}  // namespace
}  // namespace evenkeel
