#include <algorithm>

#include "core/format.h"
#include "frontends/openai_answer.h"
#include "frontends/openai_answer_parts.h"

namespace evenkeel {
namespace {

size_t Characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; }));
}

// `offset`: characters of the answer before the first of `tokens`; moved on behind the last.
void AppendLogprobs(const std::vector<TokenLogprob>& tokens, size_t* offset, std::string* out) {
  std::string texts, values, tops, offsets;
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (std::string* part : {&texts, &values, &tops, &offsets})
      if (i > 0) part->push_back(',');
    AppendJsonString(tokens[i].bytes, &texts);
    AppendLogprob(tokens[i].logprob, &values);
    tops.push_back('{');
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) tops.push_back(',');
      AppendJsonString(tokens[i].top[j].first, &tops);
      tops.push_back(':');
      AppendLogprob(tokens[i].top[j].second, &tops);
    }
    tops.push_back('}');
    offsets.append(std::to_string(*offset));
    *offset += Characters(tokens[i].bytes);
  }
  fmt::format_to(
      std::back_inserter(*out),
      R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}})", texts,
      values, tops, offsets);
}

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(AnswerIdentity identity, bool include_usage, bool logprobs,
                   std::vector<std::string> echo, int choices)
      : head_(AnswerHead(identity, "text_completion")),
        include_usage_(include_usage),
        logprobs_(logprobs),
        echo_(std::move(echo)),
        choices_(std::max(choices, 1)) {}

  std::string Piece(int choice, const GenerationDelta& delta) override {
    std::string out = Begin(choice);
    // What the model thinks before it answers has no place of its own here.
    const std::string text = delta.reasoning + delta.text;
    if (text.empty() && delta.logprobs.empty()) return out;
    return out.append(Chunk(choice, text, &delta.logprobs, "null"));
  }

  std::string Finish(int choice, FinishReason reason) override {
    std::string out = Begin(choice);
    return out.append(Chunk(choice, "", nullptr, fmt::format("\"{}\"", NameOf(reason))));
  }

  std::string End(const GenerationUsage& usage) override {
    std::string out;
    if (include_usage_) out = SseEvent(fmt::format("{}],\"usage\":{}}}", head_, UsageJson(usage)));
    return out.append(kDoneEvent);
  }

  std::string ErrorPiece(const ApiError& error) override { return SseEvent(ApiErrorJson(error)); }

  std::string Whole(const std::vector<GeneratedChoice>& choices,
                    const GenerationUsage& usage) override {
    std::string out = head_;
    for (size_t i = 0; i < choices.size(); ++i) {
      const GeneratedChoice& choice = choices[i];
      if (i > 0) out.push_back(',');
      AppendChoice(static_cast<int>(i),
                   EchoOf(static_cast<int>(i)) + choice.reasoning + choice.text, &choice.logprobs,
                   fmt::format("\"{}\"", NameOf(choice.reason)), &out);
    }
    return out.append("],\"usage\":").append(UsageJson(usage)).append("}");
  }

  HttpResponse Refusal(const ApiError& error) override { return ApiErrorResponse(error); }

 private:
  std::string EchoOf(int choice) const {
    const auto prompt = static_cast<size_t>(choice / choices_);
    return prompt < echo_.size() ? echo_[prompt] : "";
  }

  size_t& OffsetOf(int choice) {
    const auto index = static_cast<size_t>(choice);
    if (offsets_.size() <= index) offsets_.resize(index + 1);
    return offsets_[index];
  }

  std::string Begin(int choice) {
    const auto index = static_cast<size_t>(choice);
    if (begun_.size() <= index) begun_.resize(index + 1);
    if (begun_[index]) return "";
    begun_[index] = true;
    const std::string echo = EchoOf(choice);
    return echo.empty() ? "" : Chunk(choice, echo, nullptr, "null");
  }

  std::string Chunk(int choice, std::string_view text, const std::vector<TokenLogprob>* logprobs,
                    std::string_view reason) {
    std::string json = head_;
    AppendChoice(choice, text, logprobs, reason, &json);
    json.append(include_usage_ ? "],\"usage\":null}" : "]}");
    return SseEvent(json);
  }

  void AppendChoice(int choice, std::string_view text, const std::vector<TokenLogprob>* logprobs,
                    std::string_view reason, std::string* out) {
    out->append("{\"text\":");
    AppendJsonString(text, out);
    fmt::format_to(std::back_inserter(*out), ",\"index\":{},\"logprobs\":", choice);
    if (logprobs_ && logprobs != nullptr) {
      AppendLogprobs(*logprobs, &OffsetOf(choice), out);
    } else {
      out->append("null");
    }
    out->append(",\"finish_reason\":").append(reason).append("}");
  }

  const std::string head_;
  const bool include_usage_, logprobs_;
  const std::vector<std::string> echo_;  // a prompt
  const int choices_;                    // a prompt
  std::vector<bool> begun_;              // a choice
  std::vector<size_t> offsets_;          // a choice: characters so far
};

}  // namespace

std::unique_ptr<AnswerWriter> NewCompletionWriter(AnswerIdentity identity, bool include_usage,
                                                  bool logprobs, std::vector<std::string> echo,
                                                  int choices) {
  return std::make_unique<CompletionWriter>(std::move(identity), include_usage, logprobs,
                                            std::move(echo), choices);
}

}  // namespace evenkeel
