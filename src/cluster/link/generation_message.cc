#include "cluster/link/generation_message.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>

#include "cluster/link/call_terms.h"
#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

constexpr int kMostChoices = 128;

// Front ends add those of several answers up: more is no count of ours.
int ToldTokens(int32_t count) { return std::clamp(count, 0, 100'000'000); }

void WriteSampling(const Sampling& sampling, node::v1::Sampling* message) {
  message->set_temperature(sampling.temperature);
  message->set_top_p(sampling.top_p);
  message->set_top_k(sampling.top_k);
  message->set_min_p(sampling.min_p);
  message->set_frequency_penalty(sampling.frequency_penalty);
  message->set_presence_penalty(sampling.presence_penalty);
  message->set_repeat_penalty(sampling.repeat_penalty);
  if (sampling.seed) message->set_seed(*sampling.seed);
  for (const auto& [token, bias] : sampling.logit_bias) {
    message->add_bias_token(token);
    message->add_bias(bias);
  }
}

Status ReadSampling(const node::v1::Sampling& message, Sampling* sampling) {
  sampling->temperature = message.temperature();
  sampling->top_p = message.top_p();
  sampling->top_k = message.top_k();
  sampling->min_p = message.min_p();
  sampling->frequency_penalty = message.frequency_penalty();
  sampling->presence_penalty = message.presence_penalty();
  sampling->repeat_penalty = message.repeat_penalty();
  if (message.has_seed()) sampling->seed = message.seed();
  const auto finite = [](float value) { return std::isfinite(value); };
  const std::initializer_list<float> numbers = {sampling->temperature,
                                                sampling->top_p,
                                                sampling->min_p,
                                                sampling->frequency_penalty,
                                                sampling->presence_penalty,
                                                sampling->repeat_penalty};
  // The engine's process takes it for a broken message.
  if (!std::ranges::all_of(numbers, finite) || !std::ranges::all_of(message.bias(), finite) ||
      sampling->repeat_penalty <= 0)
    return InvalidArgument("sampling: a number that is none, or a repeat_penalty of {}",
                           sampling->repeat_penalty);
  if (message.bias_token_size() != message.bias_size())
    return InvalidArgument("logit_bias: {} tokens and {} values", message.bias_token_size(),
                           message.bias_size());
  for (int i = 0; i < message.bias_size(); ++i)
    sampling->logit_bias.emplace_back(message.bias_token(i), message.bias(i));
  return Status::Ok();
}

}  // namespace

void WriteGeneration(const GenerationCall& call, std::string_view model, Time now,
                     node::v1::GenerateRequest* message) {
  const GenerationRequest& request = call.request;
  message->set_model(std::string(model));
  message->set_chat(request.chat);
  message->set_prompt(request.prompt);
  message->mutable_tokens()->Add(request.tokens.begin(), request.tokens.end());
  WriteSampling(request.sampling, message->mutable_sampling());
  message->set_max_tokens(request.max_tokens);
  message->set_choices(request.choices);
  for (const std::string& text : request.stop) message->add_stop(text);
  message->set_json_schema(request.json_schema);
  message->set_grammar(request.grammar);
  message->set_top_logprobs(request.top_logprobs);
  message->set_ignore_eos(request.ignore_eos);
  message->set_truncate(request.truncate);
  for (const BegunChoice& begun : request.begun) {
    auto* one = message->add_begun();
    one->mutable_tokens()->Add(begun.tokens.begin(), begun.tokens.end());
    one->set_text(begun.text);
    one->set_ended(begun.ended);
  }
  message->set_tell_tokens(request.tell_tokens);
  WriteTerms(call, now, message);
}

Status ReadGeneration(const node::v1::GenerateRequest& message, Time now, GenerationCall* call) {
  GenerationRequest& request = call->request;
  request.chat = message.chat();
  request.prompt = message.prompt();
  request.tokens.assign(message.tokens().begin(), message.tokens().end());
  const int given = (request.chat.empty() ? 0 : 1) + (request.prompt.empty() ? 0 : 1) +
                    (request.tokens.empty() ? 0 : 1);
  if (given != 1) return InvalidArgument("expected one of chat, prompt and tokens, got {}", given);
  EK_RETURN_IF_ERROR(ReadSampling(message.sampling(), &request.sampling));
  request.max_tokens = message.max_tokens();
  request.choices = message.choices();
  if (request.max_tokens < 0 || request.choices < 1 || request.choices > kMostChoices)
    return InvalidArgument("expected no negative max_tokens and 1 to {} choices, got {} and {}",
                           kMostChoices, request.max_tokens, request.choices);
  request.stop.assign(message.stop().begin(), message.stop().end());
  request.json_schema = message.json_schema();
  request.grammar = message.grammar();
  request.top_logprobs = std::clamp(message.top_logprobs(), -1, 20);
  request.ignore_eos = message.ignore_eos();
  request.truncate = message.truncate();
  for (const auto& one : message.begun())
    request.begun.push_back({{one.tokens().begin(), one.tokens().end()}, one.text(), one.ended()});
  request.tell_tokens = message.tell_tokens();
  return ReadTerms(message, now, call);
}

void WriteDelta(const GenerationDelta& delta, node::v1::GenerateEvent* event) {
  auto* message = event->mutable_delta();
  message->set_choice(delta.choice);
  message->set_text(delta.text);
  message->set_reasoning(delta.reasoning);
  for (const ToolCallDelta& call : delta.tool_calls) {
    auto* one = message->add_tool_calls();
    one->set_index(call.index);
    one->set_id(call.id);
    one->set_name(call.name);
    one->set_arguments(call.arguments);
  }
  for (const TokenLogprob& token : delta.logprobs) {
    auto* one = message->add_logprobs();
    one->set_text(token.bytes);
    one->set_logprob(token.logprob);
    for (const auto& [text, logprob] : token.top) {
      auto* other = one->add_top();
      other->set_text(text);
      other->set_logprob(logprob);
    }
  }
  message->mutable_tokens()->Add(delta.tokens.begin(), delta.tokens.end());
  message->set_raw(delta.raw);
}

GenerationDelta ReadDelta(const node::v1::GenerateEvent& event) {
  const auto& message = event.delta();
  GenerationDelta delta;
  delta.choice = message.choice();
  delta.text = message.text();
  delta.reasoning = message.reasoning();
  for (const auto& one : message.tool_calls())
    delta.tool_calls.push_back({one.index(), one.id(), one.name(), one.arguments()});
  for (const auto& one : message.logprobs()) {
    TokenLogprob token;
    token.bytes = one.text();
    token.logprob = one.logprob();
    for (const auto& other : one.top()) token.top.emplace_back(other.text(), other.logprob());
    delta.logprobs.push_back(std::move(token));
  }
  delta.tokens.assign(message.tokens().begin(), message.tokens().end());
  delta.raw = message.raw();
  return delta;
}

void WriteDone(const Status& status, const GenerationUsage& usage, node::v1::GenerateEvent* event) {
  auto* done = event->mutable_done();
  WriteOutcome(status, done->mutable_outcome());
  done->set_prompt_tokens(usage.prompt_tokens);
  done->set_cached_tokens(usage.cached_tokens);
  done->set_completion_tokens(usage.completion_tokens);
  done->set_queue_ns(usage.queue.count());
  done->set_prompt_ns(usage.prompt.count());
  done->set_decode_ns(usage.decode.count());
}

Status ReadDone(const node::v1::GenerateEvent& event, GenerationUsage* usage) {
  const auto& done = event.done();
  usage->prompt_tokens = ToldTokens(done.prompt_tokens());
  usage->cached_tokens = ToldTokens(done.cached_tokens());
  usage->completion_tokens = ToldTokens(done.completion_tokens());
  usage->queue = ToldTime(done.queue_ns());
  usage->prompt = ToldTime(done.prompt_ns());
  usage->decode = ToldTime(done.decode_ns());
  return ReadOutcome(done.outcome());
}

Result<FinishReason> ReadReason(uint32_t reason) {
  if (reason <= static_cast<uint32_t>(FinishReason::kToolCalls))
    return static_cast<FinishReason>(reason);
  return Internal("another node ended an answer for the unknown reason {}", reason);
}

void WriteMove(const MoveOffer& offer, node::v1::GenerateEvent* event) {
  auto* move = event->mutable_move();
  move->set_answer(offer.answer);
  move->set_state_bytes(offer.state_bytes);
  move->set_tokens(offer.tokens);
}

MoveOffer ReadMove(const node::v1::GenerateEvent& event) {
  const auto& move = event.move();
  return {move.answer(), std::max<int64_t>(0, move.state_bytes()),
          std::max<int64_t>(0, move.tokens())};
}

void WriteLanguage(const LanguageModelInfo& info, node::v1::LanguageDescription* message) {
  message->set_created_s(info.created_s);
  message->set_context_tokens(info.context_tokens);
  message->set_vocabulary(info.vocabulary);
  message->set_chat(info.chat);
  message->set_embeddings(info.embeddings);
  message->set_architecture(info.architecture);
  message->set_generates(info.generates);
  message->set_ranks(info.ranks);
  message->set_vector_size(info.vector_size);
}

LanguageModelInfo ReadLanguage(std::string_view name,
                               const node::v1::LanguageDescription& message) {
  LanguageModelInfo info;
  info.name = name;
  info.created_s = message.created_s();
  info.context_tokens = message.context_tokens();
  info.vocabulary = message.vocabulary();
  info.chat = message.chat();
  info.embeddings = message.embeddings();
  info.architecture = message.architecture();
  info.generates = message.generates();
  info.ranks = message.ranks();
  info.vector_size = message.vector_size();
  return info;
}

}  // namespace evenkeel
