#include "llm/sequence_engine.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr Duration kRetry = std::chrono::milliseconds(5);  // of what found the channel full

}  // namespace

SequenceEngine::SequenceEngine(LlmContext& context, const LlmOptions& options, Owner& owner)
    : context_(context),
      options_(options),
      owner_(owner),
      states_(context.loop, context.clock,
              [this](LlmFrame type, const std::string& payload) {
                return process_->SendAside(static_cast<uint32_t>(type), payload);
              }),
      patience_(options.load_patience),
      slots_(options.slots),
      cells_(options.cells) {
  restart_ = context_.loop.MakeAlarm([this] { StartWorker(); });
  retry_ = context_.loop.MakeAlarm([this] { LetIn(); });
  give_up_ = context_.loop.MakeAlarm([this] { LookWhetherHopeless(); });
}

SequenceEngine::~SequenceEngine() = default;

void SequenceEngine::Note(std::function<void(View&)> change) {
  const std::lock_guard lock(mutex_);
  change(view_);
}

SequenceEngine::View SequenceEngine::Look() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

void SequenceEngine::Start(std::function<void(Result<LlmLoaded>)> ready) {
  ready_ = std::move(ready);
  StartWorker();
}

void SequenceEngine::StartWorker() {
  if (stopped_) return;
  EngineProcessOptions options;
  options.spec.executable = context_.libexec + "/evenkeel-worker-llamacpp";
  options.spec.cpus = context_.worker_cpus;
  options.spec.log_name = options_.name;
  options.spec.readable = {options_.folder};
  options.spec.shape = container_;
  options.spec.hard_cap = options_.hard_cores;
  options.load.path = options_.path;
  options.load.threads = options_.threads;
  options.load.waits = context_.node != nullptr;
  options.load.slots = slots_;
  options.load.cells = cells_;
  options.load.context = options_.context;
  options.load.inter_token = options_.stated_inter_token.value_or(Duration::zero());
  options.load.pooling = options_.pooling;
  EngineProcessEvents events;
  events.loaded = [this](LlmLoaded loaded) {
    up_ = true;
    ends_ = 0;
    vocabulary_ = loaded.vocabulary;
    context_tokens_ = loaded.context;
    patience_.OnLoaded(context_.clock.Now() - process_->started());
    give_up_->Set(kNever);
    row_size_ = loaded.pooling == Pooling::kRank ? 1 : static_cast<size_t>(loaded.vector_size);
    Note([pid = process_->pid()](View& view) {
      view.state = "ready";
      view.hopeless = false;
      view.pid = pid;  // a container's was not known at its start
    });
    states_.OnWorker(true);
    owner_.OnWorker(&loaded);
    if (ready_) std::exchange(ready_, nullptr)(std::move(loaded));
    LetIn();
  };
  events.failed = [this](const Status& status) {
    if (ready_) std::exchange(ready_, nullptr)(status);
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
    Note([pid = process_->pid()](View& view) {
      view.state = "starting";
      view.pid = pid;
    });
    return;
  }
  LogError("model '{}': its worker does not start: {}", options_.name, process.status().message());
  if (ready_) return std::exchange(ready_, nullptr)(process.status());
  restart_->Set(context_.clock.Now() + policy_.OnEnd({}, 0));
  Note([&](View& view) { view.last_end = process.status().message(); });
  patience_.OnFailed();
  LookWhetherHopeless();
}

// What waits is not made to wait for what may never be.
void SequenceEngine::LookWhetherHopeless() {
  if (up_ || stopped_) return;
  const bool now = patience_.Look(context_.clock.Now());
  give_up_->Set(patience_.due());
  if (!now) return;
  why_none_ =
      fmt::format("model '{}': its worker does not load again: {}", options_.name, Look().last_end);
  LogError("{}; what waits for it fails, and it is tried on", why_none_);
  Note([](View& view) { view.hopeless = true; });
  for (const uint64_t id : std::exchange(unsent_, {})) FailLater(id, Unavailable("{}", why_none_));
}

void SequenceEngine::Stop() {
  if (std::exchange(stopped_, true)) return;
  up_ = false;
  restart_->Set(kNever);
  retry_->Set(kNever);
  give_up_->Set(kNever);
  process_.reset();
  Note([](View& view) {
    view.state = "ended";
    view.pid = 0;
  });
  auto sequences = std::exchange(sequences_, {});
  states_.OnWorker(false);
  owner_.OnWorker(nullptr);
  for (const auto& [id, sequence] : sequences)
    Fail(id, sequence.work, Unavailable("model '{}' is being unloaded", options_.name));
}

void SequenceEngine::Fail(uint64_t id, const Work& work, const Status& status) {
  if (std::holds_alternative<TextStart>(work)) {
    TextEnd end;
    end.id = id;
    end.status = status;
    return owner_.OnVector(std::move(end));
  }
  SequenceEnd end;
  end.id = id;
  end.reason = SequenceEnd::Reason::kFailed;
  end.status = status;
  owner_.OnEnd(std::move(end));
}

void SequenceEngine::Add(SequenceStart start) {
  const uint64_t id = start.id;
  AddWork(id, std::move(start));
}

void SequenceEngine::Add(TextStart start) {
  const uint64_t id = start.id;
  AddWork(id, std::move(start));
}

void SequenceEngine::AddWork(uint64_t id, Work work) {
  const bool added = sequences_.try_emplace(id, Sequence{std::move(work)}).second;
  EK_CHECK(added);
  if (stopped_) return FailLater(id, Unavailable("model '{}' is being unloaded", options_.name));
  if (patience_.hopeless()) return FailLater(id, Unavailable("{}", why_none_));
  unsent_.push_back(id);
  Noticed();
  LetIn();
}

// The owner has cores for what runs before it runs.
void SequenceEngine::Noticed() {
  if (stopped_ || busy() == told_busy_) return;
  told_busy_ = busy();
  owner_.OnBusy(told_busy_);
}

void SequenceEngine::Steer(const LlmSteer& steer) {
  if (!up_) return;
  unsent_steers_.push_back(steer);
  if (!SendSteers()) retry_->Set(context_.clock.Now() + kRetry);
}

bool SequenceEngine::SendSteers() {
  while (!unsent_steers_.empty()) {
    const Status status =
        process_->Send(static_cast<uint32_t>(LlmFrame::kSteer), Encode(unsent_steers_.front()));
    if (!status.ok()) return false;
    unsent_steers_.pop_front();
  }
  return true;
}

// It is written down once, beside all else that the worker holds.
Status SequenceEngine::RoomForState(int64_t bytes) const {
  if (bytes > static_cast<int64_t>(kMostStateBytes))
    return TooLarge("a state of {}; at most {} are sent", FormatBytes(bytes),
                    FormatBytes(kMostStateBytes));
  const auto used = MemoryBytes();
  if (container_ && used && *used + bytes > container_->memory_bytes)
    return TooLarge("a state of {}, and the worker's container of {} holds {}", FormatBytes(bytes),
                    FormatBytes(container_->memory_bytes), FormatBytes(*used));
  return Status::Ok();
}

void SequenceEngine::SaveState(uint64_t id, int64_t bytes, StateTransfers::Done done) {
  const auto at = sequences_.find(id);
  Status may = RoomForState(bytes);
  if (at == sequences_.end() || !at->second.sent)
    may = NotFound("sequence {} is not in the worker", id);
  if (may.ok()) return states_.Save(id, std::move(done));
  context_.loop.Post([done = std::move(done), may] { done(may); });
}

void SequenceEngine::LoadState(SequenceState state, StateTransfers::Done done) {
  const Status may = RoomForState(static_cast<int64_t>(state.bytes.size()));
  if (may.ok()) return states_.Load(std::move(state), std::move(done));
  context_.loop.Post([done = std::move(done), may] { done(may); });
}

void SequenceEngine::SetShape(int slots, int64_t cells) {
  slots_ = slots;
  cells_ = cells;
}

Status SequenceEngine::SetContainer(WorkerShape shape) {
  shape.memory_bytes = std::max(shape.memory_bytes, least_memory_);
  if (container_ == shape) return Status::Ok();
  if (up_) EK_RETURN_IF_ERROR(process_->Reshape(shape));
  container_ = shape;
  return Status::Ok();
}

std::optional<int64_t> SequenceEngine::MemoryBytes() const {
  if (process_ == nullptr || !up_) return std::nullopt;
  return process_->Usage().memory_bytes;
}

void SequenceEngine::FailLater(uint64_t id, const Status& status) {
  context_.loop.Post([this, id, status] {
    auto gone = sequences_.extract(id);
    if (gone.empty()) return;
    Fail(id, gone.mapped().work, status);
    Noticed();
  });
}

void SequenceEngine::Remove(uint64_t id) {
  const auto at = sequences_.find(id);
  if (at == sequences_.end()) return;
  const bool sent = at->second.sent;
  sequences_.erase(at);
  if (probe_ == id) probe_ = 0;
  if (!sent) {
    std::erase(unsent_, id);
  } else if (up_) {
    unsent_removals_.push_back(id);
  }
  LetIn();
  Noticed();
}

void SequenceEngine::SendTo(uint64_t id, Sequence& sequence) {
  const bool text = std::holds_alternative<TextStart>(sequence.work);
  const auto type = static_cast<uint32_t>(text ? LlmFrame::kText : LlmFrame::kStart);
  const Status status = process_->Send(
      type, std::visit([](const auto& work) { return Encode(work); }, sequence.work));
  if (status.code() == Code::kOverloaded) return retry_->Set(context_.clock.Now() + kRetry);
  std::erase(unsent_, id);
  if (!status.ok()) return FailLater(id, status);
  sequence.sent = true;
}

void SequenceEngine::LetIn() {
  if (!up_) return;
  if (!SendSteers()) return retry_->Set(context_.clock.Now() + kRetry);
  while (!unsent_removals_.empty()) {
    const Status status = process_->Send(static_cast<uint32_t>(LlmFrame::kCancel),
                                         EncodeCancel(unsent_removals_.back()));
    if (!status.ok()) return retry_->Set(context_.clock.Now() + kRetry);
    unsent_removals_.pop_back();
  }
  while (!unsent_.empty() && probe_ == 0) {
    const uint64_t id = unsent_.front();
    const auto at = sequences_.find(id);
    EK_CHECK(at != sequences_.end());
    SendTo(id, at->second);
    if (!unsent_.empty() && unsent_.front() == id) return;  // the channel is full
    if (careful_ && at->second.sent) probe_ = id;           // not what the channel refused for good
  }
  if (unsent_.empty() && probe_ == 0) careful_ = false;
}

void SequenceEngine::Heard(uint64_t id) {
  if (probe_ != id) return;
  probe_ = 0;
  LetIn();
}

Status SequenceEngine::OnTokenFrame(const std::string& payload) {
  auto token = DecodeToken(payload);
  if (!token.ok()) return token.status();
  if (token->token >= vocabulary_)
    return Internal("token {} is not in the vocabulary of {}", token->token, vocabulary_);
  const auto at = sequences_.find(token->id);
  if (at == sequences_.end()) return Status::Ok();  // removed meanwhile
  auto* start = std::get_if<SequenceStart>(&at->second.work);
  if (start == nullptr) return Internal("a token of a text");
  at->second.heard = true;
  const int most = start->max_tokens > 0 ? start->max_tokens : context_tokens_;
  if (start->answered.size() >= static_cast<size_t>(most))
    return Internal("a token beyond the {} that an answer may have", most);
  start->answered.push_back(token->token);
  if (!uncounted_) Note([](View& view) { ++view.answer_tokens; });
  Heard(token->id);
  owner_.OnToken(std::move(*token));
  return Status::Ok();
}

Status SequenceEngine::OnVectorFrame(const std::string& payload) {
  auto end = DecodeVector(payload);
  if (!end.ok()) return end.status();
  if (end->status.ok() && end->values.size() != row_size_)
    return Internal("a row of {} numbers, expected {}", end->values.size(), row_size_);
  ++ends_;
  const auto at = sequences_.find(end->id);
  if (at == sequences_.end()) return Status::Ok();  // removed meanwhile
  if (!std::holds_alternative<TextStart>(at->second.work))
    return Internal("a vector of a sequence");
  sequences_.erase(at);
  Heard(end->id);
  owner_.OnVector(std::move(*end));
  Noticed();
  return Status::Ok();
}

void SequenceEngine::NoteTexts(const TextReport& report) {
  Note([&](View& view) {
    view.texts = report;
    view.text_steps += report.took > Duration::zero() ? 1 : 0;
    view.text_tokens += static_cast<uint64_t>(report.tokens);
    view.text_busy += report.took;
  });
}

Status SequenceEngine::OnFrame(uint32_t type, const std::string& payload) {
  switch (static_cast<LlmFrame>(type)) {
    case LlmFrame::kToken: return OnTokenFrame(payload);
    case LlmFrame::kEnd: {
      auto end = DecodeEnd(payload);
      if (!end.ok()) return end.status();
      ++ends_;
      const auto at = sequences_.find(end->id);
      if (at == sequences_.end()) return Status::Ok();
      if (!std::holds_alternative<SequenceStart>(at->second.work))
        return Internal("an answer's end of a text");
      sequences_.erase(at);
      Heard(end->id);
      owner_.OnEnd(std::move(*end));
      Noticed();
      return Status::Ok();
    }
    case LlmFrame::kStep: {
      auto step = DecodeStep(payload);
      if (!step.ok()) return step.status();
      Note([&](View& view) {
        view.step = *step;
        if (uncounted_) return;
        view.steps += step->took > Duration::zero() ? 1 : 0;
        view.prompt_tokens += static_cast<uint64_t>(step->prompt_tokens);
        view.busy += step->took;
      });
      if (step->took > Duration::zero()) owner_.OnStep(*step);
      return Status::Ok();
    }
    case LlmFrame::kSteered: {
      const auto steered = DecodeSteered(payload);
      if (!steered.ok()) return steered.status();
      SetShape(steered->slots, steered->cells);
      owner_.OnSteered(*steered);
      return Status::Ok();
    }
    case LlmFrame::kState: return states_.OnPiece(payload);
    case LlmFrame::kStateEnd: return states_.OnEnd(payload);
    case LlmFrame::kVector: return OnVectorFrame(payload);
    case LlmFrame::kTextStep: {
      const auto report = DecodeTextStep(payload);
      if (!report.ok()) return report.status();
      NoteTexts(*report);
      return Status::Ok();
    }
    default: return Internal("a frame of type {}", type);
  }
}

void SequenceEngine::OnEnded(const std::string& how) {
  const bool was_up = std::exchange(up_, false);
  unsent_removals_.clear();
  unsent_steers_.clear();
  retry_->Set(kNever);
  states_.OnWorker(false);
  const Duration life = context_.clock.Now() - process_->started();
  context_.loop.Post([gone = std::shared_ptr<EngineProcess>(std::move(process_))] {});
  if (ready_) return std::exchange(ready_, nullptr)(Unavailable("its worker ended: {}", how));
  LogWarning("model '{}': its worker ended: {}; {} sequences go on in the next", options_.name, how,
             sequences_.size());
  Note([&](View& view) {
    view.state = "waiting to restart";
    view.pid = 0;
    view.last_end = how;
    ++view.restarts;
    view.step = {};
    view.texts = {};
  });
  restart_->Set(context_.clock.Now() + policy_.OnEnd(life, ends_));
  if (container_ && how.find("out of memory") != std::string::npos) {
    LogWarning("model '{}': its worker needed more than {}: the next has no limit", options_.name,
               FormatBytes(container_->memory_bytes));
    least_memory_ = 2 * container_->memory_bytes;
    container_.reset();
  }
  // Those that were sent go first in the next worker, in their order.
  std::vector<uint64_t> again;
  for (auto& [id, sequence] : sequences_) {
    if (!std::exchange(sequence.sent, false)) continue;
    sequence.heard = false;
    ++sequence.deaths;
    if (id == probe_ || sequence.deaths >= kMostDeaths) {
      FailLater(id, Internal("the engine's process ended while it computed this answer ({})", how));
    } else {
      again.push_back(id);
    }
  }
  std::ranges::sort(again);
  unsent_.insert(unsent_.begin(), again.begin(), again.end());
  careful_ = true;
  probe_ = 0;
  if (was_up) {
    patience_.OnEnded(context_.clock.Now());
  } else {
    patience_.OnFailed();
  }
  LookWhetherHopeless();
  owner_.OnWorker(nullptr);
}

}  // namespace evenkeel
