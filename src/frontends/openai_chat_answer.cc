#include "core/format.h"
#include "frontends/openai_answer.h"
#include "frontends/openai_answer_parts.h"

namespace evenkeel {
namespace {

void AppendBytes(std::string_view bytes, std::string* out) {
  out->push_back('[');
  for (size_t i = 0; i < bytes.size(); ++i)
    fmt::format_to(std::back_inserter(*out), "{}{}", i > 0 ? "," : "",
                   static_cast<unsigned char>(bytes[i]));
  out->push_back(']');
}

void AppendToken(std::string_view bytes, float logprob, std::string* out) {
  out->append("{\"token\":");
  AppendJsonString(bytes, out);
  out->append(",\"logprob\":");
  AppendLogprob(logprob, out);
  out->append(",\"bytes\":");
  AppendBytes(bytes, out);
}

void AppendLogprobs(const std::vector<TokenLogprob>& tokens, std::string* out) {
  out->append("{\"content\":[");
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendToken(tokens[i].bytes, tokens[i].logprob, out);
    out->append(",\"top_logprobs\":[");
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out->push_back(',');
      AppendToken(tokens[i].top[j].first, tokens[i].top[j].second, out);
      out->push_back('}');
    }
    out->append("]}");
  }
  out->append("],\"refusal\":null}");
}

// `streamed`: with the index, and only what this piece adds.
void AppendToolCalls(const std::vector<ToolCallDelta>& calls, bool streamed, std::string* out) {
  out->append("\"tool_calls\":[");
  for (size_t i = 0; i < calls.size(); ++i) {
    const ToolCallDelta& call = calls[i];
    out->append(i > 0 ? ",{" : "{");
    if (streamed) fmt::format_to(std::back_inserter(*out), "\"index\":{},", call.index);
    const bool first = !streamed || !call.id.empty() || !call.name.empty();
    if (first) {
      out->append("\"id\":");
      AppendJsonString(call.id, out);
      out->append(R"(,"type":"function",)");
    }
    out->append("\"function\":{");
    if (first) {
      out->append("\"name\":");
      AppendJsonString(call.name, out);
      out->push_back(',');
    }
    out->append("\"arguments\":");
    AppendJsonString(call.arguments, out);
    out->append("}}");
  }
  out->push_back(']');
}

class ChatWriter final : public AnswerWriter {
 public:
  ChatWriter(AnswerIdentity identity, bool include_usage, bool logprobs)
      : identity_(std::move(identity)),
        chunk_head_(AnswerHead(identity_, "chat.completion.chunk")),
        include_usage_(include_usage),
        logprobs_(logprobs) {}

  std::string Piece(int choice, const GenerationDelta& delta) override {
    std::string out = Role(choice);
    std::string fields;
    const auto text = [&fields](std::string_view key, std::string_view value) {
      if (value.empty()) return;
      fields.append(fields.empty() ? "\"" : ",\"").append(key).append("\":");
      AppendJsonString(value, &fields);
    };
    text("reasoning_content", delta.reasoning);
    text("content", delta.text);
    if (!delta.tool_calls.empty()) {
      if (!fields.empty()) fields.push_back(',');
      AppendToolCalls(delta.tool_calls, /*streamed=*/true, &fields);
    }
    // A token that ends inside a character has its log probability and no text yet.
    if (fields.empty() && delta.logprobs.empty()) return out;
    return out.append(Chunk(choice, fields, &delta.logprobs, "null"));
  }

  std::string Finish(int choice, FinishReason reason) override {
    std::string out = Role(choice);
    return out.append(Chunk(choice, "", nullptr, fmt::format("\"{}\"", NameOf(reason))));
  }

  std::string End(const GenerationUsage& usage) override {
    std::string out;
    if (include_usage_)
      out = SseEvent(fmt::format("{}],\"usage\":{}}}", chunk_head_, UsageJson(usage)));
    return out.append(kDoneEvent);
  }

  std::string ErrorPiece(const ApiError& error) override { return SseEvent(ApiErrorJson(error)); }

  std::string Whole(const std::vector<GeneratedChoice>& choices,
                    const GenerationUsage& usage) override {
    std::string out = AnswerHead(identity_, "chat.completion");
    for (size_t i = 0; i < choices.size(); ++i) AppendChoice(i, choices[i], &out);
    return out.append("],\"usage\":").append(UsageJson(usage)).append("}");
  }

  HttpResponse Refusal(const ApiError& error) override { return ApiErrorResponse(error); }

 private:
  // The piece that begins a choice: clients learn from it who speaks.
  std::string Role(int choice) {
    const auto index = static_cast<size_t>(choice);
    if (begun_.size() <= index) begun_.resize(index + 1);
    if (begun_[index]) return "";
    begun_[index] = true;
    return Chunk(choice, R"("role":"assistant","content":"")", nullptr, "null");
  }

  std::string Chunk(int choice, std::string_view fields, const std::vector<TokenLogprob>* logprobs,
                    std::string_view reason) const {
    std::string json = chunk_head_;
    fmt::format_to(std::back_inserter(json),
                   "{{\"index\":{},\"delta\":{{{}}},\"logprobs\":", choice, fields);
    if (logprobs_ && logprobs != nullptr) {
      AppendLogprobs(*logprobs, &json);
    } else {
      json.append("null");
    }
    json.append(",\"finish_reason\":").append(reason).append("}]");
    json.append(include_usage_ ? ",\"usage\":null}" : "}");
    return SseEvent(json);
  }

  void AppendChoice(size_t index, const GeneratedChoice& choice, std::string* out) const {
    fmt::format_to(std::back_inserter(*out),
                   R"({}{{"index":{},"message":{{"role":"assistant","content":)",
                   index > 0 ? "," : "", index);
    if (choice.text.empty() && !choice.tool_calls.empty()) {
      out->append("null");
    } else {
      AppendJsonString(choice.text, out);
    }
    out->append(",\"refusal\":null");
    if (!choice.reasoning.empty()) {
      out->append(",\"reasoning_content\":");
      AppendJsonString(choice.reasoning, out);
    }
    if (!choice.tool_calls.empty()) {
      out->push_back(',');
      AppendToolCalls(choice.tool_calls, /*streamed=*/false, out);
    }
    out->append("},\"logprobs\":");
    if (logprobs_) {
      AppendLogprobs(choice.logprobs, out);
    } else {
      out->append("null");
    }
    fmt::format_to(std::back_inserter(*out), ",\"finish_reason\":\"{}\"}}", NameOf(choice.reason));
  }

  const AnswerIdentity identity_;
  const std::string chunk_head_;
  const bool include_usage_, logprobs_;
  std::vector<bool> begun_;  // a choice
};

}  // namespace

std::unique_ptr<AnswerWriter> NewChatWriter(AnswerIdentity identity, bool include_usage,
                                            bool logprobs) {
  return std::make_unique<ChatWriter>(std::move(identity), include_usage, logprobs);
}

}  // namespace evenkeel
