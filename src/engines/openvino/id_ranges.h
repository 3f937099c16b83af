// Finds which integer inputs of a model are ids, and of how many rows the tables are that they index.
//
// Why: the engine answers an id out of range with zeros, and cuts 64-bit ids to 32 bits; the daemon must refuse such a row instead.
// How: from each integer Parameter forward through operators that move integers without changing them, or add constants, to the
//   index input of a gathering operator. An id that as a whole reaches several tables must fit the smallest. Where the ids were split up on the way (Slice, Split,
//   Gather of columns, another constant added to each column) the graph does not say which id goes where: then the largest table counts, so that no good id is refused.
//   An input of 64 (or unsigned 32) bits that reaches no table gets the range of 32 bits where the model computes with it: the CPU plugin computes
//   with 32 and wraps. One that is only turned into floating point keeps all its bits, and gets none.
// Thread-safety: thread-safe.
#pragma once

#include <optional>
#include <vector>

#include "core/tensor.h"

namespace ov {
class Model;
}  // namespace ov

namespace evenkeel {

// One entry a Parameter, in the model's order. nullopt: any value will do.
std::vector<std::optional<IdRange>> FindIdRanges(const ov::Model& model);

}  // namespace evenkeel
