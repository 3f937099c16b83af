#include "llm/llm_tuner.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "llm/wire/load_messages.h"

namespace evenkeel {
namespace {

constexpr size_t kMostSamples = 4096;  // of tokens' times, between two looks
constexpr double kLately = 1.0 / 16;   // weight of a step in what was lately
constexpr double kWorthMore = 1.25,
                 kWorthLess = 0.5;  // a change of cells that is worth an empty cache
constexpr int kMostCellsTried = 64;
constexpr int kMostTold = 128;  // answers of a step, to who asks what steps take

void Blend(double* value, double seen) {
  *value = *value <= 0 ? seen : *value + kLately * (seen - *value);
}

// Of what was seen; `values` may be reordered.
std::optional<double> QuantileOf(std::vector<double>& values, double q) {
  if (values.empty()) return std::nullopt;
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(q * (static_cast<double>(values.size()) - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Duration FromSeconds(double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); }

// What a worker says, within what sums and products of such figures may be.
int64_t BytesIn(const nlohmann::json& facts, const char* key, int64_t most) {
  const auto at = facts.find(key);
  return at != facts.end() && at->is_number_integer()
             ? std::clamp<int64_t>(at->get<int64_t>(), 0, most)
             : 0;
}

}  // namespace

LlmTuner::LlmTuner(LlmContext& context, const LlmOptions& options, SequenceEngine& engine,
                   std::function<uint64_t()> new_id)
    : context_(context),
      options_(options),
      engine_(engine),
      new_id_(std::move(new_id)),
      self_(std::make_shared<LlmTuner*>(this)),
      traffic_(context.clock.Now()) {
  tick_ = context_.loop.MakeAlarm([this] { Tick(); });
  choice_.threads = choice_.least_threads = options_.threads;
  choice_.slots = options_.slots;
  choice_.cells = options_.cells;
  if (context_.node != nullptr) node_id_ = context_.node->JoinStanding(this);
}

LlmTuner::~LlmTuner() { Leave(); }

void LlmTuner::TickAt(Time at) {
  next_tick_ = at;
  tick_->Set(at);
}

void LlmTuner::Leave() {
  *self_ = nullptr;
  if (context_.node == nullptr || node_id_ < 0) return;
  context_.node->LeaveStanding(std::exchange(node_id_, -1));
}

void LlmTuner::Begin(const std::string& engine, std::function<void()> ready) {
  key_ = {options_.name, options_.path, engine};
  if (!options_.tuned || context_.tables == nullptr) return ready();
  context_.tables->Find(key_, [self = self_,
                               ready = std::move(ready)](std::optional<std::string> document) {
    if (*self == nullptr) return;
    LlmTuner& tuner = **self;
    if (document) {
      auto kept = LlmTableFromJson(*document);
      if (kept.ok()) {
        tuner.table_ = std::move(kept->table);
        tuner.chosen_ = kept->chosen;
        tuner.table_from_ = "kept";
      } else {
        LogWarning("model '{}': its load table is begun anew: {}", tuner.options_.name,
                   kept.status().message());
      }
    }
    // What was chosen before stands for the first worker, where the operator says nothing.
    const int slots = !tuner.options_.fixed_slots && tuner.chosen_.slots > 0 ? tuner.chosen_.slots
                                                                             : tuner.options_.slots;
    const int64_t cells = !tuner.options_.fixed_cells && tuner.chosen_.cells > 0
                              ? tuner.chosen_.cells
                              : tuner.options_.cells;
    tuner.engine_.SetShape(slots, cells);
    ready();
  });
}

void LlmTuner::End() {
  if (std::exchange(ended_, true)) return;
  TickAt(kNever);
  StopMeasuring();
  Keep(context_.clock.Now(), /*at_once=*/true);
  up_ = false;
  Leave();
}

void LlmTuner::OnWorker(const LlmLoaded* up) {
  if (ended_) return;
  up_ = up != nullptr;
  measured_ = {};
  cells_tried_ = 0;
  if (!up_) {
    // It must not be what a worker died of that goes on in the next.
    StopMeasuring();
    if (context_.node != nullptr) context_.node->Forget(node_id_);
    TickAt(kNever);
    if (context_.node != nullptr) context_.node->Run();
    return Publish();
  }
  slots_ = up->slots;
  generates_ = slots_ > 0;
  cells_ = up->cells;
  context_tokens_ = up->context;
  vocabulary_ = up->vocabulary;
  const auto facts = nlohmann::json::parse(up->facts, nullptr, /*allow_exceptions=*/false);
  if (facts.is_object()) {
    table_.memory.weight_bytes = BytesIn(facts, "weight_bytes", kMostBytes);
    table_.memory.cell_bytes = BytesIn(facts, "cell_bytes", kMostCellBytes);
    text_bytes_ = BytesIn(facts, "text_bytes", kMostBytes);
  }
  coming_cells_ = 0;
  refused_.reset();
  last_call_ = context_.clock.Now();
  Choose();
  SendSteer();
  Claim();
  Publish();
  TickAt(context_.clock.Now() + kLook);
}

void LlmTuner::OnBusy(bool busy) {
  if (ended_) return;
  busy_ = busy;
  Claim();
}

// What the model wants of the node. Without a node it has its threads.
void LlmTuner::Claim() {
  if (context_.node == nullptr || !up_) return;
  context_.node->PublishStanding(
      node_id_, {.wants = busy_, .most = MostThreads(), .step = FromSeconds(step_s_)});
  context_.node->Run();
}

int LlmTuner::MostThreads() const {
  return std::max(1, measure_threads_ > 0 ? measure_threads_ : choice_.threads);
}

void LlmTuner::CoresChanged() {
  if (context_.loop.InLoopThread()) return SendSteer();
  context_.loop.Post([self = self_] {
    if (*self != nullptr) (*self)->SendSteer();
  });
}

void LlmTuner::SendSteer() {
  if (!up_) return;
  LlmSteer steer = steer_;
  steer.threads = context_.node != nullptr ? context_.node->TakeCores(node_id_) : MostThreads();
  engine_.Steer(steer);
  // Asked for once: the worker remembers until nothing runs.
  steer_.slots = 0;
  steer_.cells = 0;
}

void LlmTuner::OnSteered(const LlmSteered& steered) {
  if (ended_) return;
  slots_ = steered.slots;
  cells_ = steered.cells;
  if (!steered.answer) coming_cells_ = 0;
  if (steered.answer && context_.node != nullptr) {
    context_.node->Confirm(node_id_);
    context_.node->Run();
  }
  PublishCores();
}

void LlmTuner::OnStep(const StepReport& step) {
  if (step.threads < 1 || ended_) return;
  NoteLateCost(step);
  table_.Observe({step.threads, step.answers, step.depth, step.prompt_tokens}, step.took);
  ++steps_;
  if (step.answers > 0 && measure_threads_ == 0) Blend(&depth_, step.depth);
  Blend(&step_s_, Seconds(step.took));
  if (measure_threads_ > 0) {
    measured_ += step.took;
    if (table_from_.empty() || table_from_ == "live steps") table_from_ = "measured";
    if (measured_ >= kMeasureTime) StopMeasuring();
  } else if (table_from_.empty()) {
    table_from_ = "live steps";
  }
  if (context_.node != nullptr) context_.node->Run();
}

void LlmTuner::NoteLateCost(const StepReport& step) {
  if (step.answers == 0 && step.prompt_tokens == 0) return;  // of texts
  // The house's sequences: one cell of the table each, few threads and answers at a time, and all that would be known of a node at rest.
  if (measure_threads_ > 0) return;
  // What a prompt's token takes beside an answer's, by the table: both change alike with the host.
  const double answer_s = choice_.step_s / std::max(1, choice_.slots);
  const double beside = answer_s > 0 ? choice_.prompt_token_s / answer_s : 0;
  late_.Record(step.answers + beside * step.prompt_tokens, step.took);
  // On the threads that were chosen, whatever the step had: what it lacked is why it took longer. A few tokens of a prompt take a step's time, whatever their number.
  double expected = 0;
  bool known = true;
  if (step.answers > 0) {
    expected = table_.StepSeconds(choice_.threads, step.answers, step.depth);
    known = expected > 0;
  }
  if (step.prompt_tokens > 0) {
    const double token_s = table_.PromptTokenSeconds(choice_.threads, step.prompt_tokens);
    known = known && token_s > 0 && step.prompt_tokens >= policy::LlmLoadTable::kLeastPrompt;
    expected += token_s * step.prompt_tokens;
  }
  if (known) late_step_.Record(expected, step.took);
  const std::lock_guard lock(mutex_);
  view_.late_token_s = late_.seconds_per_unit();
}

void LlmTuner::OnCall(int choices) {
  last_call_ = context_.clock.Now();
  traffic_.Arrived(choices, last_call_);
  StopMeasuring();
  engine_.SetUncounted(false);
  if (up_ && next_tick_ > last_call_ + kLook) TickAt(last_call_ + kLook);
}

void LlmTuner::OnTexts() {
  last_call_ = context_.clock.Now();
  StopMeasuring();
  engine_.SetUncounted(false);
}

void LlmTuner::OnToken(bool first, double seconds) {
  auto& samples = first ? first_tokens_ : inter_tokens_;
  if (samples.size() < kMostSamples) samples.push_back(seconds);
}

bool LlmTuner::OnEnd(uint64_t id) {
  if (house_.erase(id) == 0) return false;
  if (!house_.empty()) return true;
  measure_threads_ = 0;
  // The next cell: not from within this event.
  context_.loop.Post([self = self_] {
    if (*self != nullptr) (*self)->MeasureNext();
  });
  return true;
}

int LlmTuner::running() const {
  const int slots = slots_ > 0 ? slots_ : options_.slots;
  return options_.tuned ? std::clamp(choice_.slots, 1, slots) : slots;
}

std::optional<double> LlmTuner::StepSeconds(int sequences) const {
  const double known =
      table_.StepSeconds(choice_.threads, sequences, static_cast<int>(std::lround(depth_)));
  if (known > 0) return known;
  return step_s_ > 0 ? std::optional(step_s_) : std::nullopt;
}

double LlmTuner::PromptTokenSeconds() const { return choice_.prompt_token_s; }

policy::LlmLimits LlmTuner::Limits() const {
  policy::LlmLimits limits;
  const int cores = context_.node != nullptr ? context_.node->cores() : context_.cores;
  limits.cores = std::max(1, std::min(cores, options_.threads));
  limits.save_power = context_.save_power;
  limits.context = context_tokens_;
  if (context_.free_memory) {
    // What the cache has already is the model's; others may want of what is free.
    if (const auto free = context_.free_memory())
      limits.memory_bytes = std::max<int64_t>(0, *free) / 2 + cells_ * table_.memory.cell_bytes;
  }
  if (options_.fixed_threads) limits.threads = options_.threads;
  if (options_.fixed_slots) limits.slots = options_.slots;
  if (options_.fixed_cells) limits.cells = options_.cells;
  return limits;
}

void LlmTuner::Choose() {
  if (!options_.tuned || !generates_) return;
  policy::LlmPresent present;
  present.threads = options_.threads;
  present.slots = slots_;
  present.cells = cells_;
  present.depth = static_cast<int>(std::lround(depth_));
  const policy::LlmObjectives objectives{options_.stated_first_token, options_.stated_inter_token};
  const policy::LlmForecast forecast = traffic_.Next(context_.clock.Now());
  choice_ = ChooseLlm(table_, forecast, objectives, Limits(), present);
  steer_.running = running();
  // Where the budget begins: what the worker has measured itself stays.
  if (steer_.answers == Duration::zero()) {
    steer_.answers = FromSeconds(
        table_.StepSeconds(choice_.threads, choice_.expected, static_cast<int>(depth_)));
  }
  if (steer_.prompt_token == Duration::zero())
    steer_.prompt_token = FromSeconds(choice_.prompt_token_s);
  const std::lock_guard lock(mutex_);
  view_.forecast = forecast;
}

// Prompts' share follows the objectives, as far as they are stated.
void LlmTuner::ShareOfPrompts() {
  const bool stated = options_.stated_first_token || options_.stated_inter_token;
  const auto first = QuantileOf(first_tokens_, 0.9);
  const auto inter = QuantileOf(inter_tokens_, 0.95);
  first_tokens_.clear();
  inter_tokens_.clear();
  if (!options_.tuned || !stated) return;
  std::optional<double> first_late, inter_late;
  if (first && options_.stated_first_token)
    first_late = *first / Seconds(*options_.stated_first_token);
  if (inter) inter_late = *inter / Seconds(options_.inter_token);
  prompt_share_.Observe(first_late, inter_late);
  first_late_ = first_late.value_or(first_late_);
  inter_late_ = inter_late.value_or(inter_late_);
  steer_.prompt_share_permille = static_cast<int32_t>(std::lround(prompt_share_.share() * 1000));
}

// Other slots or cells cost what the cache holds: they are asked for once, and taken when nothing runs.
void LlmTuner::WantShape() {
  if (!options_.tuned || !generates_) return;
  const bool more_slots = choice_.slots > slots_;
  const auto cells = static_cast<double>(cells_);
  const auto chosen = static_cast<double>(choice_.cells);
  const bool other_cells = !options_.fixed_cells && choice_.cells > 0 &&
                           (chosen > kWorthMore * cells || chosen < kWorthLess * cells);
  if (!more_slots && !other_cells) return;
  LlmChosenShape wanted;
  wanted.slots = more_slots ? choice_.slots : slots_;
  wanted.cells = other_cells ? choice_.cells : cells_;
  if (wanted.slots == asked_.slots && wanted.cells == asked_.cells)
    return;  // it can't be had, or not yet
  if (!Contain(std::max(wanted.cells, CellsToCome()))) return;
  asked_ = wanted;
  coming_cells_ = wanted.cells;
  steer_.slots = wanted.slots;
  steer_.cells = wanted.cells;
}

void LlmTuner::LookAtMemory() {
  const auto used = engine_.MemoryBytes();
  if (!used) return;
  policy::LlmMemory& memory = table_.memory;
  const int64_t known = memory.weight_bytes + cells_ * memory.cell_bytes;
  const int64_t other = std::max<int64_t>(1, *used - known);
  // What is idle may have given something back; what is busy is about to take what it gave back a moment ago.
  memory.other_bytes = busy_ ? std::max(memory.other_bytes, other) : other;
}

bool LlmTuner::Contain(int64_t cells) {
  if (context_.runtime.rung() < Rung::kCgroup || !up_) return true;
  policy::LlmMemory memory = table_.memory;
  if (memory.other_bytes > 0) {
    // A context for texts that is there already is in what was seen.
    memory.other_bytes += std::max<int64_t>(0, text_bytes_ - engine_.Look().texts.bytes);
  }
  const auto& present = engine_.container();
  WorkerShape shape;
  shape.milli_cores = 1000 * MostThreads();
  shape.memory_bytes = policy::ContainerBytes(policy::WorkerBytes(memory, cells),
                                              present ? present->memory_bytes : 0);
  if (shape.memory_bytes <= 0) return true;  // nothing was seen yet, and nothing holds it
  if (shape == refused_) return false;
  const Status status = engine_.SetContainer(shape);
  if (!status.ok()) {
    refused_ = shape;
    LogWarning("model '{}': its worker is not held to {}: {}", options_.name,
               FormatWorkerShape(shape), status.message());
  }
  return status.ok();
}

void LlmTuner::LookForDrift(Time now) {
  std::vector<TimedSize> expected;
  std::vector<LiveSize> live;
  for (const policy::StepRow& row : table_.rows()) {
    if (row.cell.threads != choice_.threads || row.cell.sequences == 0) continue;
    if (!expected.empty() && expected.back().rows == row.cell.sequences) continue;
    const Duration mean = std::max(FromSeconds(row.mean_s), Duration(1));
    expected.push_back({row.cell.sequences, mean, mean + FromSeconds(3 * row.spread_s)});
    live.push_back({row.cell.sequences, mean, static_cast<uint64_t>(row.steps)});
  }
  if (expected_mark_ == 0) {
    if (expected.empty()) return;
    expected_mark_ = std::max<uint64_t>(1, table_.mark());
    return drift_.Expect(std::move(expected));
  }
  if (!drift_.Observe(live, measure_threads_ > 0, now)) return;
  LogInfo(
      "model '{}': steps take {:.2f} times what its table said: what they do not tell is measured "
      "again",
      options_.name, drift_.ratio());
  table_.ForgetBefore(expected_mark_);
  expected_mark_ = 0;
  measured_ = {};
  cells_tried_ = 0;
}

void LlmTuner::Measure(Time now) {
  if (!options_.measure_after || !options_.tuned || !up_ || ended_ || !generates_) return;
  if (measure_threads_ > 0 || engine_.busy() || now - last_call_ < *options_.measure_after) return;
  if (measured_ >= kMeasureTime || cells_tried_ >= kMostCellsTried) return;
  const auto cell = policy::NextSweepCell(table_, Limits().cores, std::min(running(), 64));
  if (!cell) return;
  ++cells_tried_;
  measure_threads_ = cell->threads;
  engine_.SetUncounted(true);
  // One prompt for all of a cell; none that came before begins with it.
  SequenceStart start;
  start.prompt.resize(static_cast<size_t>(cell->prompt_tokens));
  for (size_t i = 0; i < start.prompt.size(); ++i)
    start.prompt[i] = static_cast<int32_t>((i * 31 + static_cast<size_t>(cells_tried_) * 17 + 7) %
                                           static_cast<size_t>(vocabulary_));
  start.max_tokens = policy::kSweepAnswers;
  start.sampling.temperature = 0;
  start.sampling.seed = 1;
  start.ignore_eos = true;
  start.priority = 16;
  std::vector<SequenceStart> starts;
  for (int i = 0; i < cell->sequences; ++i) {
    start.id = new_id_();
    start.leader = i == 0 ? 0 : starts.front().id;
    house_.insert(start.id);
    starts.push_back(start);
  }
  Contain(CellsToCome());  // where cores are held by quota, what is measured needs its own
  for (SequenceStart& one : starts) engine_.Add(std::move(one));
  Claim();
  if (context_.node == nullptr) SendSteer();
  PublishCores();
}

// Behind a cell that is done.
void LlmTuner::MeasureNext() {
  if (!up_ || ended_) return;
  Measure(context_.clock.Now());
  if (measure_threads_ > 0) return;
  // That was the last: what it tells is chosen by at once.
  Claim();
  TickAt(context_.clock.Now());
}

void LlmTuner::StopMeasuring() {
  if (measure_threads_ == 0) return;
  measure_threads_ = 0;
  for (const uint64_t id : std::exchange(house_, {})) engine_.Remove(id);
  if (!up_ || ended_) return;
  Claim();
  if (context_.node == nullptr) SendSteer();
  PublishCores();
}

void LlmTuner::Keep(Time now, bool at_once) {
  if (!options_.tuned || context_.tables == nullptr || table_.empty()) return;
  if (steps_ == kept_steps_ || (!at_once && now - kept_at_ < kKeepEvery)) return;
  kept_steps_ = steps_;
  kept_at_ = now;
  chosen_ = {std::max(choice_.slots, slots_), cells_};
  context_.tables->Keep(key_, ToJson(table_, chosen_).dump());
}

void LlmTuner::Tick() {
  if (!up_ || ended_) return;
  const Time now = context_.clock.Now();
  LookAtMemory();
  const LlmSteer before = steer_;
  Choose();
  ShareOfPrompts();
  WantShape();
  Contain(CellsToCome());
  LookForDrift(now);
  Claim();
  if (steer_ != before) SendSteer();
  Measure(now);
  Keep(now, /*at_once=*/false);
  Publish();
  const bool quiet = !busy_ && now - last_call_ > 4 * kQuietLook;
  TickAt(now + (quiet ? kQuietLook : kLook));
}

double LlmTuner::LateRatio() const {
  const double ratio = late_step_.seconds_per_unit();
  return ratio > 0 ? ratio : 1;
}

std::vector<double> LlmTuner::StepTimes() const {
  std::vector<double> steps;
  const int depth = static_cast<int>(std::lround(depth_));
  const int most = running();
  for (int answers = 1;; answers *= 2) {
    const double seconds = table_.StepSeconds(choice_.threads, answers, depth) * LateRatio();
    if (seconds <= 0) return {};
    steps.push_back(seconds);
    if (answers >= most || answers >= kMostTold) return steps;
  }
}

void LlmTuner::Publish() {
  std::vector<double> steps = StepTimes();
  {
    const std::lock_guard lock(mutex_);
    view_.step_s = std::move(steps);
    view_.prompt_s = choice_.prompt_token_s * LateRatio();
    view_.running = running();
    view_.tuned = options_.tuned;
    view_.choice = choice_;
    view_.kept = {table_, {choice_.slots, cells_}};
    view_.table_from = table_from_;
    view_.prompt_share = prompt_share_.share();
    view_.first_token_late = first_late_;
    view_.inter_token_late = inter_late_;
    view_.drift_ratio = drift_.ratio();
  }
  PublishCores();
}

// What changes with each frame.
void LlmTuner::PublishCores() {
  NodeScheduler::StandingLook standing;
  if (node_id_ >= 0) standing = context_.node->LookAtStanding(node_id_);
  const std::lock_guard lock(mutex_);
  view_.measuring = measure_threads_ > 0 ? fmt::format("{} threads", measure_threads_) : "";
  view_.threads = context_.node != nullptr ? standing.granted : MostThreads();
  view_.held = standing.held;
  view_.slots = slots_;
  view_.cells = cells_;
  view_.container = engine_.container() ? FormatWorkerShape(*engine_.container()) : "";
}

LlmTuner::View LlmTuner::Look() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace evenkeel
