// A callback that is answered for certain: who is given one may drop it, and then it is answered with kUnavailable.
//
// Use for: answers that somebody waits for, handed to something that may be torn down meanwhile.
// Thread-safety: thread-compatible; the last copy's end answers, on whichever thread that is.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "core/status.h"

namespace evenkeel {

// Result: Status or Result<T>.
template <typename Result>
class AnswerOnce {
 public:
  explicit AnswerOnce(std::function<void(Result)> done)
      : held_(std::make_shared<Held>(std::move(done))) {}

  void operator()(Result result) const {
    if (held_->done) std::exchange(held_->done, nullptr)(std::move(result));
  }

 private:
  struct Held {
    explicit Held(std::function<void(Result)> to) : done(std::move(to)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      if (done) done(Status(Code::kUnavailable, "the server stops, or the store was given up"));
    }
    std::function<void(Result)> done;
  };
  std::shared_ptr<Held> held_;
};

}  // namespace evenkeel
