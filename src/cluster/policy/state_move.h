// Whether a sequence that moves takes along what was computed of it, or is computed anew from its tokens (B8).
//
// The state is sent where that takes less than computing what it saves: round trip + bytes / the link's bandwidth < tokens x a prompt token's time where it
//   goes. While either is on its way the answer goes on where it is, so that what matters is how soon the other node is through, and whose work it is:
//   a state keeps the link busy, tokens the other node's cores.
// Contract: what was not measured does not speak for the state. Deterministic. Units: seconds, bytes, tokens.
// Thread-safety: pure. Source: B7, B8 (migration cost).
#pragma once

#include <cstdint>

namespace evenkeel {

struct StateMove {
  int64_t bytes = 0;   // of the state
  int64_t tokens = 0;  // that it saves computing
  double round_trip_s = 0;
  double bytes_per_s = 0;     // of the link, measured; 0: not known
  double prompt_token_s = 0;  // of one token of a prompt where it goes, measured; 0: not known
};

struct StateMoveChoice {
  bool send_state = false;
  double state_s = 0;   // infinite: not known
  double tokens_s = 0;  // 0: not known
};

StateMoveChoice ChooseStateMove(const StateMove& move);

}  // namespace evenkeel
