// Errors as values: a code, a message for the caller, and one table that maps a code to HTTP, gRPC and "may retry".
//
// Contract: a Status is cheap when ok (no allocation). Exceptions stop in the .cc that called the throwing library.
// Messages name the model, the tensor, what was expected and what came; they never carry tensor contents.
// Thread-safety: thread-compatible.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace evenkeel {

enum class Code : uint8_t {
  kOk = 0,
  kInvalidArgument,   // malformed or mismatched request, file, flag
  kTooLarge,          // over a size limit
  kUnauthenticated,   // no or wrong credential
  kPermissionDenied,  // credential lacks the scope
  kNotFound,          // unknown model, version, route
  kConflict,          // the model is in a state that forbids it
  kOverloaded,        // shed: queue or quota full
  kCancelled,         // the client went away
  kInternal,          // our fault, or the engine's
  kUnsupported,       // understood, not supported
  kUnavailable,       // no ready instance
  kDeadlineExceeded,  // the deadline passed before compute was spent
};
inline constexpr int kCodeCount = 13;

// How one code appears on each protocol.
struct CodeInfo {
  std::string_view name;  // snake_case, stable: used in logs and as a metric label
  int http;               // HTTP status
  int grpc;               // grpc::StatusCode as an integer
  bool may_retry;         // the same request may succeed later, and nothing was executed
};

// Never fails: every Code has a row.
const CodeInfo& InfoOf(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status Ok() { return {}; }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // "invalid_argument: input 'ids': ..."
  std::string ToString() const;
  // The same code, with "context: " put before the message. An ok status stays as it is.
  Status Annotate(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// printf-like construction: InvalidArgument("input '{}': expected {}, got {}", ...) lives in core/format.h.

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // REQUIRES: ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

#define EK_RETURN_IF_ERROR(expr)             \
  do {                                       \
    ::evenkeel::Status ek_status_ = (expr);  \
    if (!ek_status_.ok()) return ek_status_; \
  } while (false)

}  // namespace evenkeel
