#include "engines/llamacpp/step_loop.h"

#include <llama.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "engines/llamacpp/core_time.h"
#include "engines/llamacpp/saved_state.h"
#include "llm/wire/kv_state.h"

namespace evenkeel {
namespace {

// Answers up to this length have all their cells from the start; longer ones grow by it.
constexpr int kBookedAhead = 128;

}  // namespace

struct StepLoop::Sequence {
  SequenceStart start;
  std::unique_ptr<Answer> answer;
  std::vector<int32_t> tokens;  // prompt and answer; the last may not be computed yet
  int most = 0;                 // tokens of the answer
  int drawn = 0;                // of them, those told before included
  int slot = -1;                // running; else it waits
  int computed = 0;             // tokens that the slot holds
  int cached = 0;               // of the prompt, not computed here
  bool answering = false;       // its prompt is through
  Time arrived{}, admitted{}, first{}, last{};

  int left() const { return static_cast<int>(tokens.size()) - computed; }
  double PromptDue(double token_cost) const {
    return policy::DueOf(Seconds(arrived.time_since_epoch()),
                         static_cast<int>(start.prompt.size()) - cached, token_cost);
  }
};

struct StepLoop::Batch {
  explicit Batch(int tokens) : batch(llama_batch_init(tokens, 0, 1)) {}
  ~Batch() { llama_batch_free(batch); }
  void Add(int32_t token, int position, int slot, bool output) {
    const auto i = static_cast<size_t>(batch.n_tokens++);
    batch.token[i] = token;
    batch.pos[i] = position;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = slot;
    batch.logits[i] = static_cast<int8_t>(output);
  }
  llama_batch batch;
};

StepLoop::StepLoop(LlamaModel& model, Duration inter_token, const Clock& clock, StepSink& sink)
    : model_(model),
      clock_(clock),
      sink_(sink),
      table_(model.slots(), model.cells(), model.shares_beginnings(),
             [&model](int slot) {
               llama_memory_seq_rm(llama_get_memory(model.context()), slot, -1, -1);
             }),
      budget_(inter_token > Duration::zero() ? inter_token : std::chrono::milliseconds(50),
              inter_token > Duration::zero()),
      permitted_(model.threads()),
      batch_(std::make_unique<Batch>(model.batch())) {}

StepLoop::~StepLoop() = default;

void StepLoop::Start(SequenceStart start) {
  auto sequence = std::make_unique<Sequence>();
  Sequence& s = *sequence;
  s.start = std::move(start);
  s.arrived = clock_.Now();
  const auto place = std::ranges::find_if(
      sequences_, [&](const auto& other) { return other->start.priority > s.start.priority; });
  sequences_.insert(place, std::move(sequence));
  if (!AreTokens(s.start.prompt) || !AreTokens(s.start.answered)) {
    return Finish(s, SequenceEnd::Reason::kFailed, "",
                  InvalidArgument("a token of the prompt is not in the vocabulary of {}",
                                  model_.vocabulary()));
  }
  const int room =
      std::min(model_.context_tokens(), model_.cells()) - static_cast<int>(s.start.prompt.size());
  if (room <= 0) {
    return Finish(s, SequenceEnd::Reason::kFailed, "",
                  InvalidArgument("the prompt has {} tokens, the context {}", s.start.prompt.size(),
                                  model_.context_tokens()));
  }
  s.most = s.start.max_tokens > 0 ? std::min(s.start.max_tokens, room) : room;
  auto answer = Answer::Create(model_, s.start);
  if (!answer.ok()) return Finish(s, SequenceEnd::Reason::kFailed, "", answer.status());
  s.answer = std::move(*answer);
  s.tokens = s.start.prompt;
  for (const int32_t token : s.start.answered) {
    s.answer->Replay(token);
    s.tokens.push_back(token);
    ++s.drawn;
  }
  if (s.drawn >= s.most) Finish(s, SequenceEnd::Reason::kLength, s.answer->Rest());
}

bool StepLoop::AreTokens(const std::vector<int32_t>& tokens) const {
  return std::ranges::all_of(tokens, [&](int32_t t) { return t >= 0 && t < model_.vocabulary(); });
}

Result<SequenceState> StepLoop::SaveState(uint64_t id) const {
  const auto found =
      std::ranges::find_if(sequences_, [&](const auto& s) { return s->start.id == id; });
  if (found == sequences_.end() || (*found)->slot < 0 || !(*found)->answering ||
      (*found)->computed < 1)
    return NotFound("sequence {} has nothing computed now that could be sent", id);
  const Sequence& s = **found;
  auto bytes = SaveSlot(model_, s.slot, static_cast<size_t>(s.computed));
  if (!bytes.ok()) return bytes.status();
  SequenceState state;
  state.kind = model_.StateKind();
  state.tokens.assign(s.tokens.begin(), s.tokens.begin() + s.computed);
  state.bytes = std::move(*bytes);
  return state;
}

Status StepLoop::LoadState(const SequenceState& state) {
  if (state.kind != model_.StateKind() || state.kind.empty())
    return Conflict("a state of '{}', and this model's are of '{}'", state.kind,
                    model_.StateKind());
  const size_t room = static_cast<size_t>(std::min(model_.context_tokens(), model_.cells()));
  if (state.tokens.empty() || state.tokens.size() >= room)
    return InvalidArgument("a state of {} tokens, and the context has {}", state.tokens.size(),
                           room);
  if (!AreTokens(state.tokens))
    return InvalidArgument("a token of a state is not in the vocabulary of {}",
                           model_.vocabulary());
  // Before anything that is kept gives way to it.
  EK_RETURN_IF_ERROR(CheckKvState(state.bytes, state.tokens.size()));
  const auto place = table_.Acquire(state.tokens, static_cast<int>(state.tokens.size()));
  if (!place) return Overloaded("no slot with {} cells is free", state.tokens.size());
  // What it shares with others is in it once more: its slot holds nothing else.
  const Status loaded = LoadSlot(model_, place->slot, state.bytes, state.tokens.size());
  if (!loaded.ok()) {
    table_.Drop(place->slot);
    return loaded;
  }
  table_.Computed(place->slot, std::span(state.tokens).subspan(static_cast<size_t>(place->reused)));
  table_.Keep(place->slot);
  if (sequences_.empty()) Report(0, 0, 0, {});
  return loaded;
}

void StepLoop::Cancel(uint64_t id) {
  const auto found =
      std::ranges::find_if(sequences_, [&](const auto& s) { return s->start.id == id; });
  if (found == sequences_.end()) return;
  if ((*found)->slot >= 0) table_.Keep((*found)->slot);
  sequences_.erase(found);
  if (sequences_.empty()) Report(0, 0, 0, {});  // no step follows that would say so
}

void StepLoop::Steer(const LlmSteer& steer) {
  if (steer.threads > 0) permitted_ = model_.threads();  // they were set
  most_running_ = steer.running;
  budget_.Seed(steer.answers, steer.prompt_token);
  budget_.SetShare(steer.prompt_share_permille / 1e3);
}

int StepLoop::Length(const Sequence& s) const {
  return static_cast<int>(s.start.prompt.size()) + s.most;
}

bool StepLoop::LeaderIsBehind(const Sequence& s) const {
  if (s.start.leader == 0 || !model_.shares_beginnings()) return false;
  return std::ranges::any_of(sequences_, [&](const auto& other) {
    return other->start.id == s.start.leader && !other->answering;
  });
}

bool StepLoop::TryAdmit(Sequence& s) {
  const int book = std::min(Length(s), static_cast<int>(s.tokens.size()) + kBookedAhead);
  const auto place = table_.Acquire(s.tokens, book);
  if (!place) return false;
  llama_memory_t memory = llama_get_memory(model_.context());
  if (place->copy_from >= 0) {
    llama_memory_seq_rm(memory, place->slot, -1, -1);
    if (place->reused > 0)
      llama_memory_seq_cp(memory, place->copy_from, place->slot, 0, place->reused);
  } else {
    llama_memory_seq_rm(memory, place->slot, place->reused, -1);
  }
  s.slot = place->slot;
  s.computed = place->reused;
  if (s.admitted == Time{}) {
    s.admitted = clock_.Now();
    s.cached = std::min(place->reused, static_cast<int>(s.start.prompt.size()));
  }
  return true;
}

// In order; the first that does not fit keeps those behind it waiting, so that a large one gets its turn.
void StepLoop::Admit() {
  for (const auto& s : sequences_) {
    if (s->slot >= 0 || LeaderIsBehind(*s)) continue;
    if (most_running_ > 0 && table_.running() >= most_running_) return;
    if (!TryAdmit(*s)) return;
  }
}

void StepLoop::PutOff(Sequence& s) {
  table_.Drop(s.slot);
  s.slot = -1;
  s.computed = 0;
}

void StepLoop::BookGrowth() {
  for (const auto& s : sequences_) {
    if (s->slot < 0) continue;
    const int needed = static_cast<int>(s->tokens.size());
    if (needed <= table_.booked(s->slot)) continue;
    const int wanted = std::min(Length(*s), needed + kBookedAhead);
    while (s->slot >= 0 && !table_.Grow(s->slot, wanted)) {
      // Somebody has to wait: the last in the order that holds cells, perhaps this one.
      const auto last = std::find_if(sequences_.rbegin(), sequences_.rend(),
                                     [](const auto& other) { return other->slot >= 0; });
      PutOff(**last);
    }
  }
}

std::vector<StepLoop::Output> StepLoop::FillBatch(const std::vector<policy::StepShare>& plan,
                                                  const std::vector<Sequence*>& running) {
  std::vector<Output> outputs;
  batch_->batch.n_tokens = 0;
  for (const policy::StepShare& share : plan) {
    Sequence& s = *running[share.sequence];
    const bool complete = share.tokens == s.left();
    for (int i = 0; i < share.tokens; ++i) {
      const bool output = complete && i + 1 == share.tokens;
      if (output) outputs.push_back({&s, batch_->batch.n_tokens});
      batch_->Add(s.tokens[static_cast<size_t>(s.computed + i)], s.computed + i, s.slot, output);
    }
    table_.Computed(s.slot, std::span(s.tokens).subspan(static_cast<size_t>(s.computed),
                                                        static_cast<size_t>(share.tokens)));
    s.computed += share.tokens;
  }
  return outputs;
}

Status StepLoop::Compute() {
  try {
    const int32_t code = llama_decode(model_.context(), batch_->batch);
    if (code == 0) return Status::Ok();
    return Internal("the engine failed a step of {} tokens with code {}", batch_->batch.n_tokens,
                    code);
  } catch (const std::exception& e) {
    return Internal("the engine failed a step: {}", e.what());
  }
}

void StepLoop::Step() {
  BookGrowth();
  Admit();
  std::vector<Sequence*> running;
  std::vector<policy::StepSequence> view;
  int answers = 0;
  int64_t held = 0;  // by those that answer
  int64_t backlog = 0;
  for (const auto& s : sequences_) {
    if (!s->answering) backlog += s->left();
    if (s->slot < 0) continue;
    const bool answers_now = s->answering && s->left() == 1;
    running.push_back(s.get());
    view.push_back({answers_now, answers_now ? 0 : s->left(), s->start.priority,
                    s->PromptDue(budget_.token_cost())});
    answers += answers_now ? 1 : 0;
    held += answers_now ? s->computed : 0;
  }
  if (running.empty()) return;  // cannot be: the first always fits alone
  const auto plan = policy::PlanStep(view, {model_.batch(), budget_.Tokens(answers, backlog)});
  const auto outputs = FillBatch(plan, running);
  const int tokens = batch_->batch.n_tokens;
  const auto threads = step_threads_.Choose(permitted_, clock_.Now());
  model_.SetThreads(threads.threads, threads.come_and_go);
  const Time begin = clock_.Now();
  const Duration worked = CoreTime();
  const Status status = Compute();
  const Time end = clock_.Now();
  const Duration took = end - begin;
  step_threads_.Observe(CoreTime() - worked, took, end);
  if (!status.ok()) {
    // What the cache holds of these is not known any more.
    for (const policy::StepShare& share : plan) {
      Sequence& s = *running[share.sequence];
      table_.Drop(std::exchange(s.slot, -1));
      Finish(s, SequenceEnd::Reason::kFailed, "", status);
    }
    Report(0, 0, 0, took);
    return;
  }
  budget_.Observe(answers, tokens - answers, took);
  const Time now = clock_.Now();
  for (const Output& output : outputs) Draw(output, now);
  Report(answers, tokens - answers, answers > 0 ? static_cast<int>(held / answers) : 0, took);
}

void StepLoop::Draw(const Output& output, Time now) {
  Sequence& s = *output.sequence;
  auto drawn = s.answer->Next(output.row);
  if (!drawn.ok()) return Finish(s, SequenceEnd::Reason::kFailed, "", drawn.status());
  if (s.first == Time{}) s.first = now;
  s.last = now;
  s.answering = true;
  s.tokens.push_back(drawn->token);
  ++s.drawn;
  sink_.Token({s.start.id, drawn->token, std::move(drawn->text), std::move(drawn->logprob)});
  if (drawn->ends) {
    Finish(s, SequenceEnd::Reason::kStop, "");
  } else if (s.drawn >= s.most) {
    Finish(s, SequenceEnd::Reason::kLength, s.answer->Rest());
  }
}

void StepLoop::Finish(Sequence& s, SequenceEnd::Reason reason, std::string text, Status status) {
  SequenceEnd end;
  end.id = s.start.id;
  end.reason = reason;
  end.text = std::move(text);
  end.status = std::move(status);
  end.prompt_tokens = static_cast<int32_t>(s.start.prompt.size());
  end.cached_tokens = s.cached;
  end.completion_tokens = s.drawn;
  if (s.admitted != Time{}) end.queue = s.admitted - s.arrived;
  if (s.first != Time{}) {
    end.prompt = s.first - s.admitted;
    end.decode = s.last - s.first;
  }
  if (s.slot >= 0) table_.Keep(std::exchange(s.slot, -1));
  sink_.End(end);
  Remove(s);
}

void StepLoop::Remove(const Sequence& sequence) {
  sequences_.remove_if([&](const auto& s) { return s.get() == &sequence; });
}

void StepLoop::Report(int answers, int prompt_tokens, int depth, Duration took) {
  StepReport report;
  report.answers = answers;
  report.prompt_tokens = prompt_tokens;
  report.running = table_.running();
  report.waiting = static_cast<int32_t>(sequences_.size()) - report.running;
  report.cells_booked = table_.cells() - table_.free_cells();
  report.cells_held = table_.held_cells();
  report.threads = model_.threads();
  report.depth = depth;
  report.took = took;
  sink_.Stepped(report);
}

}  // namespace evenkeel
