// A LanguageModel for front-end tests: answers as a test says, inside the call, later, or when told to, piece by piece.
//
// By default each choice of Generate() is the word "hello", the word " world" and a stop, all inside the call; Embed() gives a row a text,
// its length and its place, or, where there is a query, a hundredth of its length as its score. Hold(true) keeps the calls for the test, which drives them: held(i)->OnStart(...), then Finish(). A held call
// that is cancelled ends with kCancelled inside Cancel(), unless KeepCancelled(true).
// Thread-safety: thread-safe, but for the scripts, which a test sets before it calls.
#pragma once

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/format.h"
#include "core/generation.h"

namespace evenkeel {

inline GenerationDelta TextDelta(int choice, std::string text) {
  GenerationDelta delta;
  delta.choice = choice;
  delta.text = std::move(text);
  return delta;
}

inline GenerationUsage FakeUsage(int prompt, int completion) {
  GenerationUsage usage;
  usage.prompt_tokens = prompt;
  usage.cached_tokens = prompt / 2;
  usage.completion_tokens = completion;
  usage.queue = std::chrono::milliseconds(1);
  usage.prompt = std::chrono::milliseconds(20);
  usage.decode = std::chrono::milliseconds(300);
  return usage;
}

class FakeLanguageModel final : public LanguageModel {
 public:
  explicit FakeLanguageModel(LanguageModelInfo info) : info_(std::move(info)) {}

  // What Generate() does instead of the default.
  std::function<void(GenerationCall*)> script;

  LanguageModelInfo Info() const override { return info_; }

  void Generate(GenerationCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(call->request);
      last_deadline_ = call->deadline;
      last_priority_ = call->priority;
      if (hold_) {
        held_.push_back(call);
        return;
      }
    }
    if (script) return script(call);
    AnswerHello(call);
  }

  void Cancel(GenerationCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      ++cancels_;
      if (keep_cancelled_ || std::erase(held_, call) == 0) return;
    }
    call->Done({Code::kCancelled, "cancelled"}, FakeUsage(1, 0));
  }

  void Embed(EmbeddingCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      if (hold_) {
        held_embedding_ = call;
        return;
      }
    }
    std::vector<std::vector<float>> rows;
    const Status error = error_;
    for (size_t i = 0; error.ok() && i < std::max(call->texts.size(), call->tokens.size()); ++i) {
      const size_t size = call->texts.empty() ? call->tokens[i].size() : call->texts[i].size();
      rows.push_back({static_cast<float>(size), static_cast<float>(i)});
      if (call->query) rows.back() = {static_cast<float>(size) / 100};
    }
    call->Done(error, rows, 7);
  }

  void CancelEmbedding(EmbeddingCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      ++cancels_;
      if (held_embedding_ != call) return;
      held_embedding_ = nullptr;
    }
    call->Done({Code::kCancelled, "cancelled"}, {}, 0);
  }

  static void AnswerHello(GenerationCall* call) {
    call->OnStart(5);
    for (int choice = 0; choice < call->request.choices; ++choice) {
      call->OnDelta(TextDelta(choice, "hello"));
      call->OnDelta(TextDelta(choice, " world"));
      call->OnFinish(choice, FinishReason::kStop);
    }
    call->Done({}, FakeUsage(5, 2 * call->request.choices));
  }

  void Hold(bool hold) {
    const std::lock_guard lock(mutex_);
    hold_ = hold;
  }
  void KeepCancelled(bool keep) {
    const std::lock_guard lock(mutex_);
    keep_cancelled_ = keep;
  }
  void FailEmbeddings(Status error) { error_ = std::move(error); }
  bool holds_embedding() const {
    const std::lock_guard lock(mutex_);
    return held_embedding_ != nullptr;
  }
  size_t held_count() const {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  GenerationCall* held(size_t i) const {
    const std::lock_guard lock(mutex_);
    return held_.at(i);
  }
  // Takes the call from the held ones and ends it.
  void Finish(GenerationCall* call, const Status& status, const GenerationUsage& usage) {
    {
      const std::lock_guard lock(mutex_);
      std::erase(held_, call);
    }
    call->Done(status, usage);
  }
  int cancels() const {
    const std::lock_guard lock(mutex_);
    return cancels_;
  }
  std::vector<GenerationRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  Time last_deadline() const {
    const std::lock_guard lock(mutex_);
    return last_deadline_;
  }

  int last_priority() const {
    const std::lock_guard lock(mutex_);
    return last_priority_;
  }

 private:
  const LanguageModelInfo info_;
  Status error_;
  mutable std::mutex mutex_;
  std::vector<GenerationCall*> held_;  // guarded by mutex_, as all below
  EmbeddingCall* held_embedding_ = nullptr;
  std::vector<GenerationRequest> requests_;
  Time last_deadline_ = kNever;
  int last_priority_ = 0;
  bool hold_ = false, keep_cancelled_ = false;
  int cancels_ = 0;
};

}  // namespace evenkeel
