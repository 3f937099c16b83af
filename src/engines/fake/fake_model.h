// What an `x.fake` file says (see fake_engine.h for the format).
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

enum class FakeFunction : uint8_t { kEcho, kRowSum, kBatchRows, kCount };

struct FakeOutput {
  FakeFunction function = FakeFunction::kEcho;
  size_t input = 0;  // index into the inputs
};

struct FakeModel {
  Signature signature;
  std::vector<FakeOutput> outputs;  // beside signature.outputs
  Duration delay_fixed{}, delay_per_row{}, slow_load{};
  bool delay_busy = false;
  bool delay_on_cpu_only = false;
  std::optional<int64_t> throw_on, error_on, abort_on, hang_on, grow_on, runaway_on;
  int64_t grow_mib = 256;
  std::string fail_load;
};

// Error: kInvalidArgument, naming the key.
Result<FakeModel> ReadFakeModel(const std::string& path);

}  // namespace evenkeel
