#include "frontends/text_call.h"

#include <algorithm>

#include "core/format.h"

namespace evenkeel {
namespace {

std::string ServerTiming(const GenerationUsage& usage) {
  const auto ms = [](Duration d) { return Seconds(d) * 1e3; };
  return fmt::format("Server-Timing: queue;dur={:.3f}, prompt;dur={:.3f}, decode;dur={:.3f}\r\n",
                     ms(usage.queue), ms(usage.prompt), ms(usage.decode));
}

}  // namespace

class TextCall::Part final : public GenerationCall {
 public:
  Part(TextCall* owner, int first_choice) : owner_(owner), first_choice_(first_choice) {}

  void OnStart(int) override { owner_->OnPartStart(); }
  void OnDelta(const GenerationDelta& delta) override { owner_->OnPartDelta(*this, delta); }
  void OnFinish(int choice, FinishReason reason) override {
    owner_->OnPartFinish(first_choice_ + choice, reason);
  }
  void Done(const Status& status, const GenerationUsage& usage) override {
    over = true;
    owner_->OnPartDone(status, usage);  // may free this
  }

  int first_choice() const { return first_choice_; }
  std::atomic<bool> begun{false}, over{false};  // atomic: whoever cancels the parts looks

 private:
  TextCall* const owner_;
  const int first_choice_;
};

TextCall::TextCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                   std::unique_ptr<AnswerWriter> writer, TextCallOptions options)
    : exchange_(exchange),
      model_(std::move(model)),
      writer_(std::move(writer)),
      options_(std::move(options)) {}

TextCall::~TextCall() = default;

void TextCall::Start(std::vector<GenerationRequest> prompts) {
  int choices = 0;
  for (GenerationRequest& prompt : prompts) {
    auto part = std::make_unique<Part>(this, choices);
    choices += prompt.choices;
    part->request = std::move(prompt);
    part->arrived = exchange_.received();
    part->deadline = options_.deadline;
    part->priority = options_.priority;
    parts_.push_back(std::move(part));
  }
  choices_.resize(static_cast<size_t>(choices));
  open_ += parts_.size();
  for (const auto& part : parts_) {
    if (failed()) {
      part->over = true;
      PartIsOver();
      continue;
    }
    part->begun = true;
    model_->Generate(part.get());
    // Another part may have failed on its thread before this one could be cancelled.
    if (parts_.size() > 1 && failed()) CancelParts();
  }
  PartIsOver();
}

void TextCall::OnCancel() {
  Fail({Cancelled("the client left"), "", ""});
  CancelParts();
}

void TextCall::CancelParts() {
  for (const auto& part : parts_) {
    if (part->begun && !part->over) model_->Cancel(part.get());
  }
}

bool TextCall::Fail(ApiError error) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok()) return false;
  failed_ = std::move(error);
  return true;
}

bool TextCall::failed() {
  const std::lock_guard lock(mutex_);
  return !failed_.ok();
}

// REQUIRES: mutex_ is held.
void TextCall::BeginStream() {
  if (std::exchange(streaming_, true)) return;
  HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  // Neither caches nor proxies may hold pieces back.
  head.headers = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTrailer: Server-Timing\r\n" +
                 options_.headers;
  exchange_.StartStream(std::move(head), {": ping\n\n", kPingEvery});
}

void TextCall::OnPartStart() {
  if (!options_.stream) return;
  const std::lock_guard lock(mutex_);
  if (failed_.ok()) BeginStream();
}

void TextCall::OnPartDelta(Part& part, const GenerationDelta& delta) {
  const int choice = part.first_choice() + delta.choice;
  bool too_large = false;
  {
    const std::lock_guard lock(mutex_);
    if (!failed_.ok() || choice < 0 || static_cast<size_t>(choice) >= choices_.size()) return;
    if (options_.stream) {
      BeginStream();
      const std::string piece = writer_->Piece(choice, delta);
      if (!piece.empty()) exchange_.Send(piece);
      return;
    }
    GeneratedChoice& whole = choices_[static_cast<size_t>(choice)];
    const size_t before = whole.bytes;
    whole.Add(delta);
    bytes_ += whole.bytes - before;
    too_large = bytes_ > kMaxAnswerBytes;
  }
  if (too_large && Fail({InvalidArgument("the answer is larger than {} bytes: ask for a stream, or "
                                         "for fewer tokens, choices or log probabilities",
                                         kMaxAnswerBytes),
                         "", ""}))
    CancelParts();
}

void TextCall::OnPartFinish(int choice, FinishReason reason) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok() || choice < 0 || static_cast<size_t>(choice) >= choices_.size()) return;
  choices_[static_cast<size_t>(choice)].reason = reason;
  if (!options_.stream) return;
  BeginStream();
  exchange_.Send(writer_->Finish(choice, reason));
}

void TextCall::OnPartDone(const Status& status, const GenerationUsage& usage) {
  {
    const std::lock_guard lock(mutex_);
    usage_.prompt_tokens += usage.prompt_tokens;
    usage_.cached_tokens += usage.cached_tokens;
    usage_.completion_tokens += usage.completion_tokens;
    usage_.queue = std::max(usage_.queue, usage.queue);
    usage_.prompt = std::max(usage_.prompt, usage.prompt);
    usage_.decode = std::max(usage_.decode, usage.decode);
  }
  if (!status.ok() && Fail(ModelError(status))) CancelParts();
  PartIsOver();
}

void TextCall::PartIsOver() {
  if (open_.fetch_sub(1, std::memory_order_acq_rel) == 1) Answer();
}

// Nothing else runs any more, but for OnCancel() up to the answer's last call.
void TextCall::Answer() {
  ApiError failed;
  std::string last, timing;
  HttpResponse whole;
  bool stream = false;
  {
    const std::lock_guard lock(mutex_);
    failed = failed_;
    if (failed.ok() && options_.stream) BeginStream();
    stream = streaming_;
    if (stream) {
      last = failed.ok() ? writer_->End(usage_) : writer_->ErrorPiece(failed);
    } else if (failed.ok()) {
      whole.body = writer_->Whole(choices_, usage_);
    } else {
      whole = writer_->Refusal(failed);
    }
    timing = ServerTiming(usage_);
    if (!stream) whole.headers.append(timing).append(options_.headers);
  }
  // What comes after these may find this object gone.
  if (!stream) return exchange_.Respond(std::move(whole));
  if (!last.empty()) exchange_.Send(last);
  exchange_.EndStream(std::move(timing));
}

}  // namespace evenkeel
