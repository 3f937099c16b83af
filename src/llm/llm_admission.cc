// What a language model takes on: calls as they must be, as many as will be answered in time, prompts that fit.
#include <algorithm>
#include <cmath>
#include <span>

#include "core/format.h"
#include "llm/llm_call.h"
#include "llm/policy/expected_wait.h"

namespace evenkeel {
namespace {

constexpr size_t kMostStops = 64;
constexpr size_t kLongestStop = 1024;
constexpr int kMostChoices = 128;

}  // namespace

int LlmModel::OpenSequences() const {
  int open = 0;
  for (const auto& [id, call] : calls_) open += static_cast<int>(call->open);
  return open;
}

Status LlmModel::CheckRequest(const GenerationRequest& request) const {
  const int kinds = (request.chat.empty() ? 0 : 1) + (request.tokens.empty() ? 0 : 1) +
                    (request.prompt.empty() ? 0 : 1);
  if (kinds != 1) return InvalidArgument("expected one prompt that is not empty, got {}", kinds);
  if (request.choices < 1 || request.choices > kMostChoices)
    return InvalidArgument("expected 1 to {} choices, got {}", kMostChoices, request.choices);
  if (request.max_tokens < 0)
    return InvalidArgument("expected a positive number of tokens, got {}", request.max_tokens);
  if (request.stop.size() > kMostStops)
    return InvalidArgument("expected at most {} stop texts, got {}", kMostStops,
                           request.stop.size());
  for (const std::string& word : request.stop) {
    if (word.size() > kLongestStop)
      return InvalidArgument("a stop text of {} bytes; at most {} are taken", word.size(),
                             kLongestStop);
  }
  if (!request.json_schema.empty() && !request.grammar.empty())
    return InvalidArgument("a JSON schema and a grammar exclude each other");
  const std::lock_guard lock(mutex_);
  if (!loaded_.generates())
    return InvalidArgument("model '{}' generates no text: it is one for embeddings or rerank",
                           options_.name);
  const auto is_token = [&](int32_t token) { return token >= 0 && token < loaded_.vocabulary; };
  for (const int32_t token : request.tokens) {
    if (!is_token(token))
      return InvalidArgument("token {} is not in the vocabulary of {}", token, loaded_.vocabulary);
  }
  if (!request.begun.empty() && request.begun.size() != static_cast<size_t>(request.choices))
    return InvalidArgument("{} choices, but {} were begun", request.choices, request.begun.size());
  for (const BegunChoice& begun : request.begun) {
    if (!std::ranges::all_of(begun.tokens, is_token))
      return InvalidArgument("a token of what was begun is not in the vocabulary of {}",
                             loaded_.vocabulary);
  }
  if (!request.begun.empty() &&
      std::ranges::all_of(request.begun, [](const BegunChoice& one) { return one.ended; }))
    return InvalidArgument("every choice that was begun has ended");
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (!is_token(token))
      return InvalidArgument("logit_bias: token {} is not in the vocabulary of {}", token,
                             loaded_.vocabulary);
  }
  return Status::Ok();
}

Status LlmModel::CheckLoad(int choices) const {
  const int open = OpenSequences();
  const int slots = tuner_.running();
  const int waiting = open + choices - slots;
  // A request for many choices of its own may fill the line, but not come to a full one.
  if (waiting > options_.max_waiting && open > 0)
    return Overloaded("model '{}': {} answers run or wait, {} run side by side and {} may wait",
                      options_.name, open, slots, options_.max_waiting);
  if (open < slots) return Status::Ok();
  const double turns = std::ceil(static_cast<double>(open - slots + 1) / slots);
  const double wait_s = ExpectedWaitSeconds().value_or(turns * answer_s_);
  if (wait_s > Seconds(options_.longest_wait))
    return Overloaded("model '{}': an answer would begin in about {:.0f} s", options_.name, wait_s);
  return Status::Ok();
}

// By what those that are here are expected to take: the first run, the others wait for a slot, in the order of their coming.
std::optional<double> LlmModel::ExpectedWaitSeconds() const {
  const auto slots = static_cast<size_t>(tuner_.running());
  const policy::AnswerLengths& lengths = tuner_.traffic().answer_lengths();
  std::vector<double> rests;
  double prompts = 0;  // tokens, of those that have not begun
  for (const auto& [id, call] : calls_) {
    const int64_t most = call->call->request.max_tokens;
    const bool prepared = !call->choices.empty();
    bool begun = false;
    for (const Choice& choice : call->choices) {
      begun = begun || choice.told > 0;
      if (by_sequence_.contains(choice.sequence))
        rests.push_back(lengths.ExpectedRest(choice.told, most));
    }
    if (!prepared) rests.insert(rests.end(), call->open, lengths.ExpectedRest(0, most));
    if (!begun)
      prompts += prepared ? call->usage.prompt_tokens : tuner_.traffic().prompt_lengths().mean();
  }
  const size_t running = std::min(slots, rests.size());
  const auto step = tuner_.StepSeconds(static_cast<int>(std::max<size_t>(1, running)));
  if (!step) return std::nullopt;
  const std::span all(rests);
  const double steps =
      policy::StepsUntilFree(all.first(running), all.subspan(running), static_cast<int>(slots));
  return steps * *step + prompts * tuner_.PromptTokenSeconds();
}

Status LlmModel::FitContext(const GenerationRequest& request, std::vector<int32_t>* tokens) const {
  int context = 0;
  {
    const std::lock_guard lock(mutex_);
    context = loaded_.context;
  }
  const auto size = static_cast<int64_t>(tokens->size());
  const int64_t wanted = std::max<int64_t>(request.max_tokens, 1);
  if (size == 0) return InvalidArgument("the prompt has no tokens");
  if (size + wanted <= context) return Status::Ok();
  if (!request.truncate) {
    if (request.max_tokens > 0)
      return InvalidArgument(
          "the prompt has {} tokens and {} more are asked for, the model's context is {} tokens",
          size, request.max_tokens, context);
    return InvalidArgument("the prompt has {} tokens, the model's context is {} tokens", size,
                           context);
  }
  const int64_t kept = context - std::min<int64_t>(wanted, context / 2);
  tokens->erase(tokens->begin(), tokens->end() - std::min(kept, size));
  return Status::Ok();
}

}  // namespace evenkeel
