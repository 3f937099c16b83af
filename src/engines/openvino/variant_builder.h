// Compiles forms of a model for one batch size each, on a thread of low priority beside the one that serves.
//
// Contract: Start() begins one build; Take() gives what has become of it, once, without waiting. One build at a time. A form is run once on zeros before
//   it is given out, so that its first use pays for nothing. A build whose memory is more than `memory_limit` (all forms so far together) is
//   thrown away. Destroying the builder waits for the build under way.
// Units: bytes. Thread-safety: single-owner; the building thread touches nothing of the owner's.
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <openvino/runtime/core.hpp>
#include <optional>
#include <string>

#include "core/status.h"

namespace evenkeel {

class VariantBuilder {
 public:
  struct Built {
    int64_t rows = 0;
    Result<ov::CompiledModel> model;
  };

  VariantBuilder(ov::Core& core, std::string path, std::string device, ov::AnyMap properties,
                 int64_t memory_limit);

  // REQUIRES: idle().
  void Start(int64_t rows);
  bool idle() const { return !building_.valid(); }
  std::optional<Built> Take();
  // The form was dropped: its memory counts no more. REQUIRES: idle().
  void Dropped(int64_t rows) { memory_used_.erase(rows); }

 private:
  Result<ov::CompiledModel> Build(int64_t rows);

  ov::Core& core_;
  const std::string path_, device_;
  const ov::AnyMap properties_;
  const int64_t memory_limit_;
  std::map<int64_t, int64_t> memory_used_;  // by size; the building thread's, while it runs
  std::future<Built> building_;
};

}  // namespace evenkeel
