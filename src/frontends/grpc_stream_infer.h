// ModelStreamInfer: many requests on one stream, answered as they complete.
//
// Contract: at most kMaxStreamRequests requests and kMaxStreamBytes of requests and answers are held by a stream; past that it reads no
//   more until answers have gone out. A request that fails is answered with error_message and its id, and the stream goes on. When the
//   client closes its side, everything read is still answered; when it goes away, everything is cancelled.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "access/caller_access.h"

namespace evenkeel {

class ByteStream;
class StreamHandler;

inline constexpr size_t kMaxStreamRequests = 256;
inline constexpr size_t kMaxStreamBytes = size_t{128} << 20;

// Something open that ends by itself only when its client wants it to.
class Drainable {
 public:
  virtual ~Drainable() = default;
  // Takes no new work, answers what it has, and ends. Does not block.
  virtual void Drain() = 0;
};

// The open streams of a server, so that Drain() reaches them.
class OpenStreams {
 public:
  // A stream that is added after Drain() is drained at once.
  void Add(const std::shared_ptr<Drainable>& stream);
  void Drain();
  bool draining() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<Drainable>> streams_;  // guarded by mutex_, as the next
  size_t sweep_at_ = 64;  // size at which ended streams are dropped from the list
  bool draining_ = false;
};

// `access`: of whoever opened the stream; asked again for each request.
StreamHandler* OpenModelStreamInfer(ByteStream& stream, CallerAccess access);

}  // namespace evenkeel
