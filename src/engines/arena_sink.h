// Places a run's outputs one behind the other in a slot's output arena.
//
// Contract: as OutputSink. Replacing the output placed last gives its room back; replacing an earlier one does not.
// Thread-safety: single-owner.
#pragma once

#include <span>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "engines/engine.h"

namespace evenkeel {

class ArenaSink final : public OutputSink {
 public:
  // `arena` must start at a multiple of 64.
  ArenaSink(std::span<std::byte> arena, size_t output_count);

  std::byte* Allocate(int index, DataType dtype, const Shape& shape, size_t bytes) override;

  // All outputs, ascending. Error: kInternal when one was never placed.
  Status Collect(std::vector<TensorView>* views) const;
  // True once Allocate() has refused.
  bool overflowed() const { return overflowed_; }

 private:
  struct Placed {
    bool present = false;
    TensorView view;
  };
  std::span<std::byte> arena_;
  std::vector<Placed> outputs_;
  size_t used_ = 0;
  size_t last_start_ = 0;  // of the output placed last
  int last_index_ = -1;
  bool overflowed_ = false;
};

}  // namespace evenkeel
