// Reads HTTP/1.1 responses from a byte stream, as little of each as a load generator needs.
//
// Contract: Feed() consumes bytes of at most one response and says whether it is complete; what is
//   left belongs to the next one. Understands Content-Length, chunked bodies, bodies that end with
//   the connection (Ended()), and answers without a body (1xx are skipped, 204, 304). A head
//   larger than 64 KiB or a malformed one is kMalformed; after that only Reset() helps. The result
//   does not depend on how the bytes are cut. Not for: HEAD, upgrades, trailers' values,
//   multi-line headers.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace evenkeel::loadgen {

class HttpResponseReader {
 public:
  enum class Progress : uint8_t { kMore, kDone, kMalformed };

  // Keep the body of every answer (else only of errors, the first 64 KiB).
  explicit HttpResponseReader(bool keep_body = false) : keep_body_(keep_body) {}

  // Bodies of 2xx answers go to `piece` as they come instead of body().
  void HandOn(std::function<void(std::string_view)> piece) { piece_ = std::move(piece); }

  // Reads from the front of `bytes` and removes what it read.
  Progress Feed(std::string_view* bytes);
  // The connection ended: kDone if that completes the response, kMore if none had begun, else
  // kMalformed.
  Progress Ended();
  // Forgets the finished response. Call before the next one.
  void Reset();

  // Of a finished response.
  int status() const { return status_; }
  const std::string& body() const { return body_; }
  bool close() const { return close_; }               // the connection must not be used again
  int64_t compute_ns() const { return compute_ns_; }  // Server-Timing's compute;dur, -1 when absent
  int64_t json_length() const {
    return json_length_;
  }  // Inference-Header-Content-Length, -1 when absent
  bool started() const { return state_ != State::kHead || !head_.empty(); }

 private:
  enum class State : uint8_t {
    kHead,
    kLength,
    kUntilClose,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailer,
    kDone,
    kBroken
  };

  Progress Broken();
  Progress OnHead(std::string_view head);
  bool OnHeader(std::string_view name, std::string_view value);
  Progress OnChunkLine(std::string_view line);
  void Keep(std::string_view data);
  bool TakeLine(std::string_view* bytes, std::string_view* line);

  bool keep_body_;
  std::function<void(std::string_view)> piece_;  // may be empty
  State state_ = State::kHead;
  std::string head_;  // bytes of a head or line that came in pieces
  std::string line_;  // backing of the line TakeLine() returned from pieces
  int status_ = 0;
  bool close_ = false;
  bool chunked_ = false;
  int64_t length_ = -1;  // Content-Length, -1 when absent
  uint64_t left_ = 0;    // bytes of the body or chunk still to come
  int64_t compute_ns_ = -1;
  int64_t json_length_ = -1;
  std::string body_;
};

// The duration of `metric` in a Server-Timing value ("queue;dur=0.1, compute;dur=2.5"), in
// nanoseconds; -1 when absent.
int64_t ServerTimingNs(std::string_view value, std::string_view metric);

}  // namespace evenkeel::loadgen
