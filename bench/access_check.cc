// What it costs to know who sent a call: keys off, one key, a thousand keys, an unknown key, a malformed credential; and the digest alone.
//
// usage: access_check [SECONDS_EACH]      prints JSON; each value is the median of nine runs, taken in turns on one thread.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "access/authorizer.h"

namespace {

using namespace evenkeel;  // NOLINT
constexpr int kRuns = 9;

double NanosecondsACall(const std::function<void()>& call, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  uint64_t calls = 0;
  std::chrono::duration<double> took{};
  do {
    for (int i = 0; i < 1000; ++i) call();
    calls += 1000;
    took = Clock::now() - start;
  } while (took.count() < seconds);
  return took.count() * 1e9 / static_cast<double>(calls);
}

[[noreturn]] void End(const Status& status) {
  std::fprintf(stderr, "access_check: %s\n", status.message().c_str());
  std::exit(1);
}

// One with so many keys; `key` gets the last.
std::unique_ptr<Authorizer> WithKeys(const std::filesystem::path& folder, int count,
                                     std::string* key) {
  const KeyStore store(KeyStorePath((folder / std::to_string(count)).string()));
  for (int i = 0; i < count; ++i) {
    const auto made = store.Create({"key" + std::to_string(i), *ParseScopes("infer:*"), 0}, 1);
    if (!made.ok()) End(made.status());
    *key = made->text;
  }
  auto authorizer = Authorizer::Open(store.path(), AuthMode::kAuto);
  if (!authorizer.ok()) End(authorizer.status());
  return std::move(*authorizer);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.2;
  const auto folder =
      std::filesystem::temp_directory_path() / ("access_check." + std::to_string(::getpid()));
  std::string one_key, last_key;
  const auto one = WithKeys(folder, 1, &one_key);
  const auto many = WithKeys(folder, 1000, &last_key);
  std::filesystem::remove_all(folder);
  const std::string good = "Bearer " + one_key, last = "Bearer " + last_key;
  const std::string unknown = "Bearer ek_aaaaaaaa_" + std::string(kKeySecretSize, 'a');
  const std::string malformed = "Basic " + std::string(8000, 'x');
  uint64_t admitted = 0;
  const auto ask = [&admitted](const Authorizer& authorizer, const std::string& field) {
    return [&admitted, &authorizer, &field] {
      Authorization authorization;
      authorization.Add(field);
      if (authorizer.Identify(authorization).CheckInfer("digits").ok()) ++admitted;
    };
  };
  struct Case {
    const char* name;
    std::function<void()> call;
    std::vector<double> ns;
  };
  std::vector<Case> cases = {{"keys off", ask(Authorizer::Off(), good), {}},
                             {"one key", ask(*one, good), {}},
                             {"a thousand keys", ask(*many, last), {}},
                             {"unknown key", ask(*many, unknown), {}},
                             {"malformed, 8 kB", ask(*many, malformed), {}},
                             {"digest alone", [&] { admitted += DigestOf(one_key)[0]; }, {}}};
  for (int run = 0; run < kRuns; ++run) {
    for (Case& c : cases) c.ns.push_back(NanosecondsACall(c.call, seconds));
  }
  std::printf("[\n");
  for (Case& c : cases) {
    std::ranges::sort(c.ns);
    std::printf("  {\"name\": \"access: %s\", \"value\": %.0f, \"unit\": \"ns\", \"least\": %.0f, ",
                c.name, c.ns[kRuns / 2], c.ns.front());
    std::printf("\"most\": %.0f}%s\n", c.ns.back(), &c == &cases.back() ? "" : ",");
  }
  std::printf("]\n");
  return admitted == 0 ? 1 : 0;
}
