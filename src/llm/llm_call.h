// What a language model keeps of a call that is not done.
//
// Not for use outside llm_model.cc, llm_model_states.cc and llm_admission.cc. Thread-safety: the loop's.
#pragma once

#include <vector>

#include "llm/llm_model.h"

namespace evenkeel {

struct LlmModel::Call {
  uint64_t id = 0;
  GenerationCall* call = nullptr;
  uint64_t prepare = 0;  // of the prompt service, while it is at it
  std::vector<Choice> choices;
  size_t open = 0;  // choices that have not ended
  GenerationUsage usage;
  Time begun{};
  Time asked_to_move{};
  uint64_t offered = 0;  // what others call its state by (MoveOffer::answer); 0: not offered

  int64_t told() const {
    int64_t sum = 0;
    for (const Choice& choice : choices) sum += choice.told;
    return sum;
  }
};

}  // namespace evenkeel
