// Whether a GGUF file's table of tensors holds: each known, whole, in the file, and by itself.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/status.h"
#include "repository/gguf_reader.h"

namespace evenkeel {

struct GgufWeights {
  uint64_t parameters = 0;     // numbers in all tensors
  uint64_t bytes = 0;          // of all tensors
  std::string_view main_type;  // that most bytes are in
};

// Ok when there are tensors, no two have one name, each has a known type, rows of whole blocks and a size that does not
// overflow, and lies at a multiple of `alignment` within the file, over no other. Only the table is looked at.
// REQUIRES: alignment is a power of two. Errors: kInvalidArgument, kUnsupported (type), "tensor 'NAME' (...): ...".
Result<GgufWeights> CheckGgufTensors(const GgufHeader& header, uint64_t alignment,
                                     uint64_t file_bytes);

// Ok when tensors "blk.N.*" are of blocks below `blocks`, and token_embd.weight has a row of `embedding` numbers (0: of any
// length) for each of `vocabulary` tokens.
Status CheckGgufTensorNames(const GgufHeader& header, uint64_t blocks, uint64_t embedding,
                            uint64_t vocabulary);

}  // namespace evenkeel
