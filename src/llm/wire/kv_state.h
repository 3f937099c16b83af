// A sequence's part of llama.cpp's cache as its llama_state_seq_get_data() writes it, looked over before the engine reads it.
//
// Use for: states that came from elsewhere, and one's own before it is sent (a cache that this does not know is not sent). Not for: what the keys
//   and values mean; a state that was made for other tokens passes.
// Contract: Ok says that every size fits what is there, to the last byte; that there is one cell a token, at the positions 0, 1, ... in any order; and
//   that every number is finite: all sequences share one cache, and what is masked must not be NaN times zero. Layers and types are compared
//   with the model's own by the engine, which reads no more than it is given.
// Errors: kInvalidArgument, with the place. Blocks for as long as it takes to look at each number.
// Layout: magic, sequence id, streams (1), cells; a cell: position, number of ids (1), id; whether values lie transposed, layers; a layer's keys: type, bytes of
//   a row, rows; a layer's values likewise, or transposed: type, bytes of a number, numbers of a row, columns. Thread-safety: pure.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

Status CheckKvState(std::string_view bytes, size_t tokens);

}  // namespace evenkeel
