#include "access/scope.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

TEST(ScopeTest, EveryFormIsReadAndPrintedAsItWas) {
  for (const std::string text : {"manage", "metrics", "infer:*", "infer:digits", "infer:team-a.*",
                                 "infer:9_x*", "infer:a"}) {
    const Result<Scope> scope = ParseScope(text);
    ASSERT_TRUE(scope.ok()) << text << ": " << scope.status().message();
    EXPECT_EQ(ToString(*scope), text);
    EXPECT_EQ(*ParseScope(ToString(*scope)), *scope);
  }
}

TEST(ScopeTest, AnythingElseIsRefusedWithWhatWasExpected) {
  for (const std::string text :
       {"", "infer", "infer:", "infer:**", "infer:a*b", "infer:*a", "infer:-a", "infer:a/b",
        "infer:a b", "Manage", "manage ", " manage", "metrics:*", "manage:digits", "admin",
        "infer:\xc3\xa9"}) {
    const Result<Scope> scope = ParseScope(text);
    ASSERT_FALSE(scope.ok()) << text;
    EXPECT_EQ(scope.status().code(), Code::kInvalidArgument);
    EXPECT_NE(scope.status().message().find("expected infer:MODEL"), std::string::npos);
  }
  EXPECT_FALSE(ParseScope("infer:" + std::string(129, 'a')).ok());
  EXPECT_TRUE(ParseScope("infer:" + std::string(128, 'a')).ok());
}

TEST(ScopeTest, PatternsCoverWhatTheySayAndNothingElse) {
  struct Case {
    const char *scope, *model;
    bool covers;
  };
  for (const Case& c : std::initializer_list<Case>{{"infer:digits", "digits", true},
                                                   {"infer:digits", "digits2", false},
                                                   {"infer:digits", "digit", false},
                                                   {"infer:digits", "Digits", false},
                                                   {"infer:team-*", "team-a", true},
                                                   {"infer:team-*", "team-", true},
                                                   {"infer:team-*", "team", false},
                                                   {"infer:team-*", "xteam-a", false},
                                                   {"infer:*", "anything", true},
                                                   {"infer:*", "", false},
                                                   {"infer:a*", "", false},
                                                   {"manage", "digits", false},
                                                   {"metrics", "digits", false}}) {
    EXPECT_EQ(CoversModel(*ParseScope(c.scope), c.model), c.covers) << c.scope << " " << c.model;
  }
}

TEST(ScopeTest, SeveralStandWithOneBlankBetweenThem) {
  const Result<std::vector<Scope>> scopes = ParseScopes("infer:a metrics manage");
  ASSERT_TRUE(scopes.ok());
  EXPECT_EQ(scopes->size(), 3U);
  EXPECT_EQ(ToString(*scopes), "infer:a metrics manage");
  for (const std::string text :
       {"", " ", "manage ", " manage", "manage  metrics", "manage,metrics"})
    EXPECT_FALSE(ParseScopes(text).ok()) << "'" << text << "'";
  std::string many = "manage";
  for (size_t i = 1; i < kMostScopes; ++i) many += " manage";
  EXPECT_TRUE(ParseScopes(many).ok());
  EXPECT_FALSE(ParseScopes(many + " manage").ok());
}

}  // namespace
}  // namespace evenkeel
