#include "server/text_step.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

Signature SignatureOf(const LanguageModelInfo& info) {
  Signature signature;
  const auto add = [](std::vector<TensorSpec>* to, const char* name, DataType type) {
    TensorSpec& spec = to->emplace_back();
    spec.name = name;
    spec.dtype = type;
    spec.shape = {kDynamic};
  };
  if (info.generates) {
    add(&signature.inputs, "text_input", DataType::kBytes);
    if (info.chat) add(&signature.inputs, "chat_input", DataType::kBytes);
    add(&signature.inputs, "max_tokens", DataType::kInt32);
    add(&signature.outputs, "text_output", DataType::kBytes);
  }
  if (info.embeddings) {
    add(&signature.inputs, "texts", DataType::kBytes);
    add(&signature.outputs, "embedding", DataType::kFp32);
    signature.outputs.back().shape.push_back(info.vector_size);
  }
  if (info.ranks) {
    add(&signature.inputs, "query", DataType::kBytes);
    add(&signature.inputs, "documents", DataType::kBytes);
    add(&signature.outputs, "score", DataType::kFp32);
  }
  return signature;
}

Result<std::vector<std::string>> TextsOf(std::string_view input, const TensorView& view,
                                         int64_t most) {
  if (view.dtype != DataType::kBytes)
    return InvalidArgument("input '{}': expected BYTES, got {}", input, NameOf(view.dtype));
  const auto count = view.shape.ElementCount();
  if (!count || *count < 1 || *count > most)
    return InvalidArgument("input '{}': expected 1 to {} texts, got shape {}", input, most,
                           view.shape.ToString());
  const auto size = BytesElementsSize(view.data, *count);
  if (!size.ok()) return size.status().Annotate(fmt::format("input '{}'", input));
  std::vector<std::string> texts;
  const std::byte* at = view.data.data();
  for (int64_t i = 0; i < *count; ++i) {
    uint32_t length = 0;
    std::memcpy(&length, at, sizeof length);
    at += sizeof length;
    texts.emplace_back(reinterpret_cast<const char*>(at), length);
    at += length;
    if (!IsUtf8(texts.back()))
      return InvalidArgument("input '{}': text {} is not UTF-8", input, i + 1);
  }
  return texts;
}

Result<int> TokensOf(const TensorView& view) {
  int64_t tokens = 0;
  const bool one = view.shape.ElementCount() == 1;
  if (one && view.dtype == DataType::kInt32 && view.data.size() == sizeof(int32_t)) {
    int32_t value = 0;
    std::memcpy(&value, view.data.data(), sizeof value);
    tokens = value;
  } else if (one && view.dtype == DataType::kInt64 && view.data.size() == sizeof(int64_t)) {
    std::memcpy(&tokens, view.data.data(), sizeof tokens);
  } else {
    return InvalidArgument("input 'max_tokens': expected one INT32 or INT64, got {} {}",
                           NameOf(view.dtype), view.shape.ToString());
  }
  if (tokens < 1 || tokens > std::numeric_limits<int>::max())
    return InvalidArgument("input 'max_tokens': expected 1 or more, got {}", tokens);
  return static_cast<int>(tokens);
}

void Append(std::vector<std::byte>* to, const void* bytes, size_t size) {
  const auto* first = static_cast<const std::byte*>(bytes);
  to->insert(to->end(), first, first + size);
}

}  // namespace

// One call: its texts' answers, or one call for vectors or scores.
class TextStepCall final : public std::enable_shared_from_this<TextStepCall> {
 public:
  TextStepCall(std::shared_ptr<TextStep> step, InferCall* call)
      : step_(std::move(step)), call_(call) {}

  void Start() {
    self_ = shared_from_this();
    const std::shared_ptr<TextStepCall> self = self_;  // the last of them may end it
    const Status made = Make();
    bool over = false;
    {
      const std::lock_guard lock(mutex_);
      if (failure_.ok()) failure_ = made;  // else it was cancelled meanwhile
      over = answered_ = !failure_.ok();
      started_ = true;
      running_ = vectors_ ? 1 : answers_.size();
    }
    if (over) return Answer();
    if (vectors_) step_->model_->Embed(vectors_.get());
    for (const auto& answer : answers_) step_->model_->Generate(answer.get());
    // What failed or was cancelled while the rest were being started has not ended those.
    bool failed = false;
    {
      const std::lock_guard lock(mutex_);
      failed = !failure_.ok();
    }
    if (failed) CancelRest();
  }

  void Cancel() {
    {
      const std::lock_guard lock(mutex_);
      if (answered_ || !failure_.ok()) return;
      failure_ = Cancelled("the caller went away");
      if (!started_) return;
    }
    CancelRest();
  }

 private:
  struct Text final : GenerationCall {
    explicit Text(TextStepCall& of) : owner(of) {}
    void OnStart(int) override {}
    void OnDelta(const GenerationDelta& delta) override { text += delta.text; }
    void OnFinish(int, FinishReason) override {}
    void Done(const Status& status, const GenerationUsage& usage) override {
      owner.OnEnd(status, usage.queue);
    }
    TextStepCall& owner;
    std::string text;
  };
  struct Vectors final : EmbeddingCall {
    explicit Vectors(TextStepCall& of) : owner(of) {}
    void Done(const Status& status, const std::vector<std::vector<float>>& of, int) override {
      rows = of;
      owner.OnEnd(status, {});
    }
    TextStepCall& owner;
    std::vector<std::vector<float>> rows;
  };

  const TensorView* Find(std::string_view input) const {
    for (const TensorView& view : call_->inputs) {
      if (step_->signature_.inputs[view.spec].name == input) return &view;
    }
    return nullptr;
  }

  Status Make() {
    const TensorView* const text = Find("text_input");
    const TensorView* const chat = Find("chat_input");
    const TensorView* const texts = Find("texts");
    const TensorView* const documents = Find("documents");
    const int kinds = (text != nullptr) + (chat != nullptr) + (texts != nullptr) +
                      (documents != nullptr || Find("query") != nullptr);
    if (kinds != 1)
      return InvalidArgument(
          "model '{}': expected one of text_input, chat_input, texts, or query and documents",
          step_->name());
    if (text != nullptr || chat != nullptr)
      return MakeAnswers(text != nullptr ? *text : *chat, chat != nullptr);
    return texts != nullptr ? MakeVectors(*texts) : MakeScores(documents, Find("query"));
  }

  Status MakeAnswers(const TensorView& view, bool chat) {
    shape_ = view.shape;
    auto texts = TextsOf(chat ? "chat_input" : "text_input", view, TextStep::kMostAnswers);
    if (!texts.ok()) return texts.status();
    int tokens = TextStep::kTokens;
    if (const TensorView* const most = Find("max_tokens"); most != nullptr) {
      const auto said = TokensOf(*most);
      if (!said.ok()) return said.status();
      tokens = *said;
    }
    for (std::string& one : *texts) {
      auto answer = std::make_unique<Text>(*this);
      if (chat) {
        answer->request.chat =
            nlohmann::json{{"messages", {{{"role", "user"}, {"content", std::move(one)}}}}}.dump();
      } else {
        answer->request.prompt = std::move(one);
      }
      answer->request.max_tokens = tokens;
      answer->request.sampling.temperature = 0;
      answer->arrived = call_->arrived;
      answer->deadline = call_->deadline;
      answer->priority = call_->priority;
      answers_.push_back(std::move(answer));
    }
    return Status::Ok();
  }

  Status MakeVectors(const TensorView& view) {
    shape_ = view.shape;
    if (shape_.full())
      return InvalidArgument("input 'texts': expected at most {} axes", kMaxRank - 1);
    auto texts = TextsOf("texts", view, TextStep::kMostTexts);
    if (!texts.ok()) return texts.status();
    vectors_ = MakeCall(std::move(*texts));
    return Status::Ok();
  }

  Status MakeScores(const TensorView* documents, const TensorView* query) {
    if (documents == nullptr || query == nullptr)
      return InvalidArgument("model '{}': scores need query and documents", step_->name());
    shape_ = documents->shape;
    auto texts = TextsOf("documents", *documents, TextStep::kMostTexts);
    if (!texts.ok()) return texts.status();
    auto asked = TextsOf("query", *query, 1);
    if (!asked.ok()) return asked.status();
    vectors_ = MakeCall(std::move(*texts));
    vectors_->query = std::move(asked->front());
    return Status::Ok();
  }

  std::unique_ptr<Vectors> MakeCall(std::vector<std::string> texts) {
    auto call = std::make_unique<Vectors>(*this);
    call->texts = std::move(texts);
    call->arrived = call_->arrived;
    call->deadline = call_->deadline;
    call->priority = call_->priority;
    return call;
  }

  void OnEnd(const Status& status, Duration queue) {
    const std::shared_ptr<TextStepCall> self = shared_from_this();  // another may be the last
    bool first_failure = false, over = false;
    {
      const std::lock_guard lock(mutex_);
      queue_ = std::max(queue_, queue);
      if (!status.ok() && failure_.ok()) {
        failure_ = status;
        first_failure = true;
      }
      over = --running_ == 0;
      answered_ = over;
    }
    if (over) return Answer();
    if (first_failure) CancelRest();
  }

  // One that has ended is not hurt by it: it lives as long as this call.
  void CancelRest() {
    const std::shared_ptr<TextStepCall> self = shared_from_this();
    if (vectors_) return step_->model_->CancelEmbedding(vectors_.get());
    for (const auto& answer : answers_) step_->model_->Cancel(answer.get());
  }

  // Another node's rows are not of this one's making.
  Status CheckRows() const {
    const auto width = static_cast<size_t>(vectors_->query ? 1 : step_->info_.vector_size);
    const auto count = static_cast<size_t>(shape_.ElementCount().value_or(0));
    if (vectors_->rows.size() != count)
      return Internal("model '{}': {} rows for {} texts", step_->name(), vectors_->rows.size(),
                      count);
    for (const std::vector<float>& row : vectors_->rows) {
      if (row.size() != width)
        return Internal("model '{}': a row of {} numbers, expected {}", step_->name(), row.size(),
                        width);
    }
    return Status::Ok();
  }

  void Answer() {
    const std::shared_ptr<TextStepCall> self = std::move(self_);
    const std::shared_ptr<TextStep> step = step_;  // the caller may let go of it in Done()
    Timings timings;
    timings.batch_rows = 1;
    timings.queue = queue_;
    timings.compute =
        std::max(Duration::zero(), step->clock_.Now() - call_->arrived - timings.queue);
    step->open_.Remove(call_);
    Status failure;
    {
      const std::lock_guard lock(mutex_);  // Start() may look at it yet
      failure = failure_;
    }
    if (failure.ok() && vectors_) failure = CheckRows();
    if (!failure.ok()) return call_->Done(failure, {}, timings);
    std::vector<std::byte> bytes;
    TensorView made;
    made.shape = shape_;
    made.dtype = vectors_ ? DataType::kFp32 : DataType::kBytes;
    std::string_view output = "text_output";
    if (vectors_) {
      output = vectors_->query ? "score" : "embedding";
      if (!vectors_->query) made.shape.push_back(step->info_.vector_size);
      for (const std::vector<float>& row : vectors_->rows)
        Append(&bytes, row.data(), row.size() * sizeof(float));
    }
    for (const auto& answer : answers_) {
      const auto length = static_cast<uint32_t>(answer->text.size());
      Append(&bytes, &length, sizeof length);
      Append(&bytes, answer->text.data(), answer->text.size());
    }
    made.data = bytes;
    std::vector<TensorView> outputs(step->signature_.outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (step->signature_.outputs[i].name == output) outputs[i] = made;
      outputs[i].spec = static_cast<uint32_t>(i);
    }
    call_->Done(Status::Ok(), outputs, timings);
  }

  const std::shared_ptr<TextStep> step_;
  InferCall* const call_;
  Shape shape_;  // of the texts
  std::vector<std::unique_ptr<Text>> answers_;
  std::unique_ptr<Vectors> vectors_;
  std::shared_ptr<TextStepCall> self_;  // until it is answered

  std::mutex mutex_;  // guards what follows
  size_t running_ = 0;
  Status failure_;
  Duration queue_{};
  bool started_ = false, answered_ = false;
};

TextStep::TextStep(std::shared_ptr<LanguageModel> model, const Clock& clock)
    : model_(std::move(model)),
      clock_(clock),
      info_(model_->Info()),
      signature_(SignatureOf(info_)) {}

void TextStep::Infer(InferCall* call) {
  auto running = std::make_shared<TextStepCall>(shared_from_this(), call);
  open_.Add(call, running);
  running->Start();
}

void TextStep::Cancel(InferCall* call) {
  if (const auto running = open_.Find(call)) running->Cancel();
}

}  // namespace evenkeel
