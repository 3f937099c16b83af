#include "frontends/guarded_service.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "frontends/fake_service.h"

namespace evenkeel {
namespace {

CallerAccess With(const std::string& scopes) {
  auto key = std::make_shared<KeyRecord>();
  key->name = "test";
  key->scopes = *ParseScopes(scopes);
  return CallerAccess::Of(std::move(key));
}

// The code of each call that needs a scope, about `model`, by what it needs.
struct Codes {
  std::vector<Code> infer, see, manage, metrics;
};

Codes CodesOf(GuardedService& service, const std::string& model) {
  Codes codes;
  codes.infer = {service.Find(model, "").status().code(),
                 service.FindLanguageModel(model).status().code()};
  codes.see = {service.DescribeLanguageModel(model).status().code(),
               service.ModelReady(model, "").status().code(),
               service.Metadata(model, "").status().code(),
               service.Config(model, "").status().code(),
               service.Statistics(model, "").status().code(),
               service.DescribeModel(model).status().code(),
               service.DescribeBatching(model, "").status().code()};
  const auto keep = [&codes](const Status& status) { codes.manage.push_back(status.code()); };
  service.LoadAsync(model, "", keep);
  service.UnloadAsync(model, keep);
  keep(service.Samples().status());
  keep(service.ExportSamples(model).status());
  keep(service.RemoveSamples(model));
  keep(service.DescribeCluster().status());
  service.SetNodeState("attic", "drain", keep);
  keep(service.DescribeMembership().status());
  service.ChangeMembership("rm", "attic", keep);
  codes.metrics = {service.MetricsText().status().code(), service.WhyNotReady().status().code()};
  return codes;
}

// Whether all of `codes` are `refusal`, or none is any.
void Expect(const std::vector<Code>& codes, Code refusal, const char* what) {
  for (const Code code : codes) {
    if (refusal != Code::kOk) {
      EXPECT_EQ(code, refusal) << what;
    } else {
      EXPECT_NE(code, Code::kUnauthenticated) << what;
      EXPECT_NE(code, Code::kPermissionDenied) << what;
    }
  }
}

TEST(GuardedServiceTest, EveryCallAsksTheCallerFirst) {
  constexpr Code kNo = Code::kPermissionDenied, kYes = Code::kOk, kWho = Code::kUnauthenticated;
  struct Case {
    const char* name;
    CallerAccess access;
    Code infer, see, manage, metrics;
  };
  for (const Case& c : {Case{"nobody", {}, kWho, kWho, kWho, kWho},
                        Case{"everybody", CallerAccess::Everything(), kYes, kYes, kYes, kYes},
                        Case{"infer", With("infer:echo"), kYes, kYes, kNo, kNo},
                        Case{"infer another", With("infer:ids"), kNo, kNo, kNo, kNo},
                        Case{"manage", With("manage"), kNo, kYes, kYes, kNo},
                        Case{"metrics", With("metrics"), kNo, kNo, kNo, kYes}}) {
    FakeService fake;
    GuardedService service(fake, c.access);
    const Codes codes = CodesOf(service, "echo");
    ASSERT_EQ(codes.manage.size(), 9U);
    Expect(codes.infer, c.infer, c.name);
    Expect(codes.see, c.see, c.name);
    Expect(codes.manage, c.manage, c.name);
    Expect(codes.metrics, c.metrics, c.name);
    EXPECT_EQ(fake.actions().size(), c.manage == kYes ? 3U : 0U) << c.name;
    EXPECT_TRUE(service.Live() && service.Ready());
  }
}

TEST(GuardedServiceTest, ListsLeaveOutWhatTheCallerMayNotSee) {
  FakeService fake;
  const auto sizes = [&fake](const CallerAccess& access) {
    const GuardedService service(fake, access);
    return std::vector<size_t>{
        service.LanguageModels().size(), service.RepositoryIndex(false).size(),
        service.RepositoryIndex(true).size(), service.Statistics("", "").value().size(),
        service.Describe()["models"].size()};
  };
  using Sizes = std::vector<size_t>;
  const Sizes all = sizes(CallerAccess::Everything());
  EXPECT_EQ(all, (Sizes{4, 5, 4, 4, 4}));
  EXPECT_EQ(sizes(With("manage")), all);
  EXPECT_EQ(sizes(With("infer:*")), all);
  EXPECT_EQ(sizes(With("metrics")), (Sizes{0, 0, 0, 0, 0}));
  EXPECT_EQ(sizes(With("infer:echo infer:t*")), (Sizes{0, 2 + 1, 2 + 1, 2 + 1, 2 + 1}));
  EXPECT_EQ(sizes(With("infer:base")), (Sizes{1, 0, 0, 0, 0}));
  EXPECT_EQ(sizes(CallerAccess()), (Sizes{0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace evenkeel
