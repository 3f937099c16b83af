// A language model's prompt process and what waits for it: messages and texts into tokens, answers into their parts.
//
// What it is given comes from strangers, and may make it loop, abort or run out of memory. Then it is ended and started again, the request
//   that it was at is answered kInvalidArgument, and the others are asked again. A death without time-out is blamed on a
//   request only when it happens twice. Where it does not load again (policy/load_patience.h) all that waits is answered kUnavailable, and so is what comes,
//   until it has loaded.
// Contract: each Prepare(), Parse() and Tokenise() calls back exactly once, on the loop, never inside the call, unless Forget() came first; what is refused calls back whether
//   it was forgotten or not. After Stop() all that waits is answered kUnavailable.
// Thread-safety: single-owner (the loop), but for hopeless().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "containers/restart_policy.h"
#include "llm/engine_process.h"
#include "llm/llm_context.h"
#include "llm/policy/load_patience.h"
#include "llm/wire/prompt_messages.h"

namespace evenkeel {

class PromptService {
 public:
  using OnPrepared = std::function<void(Result<PreparedPrompt>)>;
  using OnParsed = std::function<void(Result<ParsedAnswer>)>;
  using OnTokenised = std::function<void(Result<TokenisedTexts>)>;

  PromptService(LlmContext& context, const LlmOptions& options);
  ~PromptService();

  // `ready` is called once: the first process loaded the vocabulary, or why it does not.
  void Start(std::function<void(Result<LlmLoaded>)> ready);
  void Stop();

  // Ids for Forget().
  uint64_t Prepare(const GenerationRequest& request, OnPrepared done);
  uint64_t Parse(const std::string& parser, const std::string& text, bool partial, OnParsed done);
  uint64_t Tokenise(const TextsToTokenise& texts, OnTokenised done);
  void Forget(uint64_t id);

  pid_t pid() const { return process_ != nullptr ? process_->pid() : 0; }
  uint64_t restarts() const { return restarts_; }
  bool hopeless() const { return hopeless_.load(); }  // what is asked is refused; any thread
  size_t waiting() const { return asked_.size(); }

 private:
  using Done = std::variant<OnPrepared, OnParsed, OnTokenised>;
  struct Asked {
    uint64_t id = 0;
    PromptFrame type = PromptFrame::kPrepare;
    std::string message;
    Done done;
    bool sent = false;
    bool forgotten = false;
    int deaths = 0;
  };

  uint64_t Ask(PromptFrame type, uint64_t id, std::string message, Done done);
  void StartProcess();
  void SendWaiting();
  // Each request has `prompt_limit` from when it is at the head: what comes behind it gives it no more.
  void WatchHead();
  Status OnFrame(uint32_t type, const std::string& payload);
  void OnEnded(const std::string& how);
  void LookWhetherHopeless(const std::string& how);
  // Answers the request at the head: that it failed, or with what its process said, an error of which breaks the channel.
  void AnswerHead(const Status& status);
  template <typename T>
  Status AnswerHeadWith(PromptFrame asked, Result<T> answer);
  void Fail(Asked& asked, const Status& status);

  LlmContext& context_;
  const LlmOptions& options_;
  std::unique_ptr<EngineProcess> process_;
  std::function<void(Result<LlmLoaded>)> ready_;
  std::deque<Asked> asked_;  // in the order in which they are answered
  std::unique_ptr<Alarm> limit_, restart_, give_up_;
  RestartPolicy policy_;
  uint64_t next_id_ = 1;
  uint64_t watched_ = 0;      // the request that `limit_` is for; 0: none
  std::string without_chat_;  // why its processes do not read the chat template; empty: they do
  policy::LoadPatience patience_;
  std::string why_none_;  // while it is hopeless
  std::atomic<bool> hopeless_ = false;
  int context_tokens_ = 0;
  uint64_t answers_ = 0;  // of the current process
  uint64_t restarts_ = 0;
  bool up_ = false;
  bool timed_out_ = false;
  bool stopped_ = false;
};

}  // namespace evenkeel
