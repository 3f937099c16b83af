// Every route of the table through the router, with and without keys.
#include "frontends/routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "frontends/access_test_keys.h"
#include "frontends/fake_service.h"
#include "frontends/http_router.h"
#include "frontends/http_test_exchange.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kBearer = "Bearer ";

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  if (const size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// The pattern as a path about `model`.
std::string TargetOf(const HttpRoute& route, std::string_view model) {
  std::string target(route.pattern);
  target = Replaced(target, "{model}", model);
  target = Replaced(target, "{version}", "1");
  target = Replaced(target, "{node}", "attic");
  return Replaced(target, "...", "status");
}

std::vector<HttpMethod> MethodsOf(const HttpRoute& route) {
  std::vector<HttpMethod> methods;
  for (const auto& [word, method] :
       std::initializer_list<std::pair<const char*, HttpMethod>>{{"GET", HttpMethod::kGet},
                                                                 {"POST", HttpMethod::kPost},
                                                                 {"DELETE", HttpMethod::kDelete}}) {
    if (route.methods.find(word) != std::string_view::npos) methods.push_back(method);
  }
  return methods;
}

// A body about `model` for the routes that want one.
std::string BodyOf(const HttpRoute& route, std::string_view model) {
  const std::string name(model);
  std::map<std::string_view, json> bodies;
  bodies["/v1/chat/completions"] = {
      {"model", name}, {"messages", json::array({{{"role", "user"}, {"content", "hi"}}})}};
  bodies["/v1/completions"] = {{"model", name}, {"prompt", "hi"}};
  bodies["/v1/embeddings"] = {{"model", name}, {"input", "hi"}};
  bodies["/v1/rerank"] = {{"model", name}, {"query", "hi"}, {"documents", json::array({"a"})}};
  const auto found = bodies.find(route.pattern);
  return found == bodies.end() ? std::string() : found->second.dump();
}

class RoutesTest : public testing::Test {
 protected:
  // `key` "": without a credential.
  std::unique_ptr<TestExchange> Send(HttpMethod method, const std::string& target,
                                     const std::string& key, const std::string& body = "") {
    std::vector<std::pair<std::string, std::string>> fields;
    if (!key.empty()) fields.emplace_back("authorization", std::string(kBearer) + key);
    auto exchange = std::make_unique<TestExchange>(method, target, body, fields);
    router_.Handle(*exchange);
    EXPECT_EQ(exchange->answers, 1) << target;
    return exchange;
  }
  int StatusOf(const HttpRoute& route, const std::string& key, std::string_view model = "echo") {
    return Send(MethodsOf(route).front(), TargetOf(route, model), key, BodyOf(route, model))
        ->response.status;
  }
  std::unique_ptr<TestExchange> Get(const std::string& target, const std::string& key = "") {
    return Send(HttpMethod::kGet, target, key);
  }
  // The names in a list of objects.
  static std::vector<std::string> NamesIn(const json& list, const char* key = "name") {
    std::vector<std::string> names;
    for (const json& entry : list) names.push_back(entry[key].get<std::string>());
    return names;
  }

  FakeService service_;
  TestKeys keys_;
  HttpRouter router_{service_, *keys_.authorizer};
};

// The key that `need` asks for, for model echo.
std::string KeyFor(Need need, const TestKeys& keys) {
  switch (need) {
    case Need::kManage: return keys.manage;
    case Need::kMetrics: return keys.metrics;
    default: return keys.all_models;
  }
}

TEST_F(RoutesTest, WithoutAValidKeyNothingIsServedButWhatNeedsNone) {
  for (const HttpRoute& route : HttpRoutes()) {
    for (const std::string& key : {std::string(), keys_.wrong, keys_.expired, keys_.revoked}) {
      const bool open = route.need == Need::kNothing;
      const auto exchange =
          Send(MethodsOf(route).front(), TargetOf(route, "echo"), key, BodyOf(route, "chatty"));
      EXPECT_EQ(exchange->response.status == 401, !open) << route.pattern << " " << key;
      if (open) continue;
      EXPECT_THAT(exchange->Field("WWW-Authenticate"), HasSubstr("Bearer")) << route.pattern;
      EXPECT_THAT(exchange->response.body, Not(HasSubstr("echo"))) << route.pattern;
      if (!key.empty()) {
        EXPECT_THAT(exchange->response.body, Not(HasSubstr(key)));
      }
    }
  }
  EXPECT_TRUE(service_.actions().empty());
  EXPECT_EQ(service_.model("echo").calls(), 0);
}

TEST_F(RoutesTest, AKeyWithoutTheScopeIs403OnEveryRouteThatNeedsOne) {
  for (const HttpRoute& route : HttpRoutes()) {
    const auto expect = [&](const std::string& key, std::string_view model, bool refused) {
      EXPECT_EQ(StatusOf(route, key, model) == 403, refused) << route.pattern << " " << model;
    };
    switch (route.need) {
      case Need::kNothing:
      case Need::kKey: expect(keys_.metrics, "echo", false); break;
      case Need::kSeeModel:
        expect(keys_.metrics, "echo", true);
        expect(keys_.infer, "ids", true);
        expect(keys_.infer, "nothere", true);  // whether it exists is not said
        expect(keys_.manage, "ids", false);
        expect(keys_.infer, "echo", false);
        break;
      case Need::kInferModel:
      case Need::kModelInside:
        expect(keys_.metrics, "chatty", true);
        expect(keys_.manage, "chatty", true);
        expect(keys_.infer, "vectors", true);
        expect(keys_.infer, "nothere", true);
        expect(keys_.infer, "chatty", false);
        break;
      case Need::kManage:
        expect(keys_.all_models, "echo", true);
        expect(keys_.metrics, "echo", true);
        break;
      case Need::kMetrics:
        expect(keys_.all_models, "echo", true);
        expect(keys_.manage, "echo", true);
        break;
    }
  }
  EXPECT_TRUE(service_.actions().empty());
}

TEST_F(RoutesTest, EveryRowIsAnsweredByAHandlerForEachOfItsMethodsAndNoOther) {
  for (const HttpRoute& route : HttpRoutes()) {
    ASSERT_FALSE(MethodsOf(route).empty()) << route.pattern;
    for (const HttpMethod method : {HttpMethod::kGet, HttpMethod::kPost, HttpMethod::kDelete}) {
      const auto exchange =
          Send(method, TargetOf(route, "echo"), KeyFor(route.need, keys_), BodyOf(route, "chatty"));
      const int status = exchange->response.status;
      EXPECT_THAT(exchange->response.body, Not(HasSubstr("no such path"))) << route.pattern;
      EXPECT_NE(status, 401) << route.pattern;
      EXPECT_NE(status, 403) << route.pattern;
      if (route.pattern.ends_with("...")) continue;  // not supported, whatever the method
      const std::vector<HttpMethod> methods = MethodsOf(route);
      EXPECT_EQ(status != 405, std::ranges::find(methods, method) != methods.end())
          << route.pattern << " " << static_cast<int>(method);
    }
  }
}

TEST_F(RoutesTest, WhatIsNotInTheTableIs404ToWhoHasAKeyAndElse401) {
  for (const char* target :
       {"/nothere", "/v2/nothere", "/v2/models", "/v2/models/echo/nothere", "/v2/repository",
        "/v2/evenkeel", "/v1", "/v1/nothere", "/v2/models/echo/versions", "/a/b/c/d/e/f/g/h/i",
        "/metrics/more", "/v2/health", "/readyz/x"}) {
    EXPECT_EQ(Get(target)->response.status, 401) << target;
    const auto exchange = Get(target, keys_.metrics);
    EXPECT_EQ(exchange->response.status, 404) << target;
    EXPECT_THAT(exchange->response.body, HasSubstr("no such path"));
  }
  EXPECT_EQ(Get("/v2/models/%zz")->response.status, 401);
  EXPECT_EQ(Get("/v2/models/%zz", keys_.metrics)->response.status, 400);
}

TEST_F(RoutesTest, DisguisesOfAPathNeedTheSame) {
  for (const char* target : {"/%6detrics", "//metrics", "/metrics/", "/metrics?verbose",
                             "/./metrics", "/v2/models/ids/", "/v2//models/ids", "/v2/%6dodels/ids",
                             "/readyz?verbose", "/readyz?verbose=1", "/livez/../metrics"}) {
    EXPECT_EQ(Get(target)->response.status, 401) << target;
    EXPECT_NE(Get(target, keys_.infer)->response.status, 200) << target;
  }
  EXPECT_EQ(Get("/%6detrics", keys_.metrics)->response.status, 200);
  EXPECT_EQ(Get("/livez?x=1")->response.status, 200);
}

TEST_F(RoutesTest, HeadNeedsWhatGetNeeds) {
  EXPECT_EQ(Send(HttpMethod::kHead, "/metrics", "")->response.status, 401);
  EXPECT_EQ(Send(HttpMethod::kHead, "/metrics", keys_.metrics)->response.status, 200);
  EXPECT_EQ(Send(HttpMethod::kOptions, "/v2/models/echo", "")->response.status, 401);
}

TEST_F(RoutesTest, RefusalsAreInTheFormOfThePathsProtocol) {
  const json v2 = json::parse(Get("/v2/models/echo")->response.body);
  EXPECT_THAT(v2["error"].get<std::string>(), HasSubstr("Authorization: Bearer KEY"));
  const json v1 = json::parse(Get("/v1/models")->response.body)["error"];
  EXPECT_EQ(v1["type"], "authentication_error");
  EXPECT_EQ(v1["code"], "invalid_api_key");
  EXPECT_EQ(v1["param"], nullptr);
  const json denied = json::parse(
      Send(HttpMethod::kPost, "/v1/completions", keys_.infer, R"({"model":"base","prompt":"x"})")
          ->response.body)["error"];
  EXPECT_EQ(denied["type"], "permission_error");
  EXPECT_EQ(denied["param"], "model");
  EXPECT_THAT(denied["message"].get<std::string>(), HasSubstr("'base'"));
}

TEST_F(RoutesTest, ListsShowOnlyWhatTheKeyMaySee) {
  const auto index = [&](const std::string& key) {
    return NamesIn(
        json::parse(Send(HttpMethod::kPost, "/v2/repository/index", key)->response.body));
  };
  EXPECT_THAT(index(keys_.infer), ElementsAre("echo"));
  EXPECT_TRUE(index(keys_.metrics).empty());
  EXPECT_EQ(index(keys_.manage).size(), 5U);
  EXPECT_EQ(index(keys_.all_models).size(), 5U);
  const auto list = [&](const char* target, const char* at, const std::string& key,
                        const char* name = "name") {
    return NamesIn(json::parse(Get(target, key)->response.body)[at], name);
  };
  EXPECT_THAT(list("/v1/models", "data", keys_.infer, "id"), ElementsAre("chatty"));
  EXPECT_TRUE(list("/v1/models", "data", keys_.metrics, "id").empty());
  EXPECT_EQ(list("/v1/models", "data", keys_.manage, "id").size(), 4U);
  EXPECT_THAT(list("/v2/models/stats", "model_stats", keys_.infer), ElementsAre("echo"));
  EXPECT_EQ(list("/v2/models/stats", "model_stats", keys_.manage).size(), 4U);
  EXPECT_THAT(list("/v2/evenkeel/models", "models", keys_.infer), ElementsAre("echo"));
  EXPECT_TRUE(list("/v2/evenkeel/models", "models", keys_.metrics).empty());
  EXPECT_EQ(list("/v2/evenkeel/models", "models", keys_.manage).size(), 4U);
}

TEST_F(RoutesTest, MalformedCredentialsAre401) {
  const std::string good = std::string(kBearer) + keys_.all_models;
  using Fields = std::vector<std::pair<std::string, std::string>>;
  for (const Fields& fields :
       {Fields{{"Authorization", ""}}, Fields{{"Authorization", "Basic dXNlcjpwYXNz"}},
        Fields{{"Authorization", keys_.all_models}},
        Fields{{"Authorization", good}, {"authorization", good}},
        Fields{{"Authorization", ""}, {"Authorization", good}},
        Fields{{"Authorization", good + std::string(10'000, 'x')}},
        Fields{{"Authorization", std::string(kBearer) + "\xc3\xa9\xff"}},
        Fields{{"Proxy-Authorization", good}}, Fields{{"X-Api-Key", keys_.all_models}}}) {
    TestExchange exchange(HttpMethod::kGet, "/v2/models/echo", "", fields);
    router_.Handle(exchange);
    EXPECT_EQ(exchange.response.status, 401) << fields.front().second.substr(0, 40);
  }
  TestExchange exchange(HttpMethod::kGet, "/v2/models/echo", "", {{"AUTHORIZATION", good}});
  router_.Handle(exchange);
  EXPECT_EQ(exchange.response.status, 200);
}

TEST_F(RoutesTest, ALargeBodyIsNotAdmittedWithoutAKey) {
  TestExchange without(HttpMethod::kPost, "/v2/models/echo/infer", "");
  EXPECT_EQ(router_.Admit(without.head()).code(), Code::kUnauthenticated);
  TestExchange narrow(HttpMethod::kPost, "/v2/models/ids/infer", "",
                      {{"Authorization", std::string(kBearer) + keys_.infer}});
  EXPECT_EQ(router_.Admit(narrow.head()).code(), Code::kPermissionDenied);
  TestExchange good(HttpMethod::kPost, "/v2/models/echo/infer", "",
                    {{"Authorization", std::string(kBearer) + keys_.infer}});
  EXPECT_TRUE(router_.Admit(good.head()).ok());
}

TEST_F(RoutesTest, ALargeBodyIsNotAdmittedWithoutAKeyWhereNoneIsNeeded) {
  for (const HttpRoute& route : HttpRoutes()) {
    TestExchange without(HttpMethod::kPost, TargetOf(route, "echo"), "");
    EXPECT_EQ(router_.Admit(without.head()).code(), Code::kUnauthenticated) << route.pattern;
  }
  TestExchange known(HttpMethod::kPost, "/livez", "",
                     {{"Authorization", std::string(kBearer) + keys_.metrics}});
  EXPECT_TRUE(router_.Admit(known.head()).ok());
  HttpRouter open(service_, Authorizer::Off());
  TestExchange anybody(HttpMethod::kPost, "/livez", "");
  EXPECT_TRUE(open.Admit(anybody.head()).ok());
}

TEST_F(RoutesTest, TheMetricsPortAsksForTheSame) {
  HttpRouter metrics(service_, *keys_.authorizer, HttpPages::kMetrics);
  const auto status = [&](const char* target, const std::string& key) {
    TestExchange exchange(HttpMethod::kGet, target, "",
                          {{"Authorization", std::string(kBearer) + key}});
    metrics.Handle(exchange);
    return exchange.response.status;
  };
  EXPECT_EQ(status("/metrics", keys_.wrong), 401);
  EXPECT_EQ(status("/metrics", keys_.manage), 403);
  EXPECT_EQ(status("/metrics", keys_.metrics), 200);
  EXPECT_EQ(status("/livez", keys_.wrong), 200);
  EXPECT_EQ(status("/v2/models/echo", keys_.all_models), 404);
}

TEST_F(RoutesTest, ARevokedKeyIsRefusedOnceItWasSeen) {
  EXPECT_EQ(Get("/v2/models/echo", keys_.infer)->response.status, 200);
  keys_.Revoke("infer");
  EXPECT_EQ(Get("/v2/models/echo", keys_.infer)->response.status, 401);
}

}  // namespace
}  // namespace evenkeel
