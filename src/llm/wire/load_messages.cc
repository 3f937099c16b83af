#include "llm/wire/load_messages.h"

#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/sequence_state.h"
#include "core/strict_json.h"
#include "llm/wire/byte_codec.h"
#include "llm/wire/text_messages.h"

namespace evenkeel {
namespace {

using nlohmann::json;

constexpr int kDeepest = 16;  // levels of a control message
constexpr int kMostSlots = 256;
constexpr int64_t kMostTokens = int64_t{1} << 30;

Result<json> Parse(std::string_view message, std::string_view op) {
  auto strict = ParseStrictObject<json>(message, kDeepest, "a control message");
  if (!strict.ok()) return Internal("{}", strict.status().message());
  json& parsed = *strict;
  if (!parsed.contains("op") || !parsed["op"].is_string())
    return Internal("a control message that is no JSON object with an \"op\"");
  if (op == "loaded" && parsed["op"] == "failed") {
    const int64_t code = parsed.value("code", json()).is_number_integer()
                             ? parsed["code"].get<int64_t>()
                             : static_cast<int64_t>(Code::kInternal);
    std::string text = parsed.value("message", json()).is_string()
                           ? parsed["message"].get<std::string>()
                           : std::string("no reason given");
    text.resize(std::min<size_t>(text.size(), 1000));
    for (char& c : text) {
      if (c < 0x20 || c > 0x7e) c = '?';
    }
    const bool known = code > 0 && code < kCodeCount;
    return Status(known ? static_cast<Code>(code) : Code::kInternal, text);
  }
  if (parsed["op"] != op) return Internal("expected a message '{}'", op);
  return parsed;
}

// An integer field within [lo, hi]; else `ok` becomes false.
int64_t Integer(const json& object, const char* key, int64_t lo, int64_t hi, bool* ok) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number_integer()) {
    *ok = false;
    return lo;
  }
  const int64_t value = at->get<int64_t>();
  if (value < lo || value > hi) *ok = false;
  return value;
}

bool Flag(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_boolean() && at->get<bool>();
}

std::string Text(const json& object, const char* key, bool* ok) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_string()) {
    *ok = false;
    return {};
  }
  return at->get<std::string>();
}

}  // namespace

std::string Encode(const LlmLoad& load) {
  const json message = {{"op", "load"},
                        {"path", load.path},
                        {"threads", load.threads},
                        {"waits", load.waits},
                        {"slots", load.slots},
                        {"cells", load.cells},
                        {"context", load.context},
                        {"inter_token_ns", load.inter_token.count()},
                        {"vocabulary_only", load.vocabulary_only},
                        {"without_chat", load.without_chat},
                        {"pooling", load.pooling ? NameOf(*load.pooling) : ""}};
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string Encode(const LlmLoaded& loaded) {
  json facts = json::parse(loaded.facts, nullptr, false);
  if (!facts.is_object()) facts = json::object();
  const json message = {{"op", "loaded"},
                        {"context", loaded.context},
                        {"cells", loaded.cells},
                        {"slots", loaded.slots},
                        {"vocabulary", loaded.vocabulary},
                        {"chat", loaded.chat},
                        {"pooling", NameOf(loaded.pooling)},
                        {"vector_size", loaded.vector_size},
                        {"architecture", loaded.architecture},
                        {"state_kind", loaded.state_kind},
                        {"cell_bytes", loaded.cell_bytes},
                        {"engine", facts}};
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<LlmLoad> DecodeLlmLoad(std::string_view message) {
  auto parsed = Parse(message, "load");
  if (!parsed.ok()) return parsed.status();
  LlmLoad load;
  bool ok = true;
  load.path = Text(*parsed, "path", &ok);
  load.threads = static_cast<int>(Integer(*parsed, "threads", 1, 512, &ok));
  load.waits = Flag(*parsed, "waits");
  load.slots = static_cast<int>(Integer(*parsed, "slots", 1, kMostSlots, &ok));
  load.cells = Integer(*parsed, "cells", 0, kMostTokens, &ok);
  load.context = static_cast<int>(Integer(*parsed, "context", 0, kMostTokens, &ok));
  load.inter_token = Duration(Integer(*parsed, "inter_token_ns", 0, INT64_MAX, &ok));
  load.vocabulary_only = Flag(*parsed, "vocabulary_only");
  if (parsed->contains("without_chat")) load.without_chat = Text(*parsed, "without_chat", &ok);
  const std::string pooling = Text(*parsed, "pooling", &ok);
  load.pooling = PoolingOf(pooling);
  ok = ok && (pooling.empty() || load.pooling.has_value());
  if (!ok || load.path.empty()) return Internal("a message 'load' that breaks its rules");
  return load;
}

Result<LlmLoaded> DecodeLlmLoaded(std::string_view message) {
  auto parsed = Parse(message, "loaded");
  if (!parsed.ok()) return parsed.status();
  LlmLoaded loaded;
  bool ok = true;
  loaded.context = static_cast<int>(Integer(*parsed, "context", 1, kMostTokens, &ok));
  loaded.cells = static_cast<int>(Integer(*parsed, "cells", 0, kMostTokens, &ok));
  loaded.slots = static_cast<int>(Integer(*parsed, "slots", 0, kMostSlots, &ok));
  loaded.vocabulary = static_cast<int>(Integer(*parsed, "vocabulary", 1, kMostTokens, &ok));
  loaded.chat = Flag(*parsed, "chat");
  const auto pooling = PoolingOf(Text(*parsed, "pooling", &ok));
  ok = ok && pooling.has_value();
  loaded.pooling = pooling.value_or(Pooling::kNone);
  loaded.vector_size = static_cast<int>(Integer(*parsed, "vector_size", 0, kLongestVector, &ok));
  loaded.architecture = Text(*parsed, "architecture", &ok);
  if (parsed->contains("state_kind")) loaded.state_kind = Text(*parsed, "state_kind", &ok);
  if (parsed->contains("cell_bytes"))
    loaded.cell_bytes = Integer(*parsed, "cell_bytes", 0, kMostCellBytes, &ok);
  // It goes to other nodes as it is.
  ok = ok && loaded.state_kind.size() <= kLongestStateKind &&
       PrintableText(loaded.state_kind) == loaded.state_kind;
  const auto facts = parsed->find("engine");
  loaded.facts = facts != parsed->end() && facts->is_object()
                     ? facts->dump(-1, ' ', false, json::error_handler_t::replace)
                     : "{}";
  if (!ok) return Internal("a message 'loaded' that breaks its rules");
  return loaded;
}

}  // namespace evenkeel
