#include "cluster/live/told_answer.h"

#include <algorithm>
#include <utility>

namespace evenkeel {
namespace {

// Of a piece that begins `again` bytes into the answer, what lies beyond `told`; both move on.
std::string Beyond(const std::string& piece, size_t* again, size_t* told) {
  size_t known = *told > *again ? std::min(piece.size(), *told - *again) : 0;
  // Only where it tells other words than the one before did, which it should not: no half character is told even then.
  while (known > 0 && known < piece.size() &&
         (static_cast<unsigned char>(piece[known]) & 0xc0) == 0x80)
    ++known;
  *again += piece.size();
  *told = std::max(*told, *again);
  return piece.substr(known);
}

}  // namespace

std::optional<GenerationDelta> ToldAnswer::OnDelta(const GenerationDelta& delta) {
  Choice& choice = choices_[static_cast<size_t>(delta.choice)];
  choice.begun.tokens.insert(choice.begun.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  choice.begun.text += delta.raw;
  GenerationDelta fresh;
  fresh.choice = delta.choice;
  fresh.text = Beyond(delta.text, &choice.text_again, &choice.text);
  fresh.reasoning = Beyond(delta.reasoning, &choice.reasoning_again, &choice.reasoning);
  for (const ToolCallDelta& call : delta.tool_calls) {
    ToldCall& told = choice.calls[call.index];
    ToolCallDelta rest;
    rest.index = call.index;
    if (!told.named) {
      rest.id = call.id;
      rest.name = call.name;
    }
    rest.arguments = Beyond(call.arguments, &told.again, &told.arguments);
    const bool first = !told.named;
    told.named = told.named || !call.id.empty() || !call.name.empty();
    if (first || !rest.arguments.empty()) fresh.tool_calls.push_back(std::move(rest));
  }
  fresh.logprobs = delta.logprobs;
  if (fresh.text.empty() && fresh.reasoning.empty() && fresh.tool_calls.empty() &&
      fresh.logprobs.empty())
    return std::nullopt;
  return fresh;
}

std::vector<BegunChoice> ToldAnswer::Resume() {
  for (Choice& choice : choices_) {
    choice.text_again = choice.reasoning_again = 0;
    for (auto& [index, call] : choice.calls) call.again = 0;
    choice.ended_before = choice.begun.ended;
  }
  return Snapshot();
}

std::vector<BegunChoice> ToldAnswer::Snapshot() const {
  std::vector<BegunChoice> begun;
  for (const Choice& choice : choices_) begun.push_back(choice.begun);
  return begun;
}

bool ToldAnswer::begun() const { return tokens() > 0; }

bool ToldAnswer::all_ended() const {
  return std::ranges::all_of(choices_, [](const Choice& one) { return one.begun.ended; });
}

int64_t ToldAnswer::tokens() const {
  int64_t sum = 0;
  for (const Choice& choice : choices_) sum += static_cast<int64_t>(choice.begun.tokens.size());
  return sum;
}

int64_t ToldAnswer::ended_tokens() const {
  int64_t sum = 0;
  for (const Choice& choice : choices_) {
    if (choice.ended_before) sum += static_cast<int64_t>(choice.begun.tokens.size());
  }
  return sum;
}

}  // namespace evenkeel
