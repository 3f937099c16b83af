#include "llm/llm_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "llm/llm_call.h"
#include "llm/text/utf8_tail.h"

namespace evenkeel {
namespace {

// Of what tools/patch_llamacpp.py makes of the engine; counted on where steps take another time, so that load tables begin anew.
constexpr int kEngineChanges = 4;

int64_t FileTime(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? int64_t{info.st_mtime} : 0;
}

uint32_t RandomSeed() {
  static thread_local std::random_device device;
  return device();
}

// A worker is not trusted to write whole characters.
std::string Clean(std::string_view text) {
  Utf8Tail tail;
  std::string clean = tail.Feed(text);
  return clean + tail.End();
}

}  // namespace

LlmModel::LlmModel(LlmContext context, LlmOptions options)
    : context_(std::move(context)),
      options_(std::move(options)),
      created_s_(FileTime(options_.path)),
      prompts_(context_, options_),
      engine_(context_, options_, *this),
      tuner_(context_, options_, engine_, [this] { return next_sequence_++; }),
      embeddings_({context_, options_, prompts_, engine_, [this] { return next_sequence_++; },
                   [this](const Status& status) { CallEnded(status); }}) {
  deadline_ = context_.loop.MakeAlarm([this] { OnDeadline(); });
}

LlmModel::~LlmModel() = default;

void LlmModel::Start(std::function<void(Status)> on_ready) {
  self_ = shared_from_this();
  on_ready_ = std::move(on_ready);
  // The vocabulary first: it takes milliseconds, and what does not load is refused before the weights are read.
  prompts_.Start([this](Result<LlmLoaded> prompt) {
    if (!prompt.ok()) return BecomeReady(prompt.status());
    if (!on_ready_) return;  // stopped meanwhile
    const auto facts = nlohmann::json::parse(prompt->facts, nullptr, false);
    const auto at = facts.is_object() ? facts.find("version") : facts.end();
    const std::string version =
        at != facts.end() && at->is_string() ? at->get<std::string>() : std::string();
    const std::string build = fmt::format("llama.cpp {}, changes {}", version, kEngineChanges);
    tuner_.Begin(build, [this, chat = prompt->chat] {
      if (!on_ready_) return;
      engine_.Start([this, chat](Result<LlmLoaded> loaded) {
        if (!loaded.ok()) return BecomeReady(loaded.status());
        loaded->chat = chat && loaded->generates();
        {
          const std::lock_guard lock(mutex_);
          loaded_ = std::move(*loaded);
        }
        BecomeReady(Status::Ok());
      });
    });
  });
}

void LlmModel::BecomeReady(const Status& status) {
  // Not from within an event of a process that may have to go.
  context_.loop.Post([this, self = self_, status] {
    if (!on_ready_) return;
    const auto ready = std::exchange(on_ready_, nullptr);
    if (!status.ok()) {
      stopping_ = true;
      prompts_.Stop();
      tuner_.End();
      engine_.Stop();
      self_.reset();
    }
    Publish();
    ready(status);
  });
}

void LlmModel::Stop(std::function<void()> on_stopped) {
  on_stopped_ = std::move(on_stopped);
  stopping_ = true;
  if (on_ready_) BecomeReady(Unavailable("the model was unloaded while it loaded"));
  context_.loop.Post([this, self = shared_from_this()] { MaybeStopped(); });
}

void LlmModel::Abandon() {
  while (!calls_.empty())
    Finish(*calls_.begin()->second, Unavailable("model '{}' is being unloaded", options_.name));
  embeddings_.FinishAll(Unavailable("model '{}' is being unloaded", options_.name));
}

void LlmModel::MaybeStopped() {
  if (!on_stopped_ || !calls_.empty() || embeddings_.open() > 0) return;
  prompts_.Stop();
  tuner_.End();
  engine_.Stop();
  deadline_->Set(kNever);
  const auto self = std::exchange(self_, nullptr);
  std::exchange(on_stopped_, nullptr)();
}

LanguageModelInfo LlmModel::Info() const {
  const std::lock_guard lock(mutex_);
  LanguageModelInfo info;
  info.name = options_.name;
  info.created_s = created_s_;
  info.context_tokens = loaded_.context;
  info.vocabulary = loaded_.vocabulary;
  info.chat = loaded_.chat;
  info.generates = loaded_.generates();
  info.embeddings = Embeds(loaded_.pooling);
  info.ranks = loaded_.pooling == Pooling::kRank;
  info.vector_size = loaded_.vector_size;
  info.architecture = loaded_.architecture;
  return info;
}

bool LlmModel::available() const {
  const SequenceEngine::View view = engine_.Look();
  return (view.state == "ready" || view.state == "starting") && !view.hopeless &&
         !prompts_.hopeless();
}

void LlmModel::Publish() {
  const std::lock_guard lock(mutex_);
  view_.prompt_pid = prompts_.pid();
  view_.prompt_restarts = prompts_.restarts();
  view_.open = static_cast<int>(calls_.size() + embeddings_.open());
  view_.sequences = OpenSequences() + static_cast<int>(embeddings_.open());
  view_.answer_s = answer_s_;
}

LlmModel::View LlmModel::Look() const {
  SequenceEngine::View engine = engine_.Look();
  const std::lock_guard lock(mutex_);
  View view = view_;
  view.tuning = tuner_.Look();
  view.engine = std::move(engine);
  view.loaded = loaded_;
  return view;
}

void LlmModel::Generate(GenerationCall* call) {
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_id_++;
    ids_.emplace(call, id);
  }
  context_.loop.Post([self = shared_from_this(), id, call] { self->Begin(id, call); });
}

void LlmModel::Cancel(GenerationCall* call) {
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto at = ids_.find(call);
    if (at == ids_.end()) return;
    id = at->second;
  }
  context_.loop.Post([self = shared_from_this(), id] {
    const auto at = self->calls_.find(id);
    if (at != self->calls_.end()) self->Finish(*at->second, Cancelled("the client went away"));
  });
}

void LlmModel::Begin(uint64_t id, GenerationCall* call) {
  auto made = std::make_unique<Call>();
  Call& c = *made;
  c.id = id;
  c.call = call;
  c.begun = context_.clock.Now();
  if (!call->request.begun.empty()) c.asked_to_move = c.begun;
  calls_.emplace(id, std::move(made));
  if (stopping_) return Finish(c, Unavailable("model '{}' is being unloaded", options_.name));
  if (Status status = CheckRequest(call->request); !status.ok()) return Finish(c, status);
  tuner_.OnCall(call->request.choices);
  if (Status status = CheckLoad(call->request.choices); !status.ok()) return Finish(c, status);
  c.open = static_cast<size_t>(call->request.choices -
                               std::ranges::count(call->request.begun, true, &BegunChoice::ended));
  Publish();
  SetDeadline();
  if (!call->request.tokens.empty() && call->request.json_schema.empty() &&
      call->request.grammar.empty()) {
    PreparedPrompt prompt;
    prompt.tokens = call->request.tokens;
    return OnPrepared(id, std::move(prompt));
  }
  c.prepare = prompts_.Prepare(call->request, [this, id](Result<PreparedPrompt> prompt) {
    OnPrepared(id, std::move(prompt));
  });
}

void LlmModel::OnPrepared(uint64_t id, Result<PreparedPrompt> prompt) {
  const auto at = calls_.find(id);
  if (at == calls_.end()) return;
  Call& call = *at->second;
  call.prepare = 0;
  if (!prompt.ok()) return Finish(call, prompt.status());
  if (const Status status = FitContext(call.call->request, &prompt->tokens); !status.ok())
    return Finish(call, status);
  StartChoices(call, std::move(*prompt));
}

void LlmModel::StartChoices(Call& call, PreparedPrompt prompt) {
  const GenerationRequest& request = call.call->request;
  SequenceStart start;
  start.prompt = std::move(prompt.tokens);
  start.max_tokens = request.max_tokens;
  start.sampling = request.sampling;
  start.stop = request.stop;
  start.stop.insert(start.stop.end(), prompt.stop.begin(), prompt.stop.end());
  start.grammar = std::move(prompt.grammar);
  start.top_logprobs = request.top_logprobs;
  start.ignore_eos = request.ignore_eos;
  if (call.call->priority > 0) start.priority = call.call->priority;
  const uint32_t seed = request.sampling.seed.value_or(RandomSeed());
  call.usage.prompt_tokens = static_cast<int>(start.prompt.size());
  tuner_.traffic().Prompt(call.usage.prompt_tokens, context_.clock.Now());
  const uint64_t id = call.id;
  // A callback can't take the call away: Cancel() posts.
  call.call->OnStart(call.usage.prompt_tokens);
  uint64_t leader = 0;
  for (int i = 0; i < request.choices; ++i) {
    const BegunChoice* begun =
        request.begun.empty() ? nullptr : &request.begun[static_cast<size_t>(i)];
    if (begun != nullptr && begun->ended) {
      call.choices.emplace_back();
      continue;
    }
    start.id = next_sequence_++;
    start.leader = leader;
    if (leader == 0) leader = start.id;
    start.sampling.seed = seed + static_cast<uint32_t>(i);
    Choice choice;
    choice.sequence = start.id;
    if (!prompt.parser.empty()) choice.parts = std::make_unique<AnswerParts>(prompt.parser);
    if (begun != nullptr) {
      start.answered = begun->tokens;
      choice.told = static_cast<int64_t>(begun->tokens.size());
    }
    by_sequence_[start.id] = {id, call.choices.size()};
    call.choices.push_back(std::move(choice));
    engine_.Add(start);
    if (begun != nullptr) TellBegun(call, static_cast<size_t>(i), begun->text);
  }
  Publish();
}

// What an attempt elsewhere told, again.
void LlmModel::TellBegun(Call& call, size_t index, const std::string& text) {
  if (text.empty()) return;
  Choice& choice = call.choices[index];
  if (choice.parts != nullptr) {
    choice.parts->Add(text);
    return Parse(call, index);
  }
  GenerationDelta delta;
  delta.choice = static_cast<int>(index);
  delta.text = text;
  call.call->OnDelta(delta);
}

void LlmModel::OnToken(SequenceToken token) {
  const auto at = by_sequence_.find(token.id);
  if (at == by_sequence_.end()) return;
  const auto [id, index] = at->second;
  Call& call = *calls_.at(id);
  Choice& choice = call.choices[index];
  CountToken(call, choice);
  const std::string text = Clean(token.text);
  GenerationDelta delta;
  delta.choice = static_cast<int>(index);
  if (call.call->request.tell_tokens) {
    delta.tokens.push_back(token.token);
    delta.raw = text;
  }
  if (choice.parts != nullptr) {
    choice.parts->Add(text);
    // Who hears of tokens goes on behind them elsewhere, perhaps before they are taken apart: what belongs to them is told with them.
    if (token.logprob)
      (delta.tokens.empty() ? choice.logprobs : delta.logprobs)
          .push_back(std::move(*token.logprob));
    if (!delta.tokens.empty()) call.call->OnDelta(delta);
    return Parse(call, index);
  }
  if (text.empty() && !token.logprob && delta.tokens.empty()) return;
  delta.text = text;
  if (token.logprob) delta.logprobs.push_back(std::move(*token.logprob));
  call.call->OnDelta(delta);
}

void LlmModel::CountToken(const Call& call, Choice& choice) {
  const Time now = context_.clock.Now();
  const bool first = choice.last == Time{};
  const Time since =
      first ? (call.call->arrived != Time{} ? call.call->arrived : call.begun) : choice.last;
  choice.last = now;
  ++choice.told;
  tuner_.OnToken(first, Seconds(now - since));
  const std::lock_guard lock(mutex_);
  LlmFigures& figures = view_.figures;
  (first ? figures.first_token : figures.inter_token).Observe(Seconds(now - since));
}

void LlmModel::OnSteered(const LlmSteered& steered) {
  {
    const std::lock_guard lock(mutex_);
    loaded_.slots = steered.slots;
    loaded_.cells = static_cast<int>(steered.cells);
  }
  tuner_.OnSteered(steered);
}

void LlmModel::OnEnd(SequenceEnd end) {
  if (tuner_.OnEnd(end.id)) return;
  const auto at = by_sequence_.find(end.id);
  if (at == by_sequence_.end()) return;
  const auto [id, index] = at->second;
  by_sequence_.erase(at);
  Call& call = *calls_.at(id);
  if (end.reason == SequenceEnd::Reason::kFailed) return Finish(call, end.status);
  Choice& choice = call.choices[index];
  const std::string text = Clean(end.text);
  if (choice.parts != nullptr) {
    choice.parts->Add(text);
    choice.end = std::move(end);
    return Parse(call, index);
  }
  if (!text.empty()) {
    GenerationDelta delta;
    delta.choice = static_cast<int>(index);
    delta.text = text;
    call.call->OnDelta(delta);
  }
  EndChoice(call, index, end);
}

// One look at a time: what comes meanwhile is in the next.
void LlmModel::Parse(Call& call, size_t index) {
  Choice& choice = call.choices[index];
  if (choice.parsing || (!choice.parts->behind() && !choice.end)) return;
  choice.parsing = true;
  choice.parts->Looking();
  choice.parse = prompts_.Parse(
      choice.parts->parser(), choice.parts->text(), /*partial=*/!choice.end,
      [this, id = call.id, index, last = choice.end.has_value()](Result<ParsedAnswer> parsed) {
        const auto at = calls_.find(id);
        if (at == calls_.end()) return;
        Choice& parsed_choice = at->second->choices[index];
        parsed_choice.parsing = false;
        if (!parsed.ok() && !last) return Parse(*at->second, index);  // the whole may be clearer
        if (!last) {
          OnParsed(id, index, std::move(parsed));
          const auto again = calls_.find(id);
          if (again != calls_.end()) Parse(*again->second, index);
          return;
        }
        const SequenceEnd end = *parsed_choice.end;
        // What can't be taken apart is told as it is, where nothing was told yet.
        if (!parsed.ok()) {
          ParsedAnswer whole;
          whole.content = parsed_choice.parts->text();
          parsed = std::move(whole);
        }
        OnParsed(id, index, std::move(parsed));
        const auto again = calls_.find(id);
        if (again != calls_.end()) EndChoice(*again->second, index, end);
      });
}

void LlmModel::OnParsed(uint64_t id, size_t index, Result<ParsedAnswer> parsed) {
  Call& call = *calls_.at(id);
  Choice& choice = call.choices[index];
  GenerationDelta delta = choice.parts->Update(*parsed);
  delta.choice = static_cast<int>(index);
  delta.logprobs = std::exchange(choice.logprobs, {});
  const bool empty = delta.text.empty() && delta.reasoning.empty() && delta.tool_calls.empty() &&
                     delta.logprobs.empty();
  if (!empty) call.call->OnDelta(delta);
}

void LlmModel::EndChoice(Call& call, size_t index, const SequenceEnd& end) {
  Choice& choice = call.choices[index];
  const bool tools = choice.parts != nullptr && choice.parts->has_tool_calls();
  FinishReason reason = FinishReason::kLength;
  if (end.reason == SequenceEnd::Reason::kStop)
    reason = tools ? FinishReason::kToolCalls : FinishReason::kStop;
  GenerationUsage& usage = call.usage;
  usage.completion_tokens += end.completion_tokens;
  if (index == 0) {
    usage.cached_tokens = std::min(end.cached_tokens, usage.prompt_tokens);
    usage.queue = end.queue;
    usage.prompt = end.prompt;
  }
  usage.decode = std::max(usage.decode, end.decode);
  {
    const std::lock_guard lock(mutex_);
    view_.figures.cached_tokens += static_cast<uint64_t>(end.cached_tokens);
  }
  tuner_.traffic().Answer(usage.prompt_tokens, end.completion_tokens, context_.clock.Now());
  const double took = Seconds(end.prompt + end.decode);
  answer_s_ = answer_s_ <= 0 ? took : 0.9 * answer_s_ + 0.1 * took;
  call.call->OnFinish(static_cast<int>(index), reason);
  if (--call.open > 0) return Publish();
  Finish(call, Status::Ok());
}

std::unique_ptr<LlmModel::Call> LlmModel::Release(Call& call) {
  const auto at = calls_.find(call.id);
  EK_CHECK(at != calls_.end());
  std::unique_ptr<Call> done = std::move(at->second);
  calls_.erase(at);
  if (done->prepare != 0) prompts_.Forget(done->prepare);
  for (const Choice& choice : done->choices) {
    if (choice.parsing) prompts_.Forget(choice.parse);
    if (by_sequence_.erase(choice.sequence) > 0) engine_.Remove(choice.sequence);
  }
  {
    const std::lock_guard lock(mutex_);
    ids_.erase(done->call);
  }
  SetDeadline();
  return done;
}

void LlmModel::Finish(Call& call, const Status& status) {
  const std::unique_ptr<Call> done = Release(call);
  CallEnded(status);
  done->call->Done(status, done->usage);
}

int LlmModel::GiveBack(int most) {
  std::vector<Call*> chosen;
  for (auto at = calls_.rbegin(); at != calls_.rend() && static_cast<int>(chosen.size()) < most;
       ++at) {
    if (at->second->call->movable && at->second->told() == 0) chosen.push_back(at->second.get());
  }
  std::vector<std::unique_ptr<Call>> given;
  for (Call* call : chosen) given.push_back(Release(*call));
  if (!given.empty()) Publish();
  // What their owners do may call here again.
  for (const auto& call : given) call->call->GivenBack();
  if (on_stopped_) context_.loop.Post([this, self = shared_from_this()] { MaybeStopped(); });
  return static_cast<int>(given.size());
}

int LlmModel::AskToMove(int most, Duration cool_down) {
  const Time now = context_.clock.Now();
  std::vector<Call*> chosen;
  for (const auto& [id, call] : calls_) {
    const bool lately = call->asked_to_move != Time{} && now - call->asked_to_move < cool_down;
    if (call->call->movable && call->told() > 0 && !lately) chosen.push_back(call.get());
  }
  std::ranges::sort(chosen, {},
                    [](const Call* call) { return call->usage.prompt_tokens + call->told(); });
  if (static_cast<int>(chosen.size()) > most) chosen.resize(static_cast<size_t>(most));
  for (Call* call : chosen) {
    call->asked_to_move = now;
    call->call->MoveAsked(OfferOf(*call));
  }
  return static_cast<int>(chosen.size());
}

void LlmModel::CallEnded(const Status& status) {
  {
    const std::lock_guard lock(mutex_);
    ++view_.figures.ends[static_cast<size_t>(status.code())];
  }
  Publish();
  if (on_stopped_) context_.loop.Post([this, self = shared_from_this()] { MaybeStopped(); });
}

void LlmModel::SetDeadline() {
  Time next = kNever;
  for (const auto& [id, call] : calls_) next = std::min(next, call->call->deadline);
  deadline_->Set(next);
}

void LlmModel::OnDeadline() {
  const Time now = context_.clock.Now();
  std::vector<uint64_t> late;
  for (const auto& [id, call] : calls_) {
    if (call->call->deadline <= now) late.push_back(id);
  }
  for (const uint64_t id : late) {
    const auto at = calls_.find(id);
    if (at != calls_.end())
      Finish(*at->second, DeadlineExceeded("the deadline passed before the answer was complete"));
  }
  SetDeadline();
}

}  // namespace evenkeel
