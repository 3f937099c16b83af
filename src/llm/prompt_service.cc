#include "llm/prompt_service.h"

#include <algorithm>
#include <utility>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr size_t kMostWaiting = 1024;

}  // namespace

PromptService::PromptService(LlmContext& context, const LlmOptions& options)
    : context_(context), options_(options), patience_(options.load_patience) {
  limit_ = context_.loop.MakeAlarm([this] {
    timed_out_ = true;
    if (process_ != nullptr)
      process_->Kill(
          fmt::format("a request took longer than {:.0f} s", Seconds(options_.prompt_limit)));
  });
  restart_ = context_.loop.MakeAlarm([this] { StartProcess(); });
  give_up_ = context_.loop.MakeAlarm([this] { LookWhetherHopeless("it takes too long"); });
}

PromptService::~PromptService() = default;

void PromptService::Start(std::function<void(Result<LlmLoaded>)> ready) {
  ready_ = std::move(ready);
  StartProcess();
}

void PromptService::StartProcess() {
  if (stopped_) return;
  EngineProcessOptions options;
  options.spec.executable = context_.libexec + "/evenkeel-prompt-llamacpp";
  options.spec.cpus = context_.worker_cpus;
  options.spec.log_name = fmt::format("{}#prompt", options_.name);
  options.spec.readable = {options_.folder};
  options.load.path = options_.path;
  options.load.context = options_.context;
  options.load.vocabulary_only = true;
  options.load.without_chat = without_chat_;
  // A template is run once when it is read: one that does not end must not keep the model from being served.
  if (without_chat_.empty()) options.load_timeout = options_.prompt_load_limit;
  EngineProcessEvents events;
  events.loaded = [this](LlmLoaded loaded) {
    up_ = true;
    answers_ = 0;
    patience_.OnLoaded(context_.clock.Now() - process_->started());
    give_up_->Set(kNever);
    hopeless_ = false;
    context_tokens_ = loaded.context;
    if (ready_ && !without_chat_.empty())
      LogWarning("model '{}': served without its chat template until it is loaded again: {}",
                 options_.name, without_chat_);
    if (ready_) std::exchange(ready_, nullptr)(std::move(loaded));
    SendWaiting();
  };
  events.failed = [this](const Status& status) {
    // One that takes too long is tried again without the template (OnEnded).
    const bool again = without_chat_.empty() && status.code() == Code::kUnavailable;
    if (ready_ && !again) std::exchange(ready_, nullptr)(status);
    process_->Kill(status.message());
  };
  events.frame = [this](uint32_t type, const std::string& payload) {
    return OnFrame(type, payload);
  };
  events.ended = [this](const std::string& how) { OnEnded(how); };
  auto process = EngineProcess::Start(std::move(options), context_.runtime, context_.loop,
                                      context_.clock, std::move(events));
  if (process.ok()) {
    process_ = std::move(*process);
    return;
  }
  LogError("model '{}': its prompt process does not start: {}", options_.name,
           process.status().message());
  if (ready_) return std::exchange(ready_, nullptr)(process.status());
  restart_->Set(context_.clock.Now() + policy_.OnEnd({}, 0));
  patience_.OnFailed();
  LookWhetherHopeless(process.status().message());
}

// Nobody is made to wait for what may never be: it is tried on, and what comes meanwhile is refused.
void PromptService::LookWhetherHopeless(const std::string& how) {
  if (up_ || stopped_) return;
  const bool now = patience_.Look(context_.clock.Now());
  give_up_->Set(patience_.due());
  if (!now) return;
  hopeless_ = true;
  why_none_ =
      fmt::format("model '{}': its prompt process does not load again: {}", options_.name, how);
  LogError("{}; what waits for it fails, and it is tried on", why_none_);
  auto waiting = std::exchange(asked_, {});
  for (Asked& asked : waiting) Fail(asked, Unavailable("{}", why_none_));
}

void PromptService::Stop() {
  stopped_ = true;
  up_ = false;
  WatchHead();
  restart_->Set(kNever);
  give_up_->Set(kNever);
  process_.reset();
  auto waiting = std::exchange(asked_, {});
  for (Asked& asked : waiting)
    Fail(asked, Unavailable("model '{}' is being unloaded", options_.name));
}

uint64_t PromptService::Prepare(const GenerationRequest& request, OnPrepared done) {
  const uint64_t id = next_id_++;
  return Ask(PromptFrame::kPrepare, id, EncodePrepare(id, request), std::move(done));
}

uint64_t PromptService::Parse(const std::string& parser, const std::string& text, bool partial,
                              OnParsed done) {
  const uint64_t id = next_id_++;
  return Ask(PromptFrame::kParse, id, EncodeParse(id, parser, text, partial), std::move(done));
}

uint64_t PromptService::Tokenise(const TextsToTokenise& texts, OnTokenised done) {
  const uint64_t id = next_id_++;
  return Ask(PromptFrame::kTexts, id, EncodeTexts(id, texts), std::move(done));
}

uint64_t PromptService::Ask(PromptFrame type, uint64_t id, std::string message, Done done) {
  Asked asked{id, type, std::move(message), std::move(done)};
  if (stopped_ || hopeless_ || asked_.size() >= kMostWaiting) {
    const Status status = stopped_    ? Unavailable("model '{}' is being unloaded", options_.name)
                          : hopeless_ ? Unavailable("{}", why_none_)
                                      : Overloaded("{} prompts wait to be prepared", asked_.size());
    context_.loop.Post([this, status, shared = std::make_shared<Asked>(std::move(asked))] {
      Fail(*shared, status);
    });
    return id;
  }
  asked_.push_back(std::move(asked));
  SendWaiting();
  return id;
}

void PromptService::Forget(uint64_t id) {
  const auto at = std::ranges::find(asked_, id, &Asked::id);
  if (at == asked_.end()) return;
  if (at->sent) {
    at->forgotten = true;  // its answer comes all the same
  } else {
    asked_.erase(at);
  }
}

void PromptService::Fail(Asked& asked, const Status& status) {
  if (asked.forgotten) return;
  std::visit([&](auto& done) { done(status); }, asked.done);
}

void PromptService::SendWaiting() {
  if (!up_) return;
  for (Asked& asked : asked_) {
    if (asked.sent) continue;
    const Status status = process_->Send(static_cast<uint32_t>(asked.type), asked.message);
    if (status.code() == Code::kOverloaded) break;  // goes when an answer has made room
    if (!status.ok()) {
      // Too large for the channel: answered in its turn would be as good as now.
      const uint64_t id = asked.id;
      const Status told =
          status.code() == Code::kTooLarge
              ? TooLarge(
                    "the prompt has {} bytes, more than can be taken; the model's context is "
                    "{} tokens ({})",
                    asked.message.size(), context_tokens_, status.message())
              : status;
      context_.loop.Post([this, id, status = told] {
        const auto at = std::ranges::find(asked_, id, &Asked::id);
        if (at == asked_.end() || at->sent) return;
        Asked failed = std::move(*at);
        asked_.erase(at);
        Fail(failed, status);
        SendWaiting();
      });
      break;
    }
    asked.sent = true;
  }
  WatchHead();
}

void PromptService::WatchHead() {
  const bool busy = up_ && !asked_.empty() && asked_.front().sent;
  const uint64_t head = busy ? asked_.front().id : 0;
  if (head == std::exchange(watched_, head)) return;
  limit_->Set(busy ? context_.clock.Now() + options_.prompt_limit : kNever);
}

void PromptService::AnswerHead(const Status& status) {
  Asked asked = std::move(asked_.front());
  asked_.pop_front();
  ++answers_;
  Fail(asked, status);
}

template <typename T>
Status PromptService::AnswerHeadWith(PromptFrame type, Result<T> answer) {
  if (!answer.ok()) return answer.status();
  if (answer->id != asked_.front().id || type != asked_.front().type)
    return Internal("an answer out of turn");
  Asked asked = std::move(asked_.front());
  asked_.pop_front();
  ++answers_;
  if (!asked.forgotten) std::get<std::function<void(Result<T>)>>(asked.done)(std::move(answer));
  return Status::Ok();
}

Status PromptService::OnFrame(uint32_t type, const std::string& payload) {
  if (asked_.empty() || !asked_.front().sent) return Internal("an answer that nobody asked for");
  switch (static_cast<PromptFrame>(type)) {
    case PromptFrame::kFailed: {
      auto failure = DecodePromptFailure(payload);
      if (!failure.ok()) return failure.status();
      if (failure->id != asked_.front().id) return Internal("an answer out of turn");
      AnswerHead(failure->status);
      break;
    }
    case PromptFrame::kPrepared:
      EK_RETURN_IF_ERROR(AnswerHeadWith(PromptFrame::kPrepare, DecodePrepared(payload)));
      break;
    case PromptFrame::kParsed:
      EK_RETURN_IF_ERROR(AnswerHeadWith(PromptFrame::kParse, DecodeParsed(payload)));
      break;
    case PromptFrame::kTokenised:
      EK_RETURN_IF_ERROR(AnswerHeadWith(PromptFrame::kTexts, DecodeTokenised(payload)));
      break;
    default: return Internal("a frame of type {}", type);
  }
  SendWaiting();
  return Status::Ok();
}

void PromptService::OnEnded(const std::string& how) {
  const bool was_up = std::exchange(up_, false);
  WatchHead();
  const Duration life = context_.clock.Now() - process_->started();
  context_.loop.Post([gone = std::shared_ptr<EngineProcess>(std::move(process_))] {});
  if (ready_) {
    if (!without_chat_.empty() || stopped_)
      return std::exchange(ready_, nullptr)(Unavailable("its prompt process ended: {}", how));
    without_chat_ = fmt::format("the process that read it ended: {}", how);
    return StartProcess();
  }
  LogWarning("model '{}': its prompt process ended: {}; it is started again", options_.name, how);
  ++restarts_;
  const Duration pause = policy_.OnEnd(life, answers_);
  // What it was at is to blame, at once where it took too long, else at the second death.
  const bool timed_out = std::exchange(timed_out_, false);
  const bool at_work = !asked_.empty() && asked_.front().sent;
  for (Asked& asked : asked_) asked.sent = false;
  restart_->Set(context_.clock.Now() + pause);
  if (was_up) {
    patience_.OnEnded(context_.clock.Now());
  } else {
    patience_.OnFailed();
  }
  LookWhetherHopeless(how);
  if (!at_work) return;
  Asked& head = asked_.front();
  ++head.deaths;
  if (head.forgotten || timed_out || head.deaths >= 2) {
    AnswerHead(
        InvalidArgument("the chat template, schema, grammar or text could not be worked out: the "
                        "process at it ended ({})",
                        how));
  }
}

}  // namespace evenkeel
