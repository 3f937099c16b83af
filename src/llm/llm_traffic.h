// What comes to a language model: sequences, prompt tokens and answer tokens, counted in intervals and forecast as a model's rows are.
//
// Contract: as batching/policy/traffic.h, one each for sequences, prompt tokens and answer tokens. Means of lengths are of the last kLengths or so
//   of each; 0 before the first. Times must not go back. Memory: under 400 KiB. Thread-safety: thread-compatible. Source: A8, A9.
#pragma once

#include <algorithm>
#include <cstdint>

#include "batching/policy/traffic.h"
#include "llm/policy/answer_lengths.h"
#include "llm/policy/llm_choice.h"

namespace evenkeel {

class LlmTraffic {
 public:
  static constexpr Duration kInterval = std::chrono::milliseconds(500);
  static constexpr int64_t kFewest = 32;  // sequences whose lengths tell what a cache needs

  explicit LlmTraffic(Time start)
      : sequences_(start, kInterval), prompts_(start, kInterval), answers_(start, kInterval) {}

  void Arrived(int64_t sequences, Time now) { sequences_.OnArrival(sequences, now); }
  void Prompt(int64_t tokens, Time now) {
    prompts_.OnArrival(tokens, now);
    prompt_lengths_.Add(tokens);
  }
  void Answer(int64_t prompt_tokens, int64_t tokens, Time now) {
    answers_.OnArrival(tokens, now);
    answer_lengths_.Add(tokens);
    whole_lengths_.Add(prompt_tokens + tokens);
  }

  // For the interval that comes.
  policy::LlmForecast Next(Time now) {
    for (policy::Traffic* traffic : {&sequences_, &prompts_, &answers_}) traffic->AdvanceTo(now);
    policy::LlmForecast forecast;
    forecast.arrivals_s = std::max(0.0, sequences_.RatePerSecond(kInterval, now));
    const double prompts_s = std::max(0.0, prompts_.RatePerSecond(kInterval, now));
    forecast.prompt_tokens = prompt_lengths_.seen() > 0 ? prompt_lengths_.mean() : 0;
    // A change of what comes is seen in the forecasts before it is in the means.
    if (forecast.arrivals_s > kClear && prompts_s > 0)
      forecast.prompt_tokens = (forecast.prompt_tokens + prompts_s / forecast.arrivals_s) / 2;
    forecast.answer_tokens = answer_lengths_.seen() > 0 ? answer_lengths_.mean() : 0;
    if (whole_lengths_.seen() >= kFewest) forecast.long_sequence = whole_lengths_.Quantile(0.9);
    return forecast;
  }

  const policy::AnswerLengths& answer_lengths() const { return answer_lengths_; }
  const policy::AnswerLengths& prompt_lengths() const { return prompt_lengths_; }
  const policy::Traffic& sequences() const { return sequences_; }
  const policy::Traffic& prompts() const { return prompts_; }
  const policy::Traffic& answers() const { return answers_; }

 private:
  static constexpr double kClear =
      0.5;  // sequences a second, from which their prompts' forecast tells

  policy::Traffic sequences_, prompts_, answers_;
  policy::AnswerLengths prompt_lengths_, answer_lengths_, whole_lengths_;
};

}  // namespace evenkeel
