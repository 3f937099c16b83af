// One context with all threads against one-thread contexts side by side over the same weights, by load.
//
//   side_by_side_llamacpp MODEL.gguf [THREADS] [ROUNDS] [SECONDS] [PROMPT] [ANSWER]
//
// Workload: a closed loop of B sequences. Each has a prompt of PROMPT tokens of its own (64), then ANSWER greedy tokens (64), and is followed by the next.
// A step has a token of every sequence that answers and at most 128 tokens of the oldest prompts beside them (512 where nobody answers).
// "together": one context of B sequences on THREADS threads (the processors). "apart": THREADS contexts of one thread and their part
// of the B sequences, each in a thread of its own. The two are alternated ROUNDS (5) times for SECONDS (3) each; JSON has the medians over the
// rounds of answer tokens a second, and of the 50th and 99th percentiles of the time to a first token and between two tokens.
#include <ggml-cpu.h>
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostBatch = 512;
constexpr int kBesideAnswers = 128;  // prompt tokens

double Since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Load {
  int sequences = 1, prompt = 64, answer = 64;
};

struct Seen {
  int64_t tokens = 0;  // of answers
  std::vector<double> first_s, inter_s;
};

// One context and a closed loop of its sequences.
class Stream {
 public:
  Stream(llama_model* model, const Load& load, int threads, int seed)
      : load_(load), vocabulary_(llama_vocab_n_tokens(llama_model_get_vocab(model))), seed_(seed) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(load.sequences * (load.prompt + load.answer + 8));
    params.n_batch = params.n_ubatch = kMostBatch;
    params.n_seq_max = static_cast<uint32_t>(load.sequences);
    params.n_outputs_max = params.n_seq_max;
    params.kv_unified = true;
    params.n_threads = params.n_threads_batch = threads;
    params.no_perf = true;
    context_ = llama_init_from_model(model, params);
    ggml_threadpool_params pool = ggml_threadpool_params_default(threads);
    pool.poll = 0;
    pool_ = ggml_threadpool_new(&pool);
    if (context_ == nullptr || pool_ == nullptr) std::exit(3);
    llama_attach_threadpool(context_, pool_, pool_);
    batch_ = llama_batch_init(kMostBatch, 0, 1);
  }
  ~Stream() {
    llama_batch_free(batch_);
    llama_free(context_);
    ggml_threadpool_free(pool_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Seen Run(double seconds) {
    llama_memory_clear(llama_get_memory(context_), true);
    sequences_.assign(static_cast<size_t>(load_.sequences), {});
    seen_ = {};
    const auto begin = Clock::now();
    for (Sequence& sequence : sequences_) Begin(sequence);
    while (Since(begin) < seconds) Step();
    return std::move(seen_);
  }

 private:
  struct Sequence {
    int number = 0;    // which of all, for its prompt
    int computed = 0;  // tokens
    int32_t next = 0;  // once the prompt is computed
    Clock::time_point last;
  };

  void Begin(Sequence& sequence) {
    const auto slot = static_cast<int>(&sequence - sequences_.data());
    llama_memory_seq_rm(llama_get_memory(context_), slot, -1, -1);
    sequence = {next_number_++, 0, 0, Clock::now()};
  }
  void Add(size_t slot, int32_t token, bool output) {
    const auto i = static_cast<size_t>(batch_.n_tokens++);
    batch_.token[i] = token;
    batch_.pos[i] = sequences_[slot].computed++;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = static_cast<int32_t>(slot);
    batch_.logits[i] = static_cast<int8_t>(output);
    if (output) outputs_.emplace_back(slot, batch_.n_tokens - 1);
  }
  bool Answers(const Sequence& sequence) const { return sequence.computed >= load_.prompt; }

  void Fill() {
    batch_.n_tokens = 0;
    outputs_.clear();
    for (size_t slot = 0; slot < sequences_.size(); ++slot) {
      if (Answers(sequences_[slot])) Add(slot, sequences_[slot].next, true);
    }
    const int most = batch_.n_tokens > 0 ? batch_.n_tokens + kBesideAnswers : kMostBatch;
    std::vector<size_t> prompts;  // the oldest first
    for (size_t slot = 0; slot < sequences_.size(); ++slot) {
      if (!Answers(sequences_[slot])) prompts.push_back(slot);
    }
    std::sort(prompts.begin(), prompts.end(),
              [&](size_t a, size_t b) { return sequences_[a].number < sequences_[b].number; });
    for (const size_t slot : prompts) {
      const Sequence& sequence = sequences_[slot];
      while (batch_.n_tokens < std::min(most, kMostBatch) && !Answers(sequence)) {
        const int i = sequence.computed;
        const int32_t token = (i * 31 + (sequence.number + seed_) * 1009 + 7) % vocabulary_;
        Add(slot, token, i + 1 == load_.prompt);
      }
    }
  }
  void Step() {
    Fill();
    if (llama_decode(context_, batch_) != 0) std::exit(4);
    for (const auto& [slot, row] : outputs_) {
      Sequence& sequence = sequences_[slot];
      const float* logits = llama_get_logits_ith(context_, row);
      sequence.next = static_cast<int32_t>(std::max_element(logits, logits + vocabulary_) - logits);
      const bool first = sequence.computed == load_.prompt;
      (first ? seen_.first_s : seen_.inter_s).push_back(Since(sequence.last));
      sequence.last = Clock::now();
      ++seen_.tokens;
      if (sequence.computed + 1 >= load_.prompt + load_.answer) Begin(sequence);
    }
  }

  const Load load_;
  const int vocabulary_, seed_;
  int next_number_ = 0;
  llama_context* context_ = nullptr;
  ggml_threadpool* pool_ = nullptr;
  llama_batch batch_{};
  std::vector<Sequence> sequences_;
  std::vector<std::pair<size_t, int>> outputs_;  // slot, row of the batch
  Seen seen_;
};

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

struct Figures {
  std::vector<double> tokens_s, first_p50, first_p99, inter_p50, inter_p99;  // one a round; ms

  void Add(const std::vector<Seen>& streams, double seconds) {
    Seen all;
    for (const Seen& one : streams) {
      all.tokens += one.tokens;
      all.first_s.insert(all.first_s.end(), one.first_s.begin(), one.first_s.end());
      all.inter_s.insert(all.inter_s.end(), one.inter_s.begin(), one.inter_s.end());
    }
    tokens_s.push_back(static_cast<double>(all.tokens) / seconds);
    first_p50.push_back(Quantile(all.first_s, 0.5) * 1e3);
    first_p99.push_back(Quantile(all.first_s, 0.99) * 1e3);
    inter_p50.push_back(Quantile(all.inter_s, 0.5) * 1e3);
    inter_p99.push_back(Quantile(all.inter_s, 0.99) * 1e3);
  }
  nlohmann::json ToJson() const {
    return {
        {"answer_tokens_per_s", Quantile(tokens_s, 0.5)},
        {"first_token_ms", {{"p50", Quantile(first_p50, 0.5)}, {"p99", Quantile(first_p99, 0.5)}}},
        {"inter_token_ms", {{"p50", Quantile(inter_p50, 0.5)}, {"p99", Quantile(inter_p99, 0.5)}}},
        {"answer_tokens_per_s_rounds", tokens_s}};
  }
};

using Streams = std::vector<std::unique_ptr<Stream>>;

// All streams at once.
void RunAll(Streams& streams, double seconds, Figures* figures) {
  std::vector<Seen> seen(streams.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < streams.size(); ++i)
    threads.emplace_back([&, i] { seen[i] = streams[i]->Run(seconds); });
  for (std::thread& thread : threads) thread.join();
  if (figures != nullptr) figures->Add(seen, seconds);
}

nlohmann::json Compare(llama_model* model, const Load& whole, int threads, int rounds,
                       double seconds) {
  Load part = whole;
  part.sequences = whole.sequences / threads;
  Streams together, apart;
  together.push_back(std::make_unique<Stream>(model, whole, threads, 0));
  for (int i = 0; i < threads; ++i)
    apart.push_back(std::make_unique<Stream>(model, part, 1, (i + 1) * 10'000));
  RunAll(together, 0.5, nullptr);  // the first touches everything
  RunAll(apart, 0.5, nullptr);
  Figures one, many;
  for (int round = 0; round < rounds; ++round) {
    RunAll(together, seconds, &one);
    RunAll(apart, seconds, &many);
  }
  return {{"sequences", whole.sequences},
          {"prompt", whole.prompt},
          {"answer", whole.answer},
          {"together", one.ToJson()},
          {"apart", many.ToJson()}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(
        stderr,
        "usage: side_by_side_llamacpp MODEL.gguf [THREADS] [ROUNDS] [SECONDS] [PROMPT] [ANSWER]\n");
    return 2;
  }
  const auto number = [&](int at, int otherwise) {
    return argc > at ? std::max(1, std::atoi(argv[at])) : otherwise;
  };
  const int threads = number(2, static_cast<int>(std::thread::hardware_concurrency()));
  const int rounds = number(3, 5), seconds = number(4, 3);
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) {
    std::fprintf(stderr, "%s: not a model that llama.cpp loads\n", argv[1]);
    return 1;
  }
  nlohmann::json report = {{"schema", "evenkeel.side-by-side/v1"},
                           {"threads", threads},
                           {"rounds", rounds},
                           {"seconds", seconds}};
  for (const int sequences : {2, 8, 16}) {
    if (sequences % threads != 0) continue;
    const Load load{sequences, number(5, 64), number(6, 64)};
    report["loads"].push_back(Compare(model, load, threads, rounds, seconds));
  }
  std::printf("%s\n", report.dump(2).c_str());
  llama_model_free(model);
  return 0;
}
