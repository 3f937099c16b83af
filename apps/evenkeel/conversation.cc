#include "conversation.h"

#include <unistd.h>

#include <cstdio>

#include "core/format.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

std::string StringAt(const Json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

std::string SafeForTerminal(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 =
        c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    const bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    safe.push_back(c1 || control ? '?' : text[i]);
  }
  return safe;
}

Conversation::Conversation(const Api* api, ConversationOptions options)
    : api_(api), options_(std::move(options)), terminal_(::isatty(STDOUT_FILENO) == 1) {
  Clear();
}

void Conversation::Clear() {
  messages_ = Json::array();
  if (!options_.system.empty())
    messages_.push_back({{"role", "system"}, {"content", options_.system}});
}

Json Conversation::Request(const std::string& prompt) const {
  Json request = {{"model", options_.model}, {"stream", true}};
  request.update(options_.sampling);
  if (options_.verbose) request["stream_options"] = {{"include_usage", true}};
  if (options_.chat) {
    request["messages"] = messages_;
    request["messages"].push_back({{"role", "user"}, {"content", prompt}});
  } else {
    request["prompt"] = options_.system.empty() ? prompt : options_.system + "\n" + prompt;
  }
  return request;
}

Status Conversation::Say(const std::string& prompt, const std::function<bool()>& stopped) {
  answer_.clear();
  finish_reason_.clear();
  failed_ = {};
  usage_ = Json();
  asked_ = SteadyClock::Instance().Now();
  first_ = Time{};
  Status status = api_->StreamEvents(
      options_.chat ? "/v1/chat/completions" : "/v1/completions", Request(prompt),
      [this](std::string_view data) { Take(data); }, stopped);
  EndLine();
  if (status.ok()) status = failed_;
  if (options_.chat && (status.ok() || (status.code() == Code::kCancelled && !answer_.empty()))) {
    messages_.push_back({{"role", "user"}, {"content", prompt}});
    messages_.push_back({{"role", "assistant"}, {"content", answer_}});
  }
  if (!status.ok()) return status;
  if (finish_reason_ == "length")
    std::fputs("evenkeel: the answer is cut off at the limit of tokens\n", stderr);
  if (options_.verbose) PrintFigures();
  return {};
}

void Conversation::Take(std::string_view data) {
  if (data == "[DONE]") return;
  const Json event = Json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) {
    failed_ = Internal("the server sent an event that is no JSON");
    return;
  }
  if (const Json error = event.value("error", Json()); error.is_object()) {
    failed_ = Internal("{}", StringAt(error, "message"));
    return;
  }
  if (const Json usage = event.value("usage", Json()); usage.is_object()) usage_ = usage;
  const Json choices = event.value("choices", Json::array());
  if (!choices.is_array() || choices.empty()) return;
  const Json& choice = choices[0];
  if (const std::string reason = StringAt(choice, "finish_reason"); !reason.empty())
    finish_reason_ = reason;
  const Json delta = choice.is_object() ? choice.value("delta", Json()) : Json();
  const std::string text = options_.chat ? StringAt(delta, "content") : StringAt(choice, "text");
  Print(StringAt(delta, "reasoning_content"), /*thought=*/true);
  Print(text, /*thought=*/false);
  answer_ += text;
}

void Conversation::Print(std::string_view text, bool thought) {
  if (text.empty()) return;
  if (first_ == Time{}) first_ = SteadyClock::Instance().Now();
  // What a model thinks before it answers is for the eye, not for a pipe.
  if (thought && !terminal_) return;
  if (thought != thinking_) {
    EndLine();
    thinking_ = thought;
    if (thought && ColourAllowed()) std::fputs(kDim, stdout);
  }
  const std::string shown = terminal_ ? SafeForTerminal(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
  line_open_ = shown.back() != '\n';
}

void Conversation::EndLine() {
  if (std::exchange(thinking_, false) && ColourAllowed()) std::fputs(kPlain, stdout);
  if (std::exchange(line_open_, false)) std::fputs("\n", stdout);
  std::fflush(stdout);
}

void Conversation::PrintFigures() const {
  const auto count = [this](const char* key) {
    return usage_.is_object() && usage_.contains(key) && usage_[key].is_number()
               ? usage_[key].get<double>()
               : 0.0;
  };
  const double first_s = first_ == Time{} ? 0 : Seconds(first_ - asked_);
  const double rest_s = first_ == Time{} ? 0 : Seconds(SteadyClock::Instance().Now() - first_);
  const double tokens = count("completion_tokens");
  std::fprintf(stderr,
               "%.0f prompt tokens, first token after %.0f ms, %.0f tokens, %.1f tokens/s\n",
               count("prompt_tokens"), first_s * 1e3, tokens,
               rest_s > 0 && tokens > 1 ? (tokens - 1) / rest_s : 0.0);
}

}  // namespace evenkeel
