#include "engines/llamacpp/answer.h"

#include <llama.h>
#include <sampling.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>
#include <stdexcept>

#include "core/format.h"

namespace evenkeel {
namespace {

bool HasGrammar(const SequenceStart& start) {
  return start.grammar.kind != AnswerGrammar::Kind::kNone && !start.grammar.gbnf.empty();
}

common_params_sampling ParamsOf(const SequenceStart& start, const LlamaModel& model) {
  const Sampling& s = start.sampling;
  common_params_sampling params;
  params.seed = s.seed.value_or(0);
  if (params.seed == LLAMA_DEFAULT_SEED) params.seed = 0;  // the engine takes it for "any"
  params.no_perf = true;
  params.temp = s.temperature;
  params.top_k = s.top_k;
  params.top_p = s.top_p;
  params.min_p = s.min_p;
  params.penalty_repeat = s.repeat_penalty;
  params.penalty_freq = s.frequency_penalty;
  params.penalty_present = s.presence_penalty;
  params.samplers = {COMMON_SAMPLER_TYPE_PENALTIES, COMMON_SAMPLER_TYPE_TOP_K,
                     COMMON_SAMPLER_TYPE_TOP_P, COMMON_SAMPLER_TYPE_MIN_P,
                     COMMON_SAMPLER_TYPE_TEMPERATURE};
  for (const auto& [token, bias] : s.logit_bias) params.logit_bias.push_back({token, bias});
  if (start.ignore_eos) {
    for (int32_t token = 0; token < model.vocabulary(); ++token) {
      if (model.is_end(token)) params.logit_bias.push_back({token, -INFINITY});
    }
  }
  const AnswerGrammar& grammar = start.grammar;
  if (HasGrammar(start)) {
    const auto type = grammar.kind == AnswerGrammar::Kind::kUser ? COMMON_GRAMMAR_TYPE_USER
                      : grammar.kind == AnswerGrammar::Kind::kFormat
                          ? COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT
                          : COMMON_GRAMMAR_TYPE_TOOL_CALLS;
    params.grammar = common_grammar(type, grammar.gbnf);
    params.grammar_lazy = grammar.lazy;
    for (const auto& trigger : grammar.triggers) {
      params.grammar_triggers.push_back(
          {static_cast<common_grammar_trigger_type>(trigger.kind), trigger.text, trigger.token});
    }
    params.preserved_tokens.insert(grammar.preserved.begin(), grammar.preserved.end());
    params.generation_prompt = grammar.begun;
  }
  return params;
}

bool AlwaysLikeliest(const SequenceStart& start) {
  const Sampling& s = start.sampling;
  return s.temperature <= 0 && s.logit_bias.empty() && s.frequency_penalty == 0 &&
         s.presence_penalty == 0 && s.repeat_penalty == 1 && !HasGrammar(start);
}

}  // namespace

Answer::Answer(const LlamaModel& model, const SequenceStart& start)
    : model_(model),
      top_logprobs_(start.top_logprobs),
      ignore_ends_(start.ignore_eos),
      preserved_(start.grammar.preserved),
      redraws_(HasGrammar(start)),
      stop_(start.stop) {}

Answer::~Answer() {
  if (sampler_ != nullptr) common_sampler_free(sampler_);
}

Result<std::unique_ptr<Answer>> Answer::Create(const LlamaModel& model,
                                               const SequenceStart& start) {
  const auto is_token = [&](int32_t token) { return token >= 0 && token < model.vocabulary(); };
  for (const auto& [token, bias] : start.sampling.logit_bias) {
    if (!is_token(token))
      return InvalidArgument("logit_bias: token {} is not in the vocabulary of {}", token,
                             model.vocabulary());
  }
  for (const auto& trigger : start.grammar.triggers) {
    if (trigger.kind == COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN && !is_token(trigger.token))
      return InvalidArgument("a grammar's trigger is no token");
  }
  if (!std::ranges::all_of(start.grammar.preserved, is_token))
    return InvalidArgument("a token that is to be kept is not in the vocabulary");
  std::unique_ptr<Answer> answer(new Answer(model, start));
  if (!AlwaysLikeliest(start)) EK_RETURN_IF_ERROR(answer->MakeSampler(start));
  return answer;
}

Status Answer::MakeSampler(const SequenceStart& start) {
  try {
    common_params_sampling params = ParamsOf(start, model_);
    sampler_ = common_sampler_init(model_.model(), params);
  } catch (const std::exception& e) {
    return InvalidArgument("{}", e.what());
  }
  return sampler_ != nullptr ? Status::Ok() : InvalidArgument("the grammar does not compile");
}

int32_t Answer::Likeliest(const float* logits) const {
  int32_t best = -1;
  for (int32_t token = 0; token < model_.vocabulary(); ++token) {
    if (best >= 0 && !(logits[token] > logits[best])) continue;
    if (ignore_ends_ && model_.is_end(token)) continue;
    best = token;
  }
  return best;
}

TokenLogprob Answer::LogprobOf(int32_t token, const float* logits) const {
  const auto count = static_cast<size_t>(model_.vocabulary());
  const float most = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - most));
  const auto logprob = [&](int32_t of) {
    return static_cast<float>(static_cast<double>(logits[of] - most) - std::log(sum));
  };
  TokenLogprob out{model_.Piece(token, true), logprob(token), {}};
  if (top_logprobs_ > 0) {
    std::vector<int32_t> ids(count);
    std::iota(ids.begin(), ids.end(), 0);
    const auto top = ids.begin() + std::min<ptrdiff_t>(top_logprobs_, std::ssize(ids));
    std::partial_sort(ids.begin(), top, ids.end(),
                      [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (auto id = ids.begin(); id != top; ++id)
      out.top.emplace_back(model_.Piece(*id, true), logprob(*id));
  }
  return out;
}

bool Answer::IsText(int32_t token) const {
  return std::ranges::find(preserved_, token) != preserved_.end();
}

std::string Answer::Tell(int32_t token) {
  return stop_.Feed(tail_.Feed(model_.Piece(token, IsText(token))));
}

// A token takes one random number, and a second one where the grammar refused the first, which nobody learns of. With a grammar each token
// takes two: the generator is put back to where it was, and goes on by as many.
int32_t Answer::Draw(int row) {
  if (!redraws_) return common_sampler_sample(sampler_, model_.context(), row);
  llama_sampler* chain = common_sampler_get(sampler_);
  const int32_t last = llama_sampler_chain_n(chain) - 1;
  std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)> before(
      llama_sampler_clone(llama_sampler_chain_get(chain, last)), &llama_sampler_free);
  const int32_t token = common_sampler_sample(sampler_, model_.context(), row);
  llama_sampler_free(llama_sampler_chain_remove(chain, last));
  llama_sampler_chain_add(chain, before.release());
  TakeNumbers();
  return token;
}

// Those of one token. What draws is the last of the chain, and takes a number even where there is nothing to choose from.
void Answer::TakeNumbers() {
  llama_sampler* chain = common_sampler_get(sampler_);
  llama_sampler* draws = llama_sampler_chain_get(chain, llama_sampler_chain_n(chain) - 1);
  for (int i = 0; i < (redraws_ ? 2 : 1); ++i) {
    llama_token_data token{0, 0, 0};
    llama_token_data_array only{&token, 1, -1, false};
    llama_sampler_apply(draws, &only);
  }
}

Result<Answer::Drawn> Answer::Next(int row) {
  Drawn drawn;
  try {
    const float* logits = llama_get_logits_ith(model_.context(), row);
    if (logits == nullptr) return Internal("the engine computed nothing for this sequence");
    if (sampler_ == nullptr) {
      drawn.token = Likeliest(logits);
      if (drawn.token < 0) return Internal("no token can follow");
    } else {
      drawn.token = Draw(row);
      common_sampler_accept(sampler_, drawn.token, true);
    }
    if (top_logprobs_ >= 0) drawn.logprob = LogprobOf(drawn.token, logits);
  } catch (const std::length_error& e) {
    return InvalidArgument("{}",
                           e.what());  // of what its grammar may take (tools/patch_llamacpp.py)
  } catch (const std::exception& e) {
    return Internal("drawing a token: {}", e.what());
  }
  drawn.ends = model_.is_end(drawn.token) && !ignore_ends_;
  if (!drawn.ends) {
    drawn.text = Tell(drawn.token);
    drawn.ends = stop_.stopped();
  } else {
    drawn.text = Rest();
  }
  return drawn;
}

void Answer::Replay(int32_t token) {
  if (sampler_ != nullptr) {
    TakeNumbers();
    try {
      common_sampler_accept(sampler_, token, true);
    } catch (const std::exception&) {
      // The grammar no longer follows; what comes next will say so.
    }
  }
  static_cast<void>(Tell(token));
}

std::string Answer::Rest() {
  std::string text = stop_.Feed(tail_.End());
  return stop_.stopped() ? text : text + stop_.End();
}

}  // namespace evenkeel
