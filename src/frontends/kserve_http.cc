#include "frontends/kserve_http.h"

#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/log.h"
#include "core/strict_json.h"
#include "frontends/generate_http.h"
#include "frontends/http_documents.h"
#include "frontends/http_infer.h"
#include "frontends/http_reply.h"
#include "frontends/routes.h"

namespace evenkeel {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = size_t{2} << 20;  // a model's settings may have 1 MiB, here as a text
constexpr int kDeepest = 8;

// Control documents are small and rare: an empty body counts as {}.
Result<json> ReadObject(const HttpExchange& exchange) {
  const std::span<const std::byte> body = exchange.body();
  if (body.empty()) return json::object();
  if (body.size() > kMostBytes) {
    return Status(Code::kTooLarge, fmt::format("the body has {} bytes, expected at most {}",
                                               body.size(), kMostBytes));
  }
  return ParseStrictObject({reinterpret_cast<const char*>(body.data()), body.size()}, kDeepest,
                           "the body");
}

// The value of `key`, or `otherwise` when there is none. A reference: a copy would be made before its type is known.
const json& ValueOf(const json& object, const char* key, const json& otherwise) {
  const auto at = object.find(key);
  return at == object.end() ? otherwise : *at;
}

}  // namespace

bool KServeHttp::Handle(const HttpPath& path, HttpExchange& exchange) {
  if (path[0] != "v2") return HandlePages(path, exchange);
  if (path[1] == "models") return HandleModels(path, exchange);
  if (path[1] == "repository") return HandleRepository(path, exchange);
  if (path.size() == 1) {
    if (RequireMethod(exchange, {HttpMethod::kGet})) ReplyJson(exchange, ServerDocument());
    return true;
  }
  if (path[1] == "health" && path.size() == 3 && (path[2] == "live" || path[2] == "ready")) {
    Health(path[2] == "live" ? service_.Live() : service_.Ready(), path[2], exchange);
    return true;
  }
  if (path[1] == "logging" && path.size() == 2) {
    Logging(exchange);
    return true;
  }
  if (path[1] == "trace" && path[2] == "setting" && path.size() == 3) {
    Trace(exchange);
    return true;
  }
  if (path[1] == "systemsharedmemory" || path[1] == "cudasharedmemory") {
    ReplyError(exchange,
               Unsupported("shared memory is not supported: send tensors in the request"));
    return true;
  }
  return false;
}

bool KServeHttp::HandleModels(const HttpPath& path, HttpExchange& exchange) {
  if (path.size() == 3 && path[2] == "stats") {
    Statistics("", "", exchange);
    return true;
  }
  if (path.size() < 3) return false;
  if (path[3] == "versions" && path.size() >= 5) {
    return HandleModel(path[2], path[4], path[5], path.size() > 6, exchange);
  }
  if (path.size() == 5 && path[3] == "trace" && path[4] == "setting") {
    const Result<bool> known = service_.ModelReady(path[2], "");
    if (known.ok()) {
      Trace(exchange);
    } else {
      ReplyError(exchange, known.status());
    }
    return true;
  }
  return HandleModel(path[2], "", path[3], path.size() > 4, exchange);
}

bool KServeHttp::HandleModel(std::string_view name, std::string_view version, std::string_view verb,
                             bool more, HttpExchange& exchange) {
  if (more) return false;
  if (verb == "infer") {
    if (RequireMethod(exchange, {HttpMethod::kPost}))
      HandleInfer(service_, name, version, exchange);
    return true;
  }
  if (verb == "generate" || verb == "generate_stream") {
    HandleGenerate(service_, name, version, verb == "generate_stream", exchange);
    return true;
  }
  if (verb.empty()) {
    Metadata(name, version, exchange);
  } else if (verb == "ready") {
    ModelReady(name, version, exchange);
  } else if (verb == "config") {
    Config(name, version, exchange);
  } else if (verb == "batching") {
    Batching(name, version, exchange);
  } else if (verb == "stats") {
    Statistics(name, version, exchange);
  } else {
    return false;
  }
  return true;
}

bool KServeHttp::HandleRepository(const HttpPath& path, HttpExchange& exchange) {
  if (path.size() == 3 && path[2] == "index") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) RepositoryIndex(exchange);
    return true;
  }
  if (path.size() != 5 || path[2] != "models") return false;
  if (path[4] == "load") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) Load(path[3], exchange);
    return true;
  }
  if (path[4] == "unload") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) Unload(path[3], exchange);
    return true;
  }
  return false;
}

bool KServeHttp::HandlePages(const HttpPath& path, HttpExchange& exchange) {
  if (path.size() != 1) return false;
  if (path[0] == "livez" || path[0] == "health") {
    const bool good = path[0] == "livez" ? service_.Live() : service_.Ready();
    if (RequireMethod(exchange, {HttpMethod::kGet})) {
      ReplyText(exchange, good ? "ok\n" : "not ready\n", "text/plain", good ? 200 : 503);
    }
  } else if (path[0] == "readyz") {
    ReadyPage(exchange);
  } else if (path[0] == "metrics") {
    Metrics(exchange);
  } else {
    return false;
  }
  return true;
}

void KServeHttp::Health(bool good, std::string_view key, HttpExchange& exchange) {
  if (RequireMethod(exchange, {HttpMethod::kGet}))
    ReplyJson(exchange, {{key, good}}, good ? 200 : 503);
}

void KServeHttp::ReadyPage(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const bool ready = service_.Ready();
  std::string text;
  if (WantsVerbose(exchange.head().query)) {
    const Result<std::vector<std::string>> why = service_.WhyNotReady();
    if (!why.ok()) return ReplyError(exchange, why.status());
    for (const std::string& line : *why) text.append("[-] ").append(line).append("\n");
  }
  text.append(ready ? "ok\n" : "not ready\n");
  ReplyText(exchange, std::move(text), "text/plain", ready ? 200 : 503);
}

void KServeHttp::Metrics(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  Result<std::string> text = service_.MetricsText();
  if (!text.ok()) return ReplyError(exchange, text.status());
  ReplyText(exchange, std::move(*text), "text/plain; version=0.0.4; charset=utf-8");
}

void KServeHttp::ModelReady(std::string_view name, std::string_view version,
                            HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<bool> ready = service_.ModelReady(name, version);
  if (!ready.ok()) {
    ReplyError(exchange, ready.status());
  } else if (!*ready) {
    ReplyError(exchange, Unavailable("model '{}' is not ready", name));
  } else {
    ReplyJson(exchange, {{"name", name}, {"ready", true}});
  }
}

void KServeHttp::Metadata(std::string_view name, std::string_view version, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<ModelMetadata> metadata = service_.Metadata(name, version);
  if (metadata.ok()) {
    ReplyJson(exchange, MetadataDocument(*metadata));
  } else {
    ReplyError(exchange, metadata.status());
  }
}

void KServeHttp::Batching(std::string_view name, std::string_view version, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<json> batching = service_.DescribeBatching(name, version);
  batching.ok() ? ReplyJson(exchange, *batching) : ReplyError(exchange, batching.status());
}

void KServeHttp::Config(std::string_view name, std::string_view version, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<json> config = service_.Config(name, version);
  if (config.ok()) {
    ReplyJson(exchange, *config);
  } else {
    ReplyError(exchange, config.status());
  }
}

void KServeHttp::Statistics(std::string_view name, std::string_view version,
                            HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<std::vector<ModelStatistics>> models = service_.Statistics(name, version);
  if (models.ok()) {
    ReplyJson(exchange, StatisticsDocument(*models));
  } else {
    ReplyError(exchange, models.status());
  }
}

void KServeHttp::RepositoryIndex(HttpExchange& exchange) {
  const Result<json> body = ReadObject(exchange);
  if (!body.ok()) return ReplyError(exchange, body.status());
  const json no = false;
  const json& ready = ValueOf(*body, "ready", no);
  if (!ready.is_boolean())
    return ReplyError(exchange, InvalidArgument("'ready': expected true or false"));
  ReplyJson(exchange, IndexDocument(service_.RepositoryIndex(ready.get<bool>())));
}

void KServeHttp::Load(std::string_view name, HttpExchange& exchange) {
  const Result<json> body = ReadObject(exchange);
  if (!body.ok()) return ReplyError(exchange, body.status());
  std::string config;
  const json none = json::object();
  const json& parameters = ValueOf(*body, "parameters", none);
  if (!parameters.is_object())
    return ReplyError(exchange, InvalidArgument("'parameters': expected an object"));
  for (const auto& [key, value] : parameters.items()) {
    if (key.starts_with("file:")) {
      return ReplyError(
          exchange, Unsupported("parameter '{}': model files cannot be sent in a request", key));
    }
    if (key != "config") continue;
    if (!value.is_string())
      return ReplyError(exchange, InvalidArgument("parameter 'config': expected a string"));
    config = value.get<std::string>();
  }
  LogInfo("load of model '{}' asked for over HTTP{}", HeaderSafe(name), service_.access().By());
  service_.LoadAsync(std::string(name), std::move(config), [&exchange](const Status& status) {
    status.ok() ? ReplyText(exchange, "", "application/json") : ReplyError(exchange, status);
  });
}

void KServeHttp::Unload(std::string_view name, HttpExchange& exchange) {
  const Result<json> body = ReadObject(exchange);
  if (!body.ok()) return ReplyError(exchange, body.status());
  LogInfo("unload of model '{}' asked for over HTTP{}", HeaderSafe(name), service_.access().By());
  service_.UnloadAsync(std::string(name), [&exchange](const Status& status) {
    status.ok() ? ReplyText(exchange, "", "application/json") : ReplyError(exchange, status);
  });
}

// Log levels are nested here, so info=false also hides what is below it.
void KServeHttp::Logging(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet, HttpMethod::kPost})) return;
  HttpLogSettings::Values settings = log_settings_.Get();
  if (exchange.head().method == HttpMethod::kPost) {
    const Result<json> body = ReadObject(exchange);
    if (!body.ok()) return ReplyError(exchange, body.status());
    for (const auto& [key, value] : body->items()) {
      const bool flag = value.is_boolean();
      if (key == "log_info" && flag) {
        settings.info = value.get<bool>();
      } else if (key == "log_warning" && flag) {
        settings.warning = value.get<bool>();
      } else if (key == "log_error" && flag) {
        settings.error = value.get<bool>();
      } else if (key == "log_verbose_level" && value.is_number_unsigned()) {
        settings.verbose_level = value.get<uint64_t>();
      } else if (key == "log_file" && value == "") {
        continue;
      } else if (key == "log_format" && value == "default") {
        continue;
      } else {
        return ReplyError(
            exchange,
            InvalidArgument("log setting '{}' is unknown, or cannot have this value", key));
      }
    }
    const auto level = settings.verbose_level > 0 ? spdlog::level::debug
                       : settings.info            ? spdlog::level::info
                       : settings.warning         ? spdlog::level::warn
                                                  : spdlog::level::err;
    LogInfo("log level {} asked for over HTTP{}",
            std::string_view(spdlog::level::to_string_view(level).data()), service_.access().By());
    // Not InitLogging(): it replaces the logger, under the hands of threads that are writing a line.
    spdlog::set_level(level);
    log_settings_.Set(settings);
  }
  ReplyJson(exchange, {{"log_file", ""},
                       {"log_info", settings.info},
                       {"log_warning", settings.warning},
                       {"log_error", settings.error},
                       {"log_verbose_level", settings.verbose_level},
                       {"log_format", "default"}});
}

// Traces are not collected: the settings can be read, and set to what they are.
void KServeHttp::Trace(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet, HttpMethod::kPost})) return;
  const json settings = {{"trace_level", {"OFF"}}, {"trace_rate", "1000"},
                         {"trace_count", "-1"},    {"log_frequency", "0"},
                         {"trace_file", ""},       {"trace_mode", "triton"}};
  if (exchange.head().method == HttpMethod::kPost) {
    const Result<json> body = ReadObject(exchange);
    if (!body.ok()) return ReplyError(exchange, body.status());
    for (const auto& [key, value] : body->items()) {
      if (!settings.contains(key))
        return ReplyError(exchange, InvalidArgument("unknown trace setting '{}'", key));
      const json now = settings[key];
      const bool same = value.is_null() || value == now || (now.is_array() && value == now[0]);
      if (!same)
        return ReplyError(exchange,
                          Unsupported("trace setting '{}': tracing is not supported", key));
    }
  }
  ReplyJson(exchange, settings);
}

}  // namespace evenkeel
