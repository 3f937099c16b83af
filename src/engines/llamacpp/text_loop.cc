#include "engines/llamacpp/text_loop.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kWeight = 0.1;    // of a new observation
constexpr int kLeastToLearn = 16;  // tokens of a step that says something of their cost

}  // namespace

struct TextLoop::Text {
  TextStart start;
  int slot = -1;                           // begun; else it waits
  int computed = 0;                        // tokens
  bool alone = false;                      // a step that it was in failed
  std::unique_ptr<policy::Pooled> pooled;  // null where the engine scores
  Time arrived{}, begun{};

  int length() const { return static_cast<int>(start.tokens.size()); }
};

TextLoop::TextLoop(LlamaModel& model, Duration inter_token, const Clock& clock, TextSink& sink)
    : model_(model),
      objective_(inter_token > Duration::zero() ? inter_token : std::chrono::milliseconds(50)),
      clock_(clock),
      sink_(sink),
      context_(model),
      taken_(static_cast<size_t>(context_.slots()), false) {}

TextLoop::~TextLoop() = default;

Status TextLoop::Prepare() {
  EK_RETURN_IF_ERROR(context_.Resize(1));
  Report(0, 0, {});
  return Status::Ok();
}

void TextLoop::Start(TextStart start) {
  auto text = std::make_unique<Text>();
  Text& t = *text;
  t.start = std::move(start);
  t.arrived = clock_.Now();
  const auto place = std::ranges::find_if(texts_, [&](const auto& other) {
    return other->start.priority > t.start.priority && other->slot < 0;
  });
  texts_.insert(place, std::move(text));
  const auto is_token = [&](int32_t token) { return token >= 0 && token < model_.vocabulary(); };
  if (!std::ranges::all_of(t.start.tokens, is_token)) {
    return Finish(t, InvalidArgument("a token of a text is not in the vocabulary of {}",
                                     model_.vocabulary()));
  }
  if (t.length() > model_.context_tokens()) {
    return Finish(t, InvalidArgument("a text has {} tokens, the context {}", t.length(),
                                     model_.context_tokens()));
  }
}

void TextLoop::Cancel(uint64_t id) {
  const auto found = std::ranges::find_if(texts_, [&](const auto& t) { return t->start.id == id; });
  if (found == texts_.end()) return;
  if ((*found)->slot >= 0) {
    context_.Forget((*found)->slot);
    taken_[static_cast<size_t>((*found)->slot)] = false;
  }
  texts_.erase(found);
  if (!texts_.empty()) return;
  GiveBack();
  Report(0, 0, {});  // no step follows that would say so
}

// What was made for a long text.
void TextLoop::GiveBack() {
  if (texts_.empty() && context_.enlarged()) static_cast<void>(context_.Resize(1));
}

// False: `first`, which is the first to be computed, failed for want of memory.
bool TextLoop::MakeRoom(Text& first) {
  const bool begun = std::ranges::any_of(texts_, [](const auto& t) { return t->slot >= 0; });
  const int longest = first.length();
  if (begun || (context_.cells() > 0 && longest <= context_.cells())) return true;
  const Status status = context_.Resize(longest);
  if (!status.ok()) Finish(first, status);
  return status.ok();
}

// After a step that failed its texts go one by one: who it failed of fails alone.
std::vector<TextLoop::Text*> TextLoop::Candidates() const {
  const auto alone = std::ranges::find_if(texts_, [](const auto& text) { return text->alone; });
  if (alone != texts_.end()) return {alone->get()};
  std::vector<Text*> all;
  for (const auto& text : texts_) all.push_back(text.get());
  return all;
}

void TextLoop::StepFailed(const Status& status) {
  // What the context held is gone, also of those that had no share in the step.
  std::vector<Text*> begun;
  for (const auto& text : texts_) {
    if (text->slot >= 0) begun.push_back(text.get());
  }
  for (Text* text : begun) {
    if (begun.size() == 1) {
      Finish(*text, status);
      continue;
    }
    taken_[static_cast<size_t>(text->slot)] = false;
    text->slot = -1;
    text->computed = 0;
    text->alone = true;
  }
}

void TextLoop::Begin(Text& text, Time now) {
  const auto free = std::ranges::find(taken_, false);
  EK_CHECK(free != taken_.end());
  *free = true;
  text.slot = static_cast<int>(free - taken_.begin());
  text.begun = now;
  if (Embeds(model_.pooling())) text.pooled = std::make_unique<policy::Pooled>(model_.pooling());
}

void TextLoop::Step(Duration answers) {
  const std::vector<Text*> all = Candidates();
  if (!MakeRoom(*all.front())) return Report(0, 0, {});
  std::vector<policy::TextWork> view;
  for (const Text* text : all) {
    const double came = Seconds(text->arrived.time_since_epoch());
    view.push_back({text->length(), text->computed, text->start.priority,
                    policy::DueOf(came, text->length(), token_cost_)});
  }
  policy::TextLimits limits;
  limits.tokens = policy::TextTokens(objective_, answers, token_cost_, context_.batch());
  limits.texts = context_.slots();
  limits.cells = context_.cells();
  limits.whole = context_.whole();
  const std::vector<policy::StepShare> plan = policy::PlanTexts(view, limits);
  EK_CHECK(!plan.empty());  // the first fits, or is begun
  const Time begin = clock_.Now();
  std::vector<TextContext::Piece> pieces;
  int tokens = 0;
  for (const policy::StepShare& share : plan) {
    Text& text = *all[share.sequence];
    if (text.slot < 0) Begin(text, begin);
    const std::span<const int32_t> whole = text.start.tokens;
    pieces.push_back(
        {text.slot, text.computed,
         whole.subspan(static_cast<size_t>(text.computed), static_cast<size_t>(share.tokens))});
    tokens += share.tokens;
  }
  const Status status = context_.Compute(pieces);
  const Duration took = clock_.Now() - begin;
  if (!status.ok()) {
    StepFailed(status);
    return Report(0, 0, took);
  }
  if (tokens >= kLeastToLearn) {
    const double cost = Seconds(took) / tokens;
    token_cost_ = token_cost_ <= 0 ? cost : (1 - kWeight) * token_cost_ + kWeight * cost;
  }
  int row = 0;
  for (const policy::StepShare& share : plan) {
    Take(*all[share.sequence], row, share.tokens);
    row += share.tokens;
  }
  Report(tokens, static_cast<int>(plan.size()), took);
}

void TextLoop::Take(Text& text, int first_row, int rows) {
  text.computed += rows;
  const bool complete = text.computed == text.length();
  if (text.pooled == nullptr) {
    if (!complete) return;
    const auto score = context_.Score(text.slot);
    if (!score.ok()) return Finish(text, score.status());
    return Finish(text, Status::Ok(), {*score});
  }
  for (int i = 0; i < rows; ++i) {
    const std::span<const float> row = context_.Row(first_row + i);
    if (row.empty()) return Finish(text, Internal("the engine gave no vector of a token"));
    text.pooled->Add(row);
  }
  if (!complete) return;
  auto vector = text.pooled->Unit();
  if (!vector.ok()) return Finish(text, vector.status());
  Finish(text, Status::Ok(), std::move(*vector));
}

void TextLoop::Finish(Text& text, Status status, std::vector<float> values) {
  TextEnd end;
  end.id = text.start.id;
  end.status = std::move(status);
  end.values = std::move(values);
  if (text.begun != Time{}) {
    end.queue = text.begun - text.arrived;
    end.compute = clock_.Now() - text.begun;
  }
  if (text.slot >= 0) {
    context_.Forget(text.slot);
    taken_[static_cast<size_t>(text.slot)] = false;
  }
  sink_.Vector(end);
  texts_.remove_if([&](const auto& t) { return t.get() == &text; });
  GiveBack();
}

void TextLoop::Report(int tokens, int texts, Duration took) {
  TextReport report;
  report.tokens = tokens;
  report.texts = texts;
  report.running = static_cast<int32_t>(
      std::ranges::count_if(texts_, [](const auto& t) { return t->slot >= 0; }));
  report.waiting = static_cast<int32_t>(texts_.size()) - report.running;
  report.bytes = context_.bytes();
  report.took = took;
  sink_.TextsStepped(report);
}

}  // namespace evenkeel
