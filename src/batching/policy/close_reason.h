// Why a batch was closed. Exported as the label of evenkeel_batches_total.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <string_view>

namespace evenkeel {

enum class CloseReason : uint8_t {
  kFull,      // as many rows as a batch may have
  kWorth,     // waiting longer would cost more than it saves
  kDeadline,  // the delay rule or a deadline ended the wait
  kIdle,      // an instance was free
  kShape,     // an instance was free, and the rest of what waits cannot share the batch
  kDrain,     // the model is being unloaded
};
inline constexpr int kCloseReasonCount = 6;
std::string_view NameOf(CloseReason reason);

}  // namespace evenkeel
