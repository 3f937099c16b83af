// What a call of any kind carries beside its content: deadline, priority, whether it may be moved. Internal to the messages.
//
// Deadlines travel as the time that is left, since nodes' clocks differ; 0: there is none, and more than a day counts as a day.
// Errors: kInvalidArgument. Thread-safety: pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/clock.h"
#include "core/format.h"

namespace evenkeel {

inline constexpr int64_t kLongestNs = int64_t{86'400} * 1'000'000'000;  // a day

// A time that another node told: sums of such ones are made, so none is negative or out of reason.
inline Duration ToldTime(int64_t ns) { return Duration(std::clamp<int64_t>(ns, 0, kLongestNs)); }

// `Call`: InferCall, GenerationCall or EmbeddingCall, which is never moved; `Message`: its request.
template <typename Call, typename Message>
void WriteTerms(const Call& call, Time now, Message* message) {
  if (call.deadline != kNever)
    message->set_left_ns(std::max<int64_t>(1, Duration(call.deadline - now).count()));
  message->set_priority(call.priority);
  if constexpr (requires { call.movable; }) message->set_movable(call.movable);
}

template <typename Call, typename Message>
Status ReadTerms(const Message& message, Time now, Call* call) {
  if (message.left_ns() < 0) return InvalidArgument("a deadline of {} ns", message.left_ns());
  if (message.priority() < 0 || message.priority() > 16)
    return InvalidArgument("priority: expected 0 to 16, got {}", message.priority());
  call->arrived = now;
  call->deadline = message.left_ns() == 0
                       ? kNever
                       : now + Duration(std::min<int64_t>(message.left_ns(), kLongestNs));
  call->priority = message.priority();
  if constexpr (requires { call->movable; }) call->movable = message.movable();
  return Status::Ok();
}

}  // namespace evenkeel
