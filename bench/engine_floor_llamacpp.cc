// What the step loop makes of a GGUF model without a daemon around it: closed loop, 64 tokens in, 64 out, at 1, 4, 8 and 16 sequences.
//
//   build/bench-bin/engine_floor_llamacpp MODEL.gguf [THREADS] [SEQUENCES]     prints JSON; at so many sequences only
//
// Tokens a second count answers only, prompts included in the time; times are those that the loop's caller sees.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "core/clock.h"
#include "engines/llamacpp/step_loop.h"

namespace evenkeel {
namespace {

constexpr int kTokens = 64;

struct Timed final : StepSink {
  explicit Timed(const Clock& c) : clock(c) {}
  void Token(const SequenceToken& token) override {
    const Time now = clock.Now();
    auto& at = last[token.id];
    const bool first = seen.try_emplace(token.id, true).second;
    (first ? first_s : inter_s).push_back(Seconds(now - at));
    at = now;
    ++tokens;
  }
  void End(const SequenceEnd& end) override {
    if (!end.status.ok()) std::fprintf(stderr, "%s\n", end.status.ToString().c_str());
    ended.push_back(end.id);
  }
  void Stepped(const StepReport&) override {}

  const Clock& clock;
  std::map<uint64_t, Time> last;
  std::map<uint64_t, bool> seen;
  std::vector<double> first_s, inter_s;
  std::vector<uint64_t> ended;
  int tokens = 0;
};

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

nlohmann::json Measure(LlamaModel& model, int sequences) {
  const Clock& clock = SteadyClock::Instance();
  Timed sink(clock);
  StepLoop loop(model, std::chrono::milliseconds(50), clock, sink);
  std::mt19937 random(1);
  uint64_t next = 1;
  const auto start = [&] {
    SequenceStart one;
    one.id = next++;
    for (int i = 0; i < kTokens; ++i)
      one.prompt.push_back(static_cast<int32_t>(
          random() % static_cast<uint32_t>(std::max(1, model.vocabulary() - 1000)) + 500));
    one.max_tokens = kTokens;
    one.ignore_eos = true;
    one.sampling.temperature = 0;
    sink.last[one.id] = clock.Now();
    loop.Start(std::move(one));
  };
  const int rounds = std::max(2 * sequences, 6);
  const Time begin = clock.Now();
  for (int i = 0; i < sequences; ++i) start();
  int started = sequences;
  while (!loop.idle()) {
    loop.Step();
    for (; !sink.ended.empty(); sink.ended.pop_back()) {
      if (started++ < rounds) start();
    }
  }
  const double took = Seconds(clock.Now() - begin);
  return {{"sequences", sequences},
          {"tokens_per_s", sink.tokens / took},
          {"first_token_ms_p50", Quantile(sink.first_s, 0.5) * 1e3},
          {"first_token_ms_p99", Quantile(sink.first_s, 0.99) * 1e3},
          {"inter_token_ms_p50", Quantile(sink.inter_s, 0.5) * 1e3},
          {"inter_token_ms_p99", Quantile(sink.inter_s, 0.99) * 1e3}};
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: engine_floor_llamacpp MODEL.gguf [THREADS] [SEQUENCES]\n");
    return 2;
  }
  LlmLoad load;
  load.path = argv[1];
  load.threads = argc > 2 ? std::atoi(argv[2]) : 2;
  auto model = LlamaModel::Load(load);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  nlohmann::json rows = nlohmann::json::array();
  static_cast<void>(Measure(**model, 4));  // warms up
  const int only = argc > 3 ? std::atoi(argv[3]) : 0;
  for (const int sequences : {1, 4, 8, 16}) {
    if (only == 0 || only == sequences) rows.push_back(Measure(**model, sequences));
  }
  std::printf("%s\n", nlohmann::json{{"threads", load.threads}, {"rows", rows}}.dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace evenkeel

int main(int argc, char** argv) { return evenkeel::Main(argc, argv); }
