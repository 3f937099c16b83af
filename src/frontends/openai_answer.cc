#include "frontends/openai_answer.h"

#include <openssl/evp.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "core/format.h"
#include "frontends/openai_answer_parts.h"
#include "frontends/service.h"

namespace evenkeel {

void GeneratedChoice::Add(GenerationDelta delta) {
  text += delta.text;
  reasoning += delta.reasoning;
  bytes += delta.text.size() + delta.reasoning.size();
  for (ToolCallDelta& piece : delta.tool_calls) {
    ToolCallDelta* call = nullptr;
    for (ToolCallDelta& known : tool_calls) {
      if (known.index == piece.index) call = &known;
    }
    bytes += piece.arguments.size() + piece.name.size() + piece.id.size();
    if (call == nullptr) {
      tool_calls.push_back(std::move(piece));
      continue;
    }
    if (!piece.id.empty()) call->id = std::move(piece.id);
    if (!piece.name.empty()) call->name = std::move(piece.name);
    call->arguments += piece.arguments;
  }
  for (TokenLogprob& token : delta.logprobs) {
    bytes += sizeof token + token.bytes.size();
    for (const auto& [top, logprob] : token.top) bytes += sizeof(token.top[0]) + top.size();
    logprobs.push_back(std::move(token));
  }
}

AnswerIdentity NewIdentity(std::string_view prefix, std::string_view model) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {fmt::format("{}{:016x}{:08x}", prefix, random(), static_cast<uint32_t>(random())),
          std::chrono::duration_cast<std::chrono::seconds>(now).count(), std::string(model)};
}

std::string_view NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kToolCalls: return "tool_calls";
  }
  return "stop";
}

std::string UsageJson(const GenerationUsage& usage) {
  return fmt::format(
      R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}})",
      usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens,
      usage.cached_tokens);
}

void AppendLogprob(float value, std::string* out) {
  fmt::format_to(std::back_inserter(*out), "{}", std::isfinite(value) ? value : -9999.0F);
}

std::string AnswerHead(const AnswerIdentity& identity, std::string_view object) {
  std::string out = fmt::format(R"({{"id":"{}","object":"{}","created":{},"model":)", identity.id,
                                object, identity.created_s);
  AppendJsonString(identity.model, &out);
  return out.append(R"(,"system_fingerprint":"evenkeel-)")
      .append(ServerVersion())
      .append(R"(","choices":[)");
}

std::string SseEvent(std::string_view json) { return fmt::format("data: {}\n\n", json); }

std::string EmbeddingsJson(const std::vector<std::vector<float>>& rows, int prompt_tokens,
                           std::string_view model, bool base64) {
  std::string out = R"({"object":"list","data":[)";
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<float>& row = rows[i];
    out.append(i > 0 ? "," : "").append(R"({"object":"embedding","embedding":)");
    if (base64) {
      const size_t bytes = row.size() * sizeof(float);
      std::string text((bytes + 2) / 3 * 4 + 1, '\0');
      const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                         reinterpret_cast<const unsigned char*>(row.data()),
                                         static_cast<int>(bytes));
      text.resize(static_cast<size_t>(size));
      out.append("\"").append(text).append("\"");
    } else {
      out.push_back('[');
      for (size_t j = 0; j < row.size(); ++j) {
        if (j > 0) out.push_back(',');
        // JSON has no infinity; a vector with one is of no use, but must not break the reader.
        fmt::format_to(std::back_inserter(out), "{}", std::isfinite(row[j]) ? row[j] : 0.0F);
      }
      out.push_back(']');
    }
    fmt::format_to(std::back_inserter(out), ",\"index\":{}}}", i);
  }
  out.append("],\"model\":");
  AppendJsonString(model, &out);
  fmt::format_to(std::back_inserter(out),
                 R"(,"usage":{{"prompt_tokens":{0},"total_tokens":{0}}}}})", prompt_tokens);
  return out;
}

std::vector<std::vector<float>> Shortened(const std::vector<std::vector<float>>& rows,
                                          int numbers) {
  std::vector<std::vector<float>> out = rows;
  for (std::vector<float>& row : out) {
    if (numbers <= 0 || static_cast<size_t>(numbers) >= row.size()) continue;
    row.resize(static_cast<size_t>(numbers));
    const double length = std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
    if (length <= 0) continue;
    for (float& number : row) number = static_cast<float>(number / length);
  }
  return out;
}

std::string ModelJson(const LanguageModelInfo& model) {
  std::string out = "{\"id\":";
  AppendJsonString(model.name, &out);
  fmt::format_to(std::back_inserter(out),
                 R"(,"object":"model","created":{},"owned_by":"evenkeel","context_window":{})",
                 model.created_s, model.context_tokens);
  out.append(",\"architecture\":");
  AppendJsonString(model.architecture, &out);
  fmt::format_to(std::back_inserter(out),
                 R"(,"capabilities":{{"completions":{},"chat":{},"embeddings":{},"rerank":{}}}}})",
                 model.generates, model.chat, model.embeddings, model.ranks);
  return out;
}

std::string ModelsJson(const std::vector<LanguageModelInfo>& models) {
  std::string out = R"({"object":"list","data":[)";
  for (size_t i = 0; i < models.size(); ++i)
    out.append(i > 0 ? "," : "").append(ModelJson(models[i]));
  return out.append("]}");
}

}  // namespace evenkeel
