// What one step of a GGUF model takes, by the answers and the prompt tokens in it: what chunk budgets are to be judged by.
//
//   build/bench-bin/step_times_llamacpp MODEL.gguf [THREADS] [KEPT]     prints JSON: medians in ms; "answers" x "prompt_tokens"
//
// KEPT: sequences of 128 tokens that lie in the cache beside those that run, as finished ones do [0].
#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/clock.h"
#include "engines/llamacpp/llama_model.h"

namespace evenkeel {
namespace {

constexpr int kHeld = 96;  // tokens that a running sequence has
constexpr int kRepeats = 7;
constexpr int kPromptSlot = 0;

class Steps {
 public:
  explicit Steps(LlamaModel& model)
      : model_(model), batch_(llama_batch_init(model.batch(), 0, 1)) {}
  ~Steps() { llama_batch_free(batch_); }

  void Add(int slot, int position, bool output) {
    const auto i = static_cast<size_t>(batch_.n_tokens++);
    batch_.token[i] = 500 + (17 * position + 31 * slot) % 20000;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = slot;
    batch_.logits[i] = static_cast<int8_t>(output);
  }
  double Run() {
    const Time begin = SteadyClock::Instance().Now();
    if (llama_decode(model_.context(), batch_) != 0) std::fprintf(stderr, "a step failed\n");
    batch_.n_tokens = 0;
    return Seconds(SteadyClock::Instance().Now() - begin);
  }
  void Forget(int slot, int from) {
    llama_memory_seq_rm(llama_get_memory(model_.context()), slot, from, -1);
  }
  // `count` sequences from `slot` on grow side by side, as answers do.
  void Grow(int slot, int count, int tokens) {
    for (int position = 0; position < tokens; ++position) {
      for (int i = 0; i < count; ++i) Add(slot + i, position, false);
      Run();
    }
  }
  double Measure(int answers, int prompt_tokens) {
    std::vector<double> seen;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      for (int i = 0; i < answers; ++i) Add(1 + i, kHeld, true);
      for (int i = 0; i < prompt_tokens; ++i) Add(kPromptSlot, i, i + 1 == prompt_tokens);
      seen.push_back(Run());
      for (int i = 0; i < answers; ++i) Forget(1 + i, kHeld);
      Forget(kPromptSlot, 0);
    }
    std::ranges::sort(seen);
    return seen[seen.size() / 2] * 1e3;
  }

 private:
  LlamaModel& model_;
  llama_batch batch_;
};

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: step_times_llamacpp MODEL.gguf [THREADS] [KEPT]\n");
    return 2;
  }
  LlmLoad load;
  load.path = argv[1];
  load.threads = argc > 2 ? std::atoi(argv[2]) : 2;
  const int kept = argc > 3 ? std::clamp(std::atoi(argv[3]), 0, 32) : 0;
  load.slots = 17 + kept;
  auto model = LlamaModel::Load(load);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  Steps steps(**model);
  if (kept > 0) steps.Grow(17, kept, 128);
  nlohmann::json rows = nlohmann::json::array();
  int running = 0;
  for (const int answers : {0, 1, 4, 8, 16}) {
    for (; running < answers; ++running) steps.Grow(1 + running, 1, kHeld);
    nlohmann::json row = {{"answers", answers}};
    for (const int prompt : {0, 8, 16, 24, 32, 48, 64, 96, 128, 256, 480}) {
      if (answers + prompt > 0)
        row["prompt_tokens"][std::to_string(prompt)] = steps.Measure(answers, prompt);
    }
    rows.push_back(row);
  }
  std::printf(
      "%s\n",
      nlohmann::json{{"threads", load.threads}, {"kept", kept}, {"rows", rows}}.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace evenkeel

int main(int argc, char** argv) { return evenkeel::Main(argc, argv); }
