// One HTTP request to a language model, from its prompts to its answer: whole, or as a stream of server-sent events.
//
// Contract: the exchange gets exactly one answer, whichever way the calls to the model end. It begins as a stream with the first prompt that
//   the model admits, so that whatever is refused before has a status of its own; an error after that is a piece of the stream, and its last
//   one. If one of several prompts fails, the others are cancelled. A client that leaves cancels all. A whole answer is bounded
//   (kMaxAnswerBytes), a stream by its connection (HttpLimits).
// Ownership: the exchange owns the call, and frees it on its loop's thread after the answer.
// Thread-safety: Start() and OnCancel() on the loop's thread; the model's callbacks on any.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/generation.h"
#include "frontends/answer_writer.h"
#include "net/http_message.h"

namespace evenkeel {

inline constexpr size_t kMaxAnswerBytes = size_t{64} << 20;
// A stream that says nothing for so long gets a comment.
inline constexpr Duration kPingEvery = std::chrono::seconds(15);

struct TextCallOptions {
  bool stream = false;
  Time deadline = kNever;
  int priority = 0;     // as GenerationCall's
  std::string headers;  // of the answer, beside its own
};

class TextCall final : public HttpWork {
 public:
  TextCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
           std::unique_ptr<AnswerWriter> writer, TextCallOptions options);
  ~TextCall() override;

  // Once, after the exchange owns the call. It may be gone when this returns.
  void Start(std::vector<GenerationRequest> prompts);
  void OnCancel() override;

 private:
  class Part;  // one prompt on its way through the model

  void OnPartStart();
  void OnPartDelta(Part& part, const GenerationDelta& delta);
  void OnPartFinish(int choice, FinishReason reason);
  void OnPartDone(const Status& status, const GenerationUsage& usage);
  bool Fail(ApiError error);  // false: something failed before
  bool failed();
  void CancelParts();
  void BeginStream();
  void PartIsOver();
  void Answer();

  HttpExchange& exchange_;
  const std::shared_ptr<LanguageModel> model_;
  const std::unique_ptr<AnswerWriter> writer_;  // guarded by mutex_ until the last part is over
  const TextCallOptions options_;
  std::vector<std::unique_ptr<Part>> parts_;  // not changed once the first has started
  // Parts that are not over, and one for Start(): who takes it to zero answers.
  std::atomic<size_t> open_{1};

  std::mutex mutex_;  // guards what follows
  bool streaming_ = false;
  ApiError failed_;
  std::vector<GeneratedChoice> choices_;
  size_t bytes_ = 0;  // in choices_
  GenerationUsage usage_;
};

}  // namespace evenkeel
