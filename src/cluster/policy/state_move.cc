#include "cluster/policy/state_move.h"

#include <algorithm>
#include <limits>

namespace evenkeel {

StateMoveChoice ChooseStateMove(const StateMove& move) {
  StateMoveChoice choice;
  choice.state_s = std::numeric_limits<double>::infinity();
  // Written so that a number that is none counts as not known.
  if (move.bytes > 0 && move.bytes_per_s > 0) {
    choice.state_s =
        std::max(0.0, move.round_trip_s) + static_cast<double>(move.bytes) / move.bytes_per_s;
  }
  if (move.tokens > 0 && move.prompt_token_s > 0)
    choice.tokens_s = static_cast<double>(move.tokens) * move.prompt_token_s;
  choice.send_state = choice.state_s < choice.tokens_s;
  return choice;
}

}  // namespace evenkeel
