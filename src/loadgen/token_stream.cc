#include "loadgen/token_stream.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/parse.h"

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

constexpr int64_t kMostCounted = int64_t{1} << 40;

const json* Member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(name);
  return at == object.end() ? nullptr : &*at;
}

bool HasText(const json& object, const char* name) {
  const json* text = Member(object, name);
  return text != nullptr && text->is_string() && !text->get_ref<const std::string&>().empty();
}

// A choice of a completion has "text", one of a chat "delta".
bool TellsToken(const json& choice) {
  if (HasText(choice, "text")) return true;
  const json* delta = Member(choice, "delta");
  if (delta == nullptr) return false;
  const json* tools = Member(*delta, "tool_calls");
  return HasText(*delta, "content") || HasText(*delta, "reasoning_content") ||
         (tools != nullptr && tools->is_array() && !tools->empty());
}

std::optional<uint64_t> CountIn(const json& object, const char* name) {
  const json* count = Member(object, name);
  if (count == nullptr || !count->is_number_integer()) return std::nullopt;
  const auto value = count->get<int64_t>();
  if (value < 0 || value > kMostCounted) return std::nullopt;
  return static_cast<uint64_t>(value);
}

// {"error":{"message":...}}, or what a server makes of it.
std::string ErrorText(const json& error) {
  const json* message = Member(error, "message");
  if (message != nullptr && message->is_string()) return message->get<std::string>();
  return error.dump(-1, ' ', true, json::error_handler_t::replace);
}

}  // namespace

bool TokenStream::Feed(std::string_view bytes, Duration now) {
  now_ = now;
  if (!error_.empty()) return false;
  const Status status = reader_.Feed(bytes, [this](std::string_view data) { OnEvent(data); });
  if (!status.ok() && error_.empty()) error_ = status.message();
  return error_.empty();
}

void TokenStream::OnEvent(std::string_view data) {
  if (!error_.empty() || done_) return;
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) {
    error_ = "expected events of JSON objects, got " + Excerpt(data);
    return;
  }
  if (const json* error = Member(event, "error"); error != nullptr && !error->is_null()) {
    error_ = "the stream ended with an error: " + ErrorText(*error);
    return;
  }
  if (const json* usage = Member(event, "usage"); usage != nullptr && usage->is_object()) {
    output_ = CountIn(*usage, "completion_tokens");
    prompt_ = CountIn(*usage, "prompt_tokens").value_or(0);
    if (const json* details = Member(*usage, "prompt_tokens_details"))
      cached_ = CountIn(*details, "cached_tokens").value_or(0);
  }
  const json* choices = Member(event, "choices");
  if (choices == nullptr || !choices->is_array()) return;
  for (const json& choice : *choices) {
    if (!TellsToken(choice)) continue;
    if (seen_ == kMostTokens) {
      error_ = "an answer of more tokens than are counted";
      return;
    }
    if (first_) gaps_.push_back(now_ - last_);
    if (!first_) first_ = now_;
    last_ = now_;
    ++seen_;
  }
}

Duration TokenStream::MeanGap() const {
  const uint64_t tokens = output_tokens();
  if (!first_ || tokens < 2) return Duration::zero();
  return (last_ - *first_) / static_cast<int64_t>(tokens - 1);
}

}  // namespace evenkeel::loadgen
