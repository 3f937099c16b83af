#include "api.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <future>
#include <nlohmann/json.hpp>

#include "client_key.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "net/http_client.h"
#include "net/sse_reader.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;
constexpr Duration kDefaultTimeout =
    std::chrono::seconds(120);  // loading a large model takes its time
constexpr std::chrono::milliseconds kTick{500};

// {"error": "..."} or {"error": {"message": "..."}}; else the beginning of the body.
std::string WordsOf(const HttpAnswer& answer) {
  const Json body = Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  if (body.is_object() && body.contains("error") && body["error"].is_string()) {
    return body["error"].get<std::string>();
  }
  if (const Json error = body.is_object() ? body.value("error", Json()) : Json();
      error.is_object() && error.contains("message") && error["message"].is_string()) {
    return error["message"].get<std::string>();
  }
  return answer.body.empty()
             ? fmt::format("HTTP status {}", answer.status)
             : fmt::format("HTTP status {}: {}", answer.status, Excerpt(answer.body, 200));
}

// The server's own words, and what to do where that is known here.
std::string ErrorText(const HttpAnswer& answer) {
  constexpr const char* kGiveKey = "\nGive one: --api-key-file FILE, or EVENKEEL_API_KEY_FILE";
  return WordsOf(answer) + (answer.status == 401 ? kGiveKey : "");
}

Json ParseAnswer(const std::string& text, const std::string& server) {
  if (text.empty()) return Json::object();
  Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded())
    Fail(kExitFailed, server + " answered something that is no JSON; is it an Evenkeel server?");
  return document;
}

}  // namespace

void Fail(int code, const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "evenkeel: %s\n", Printable(message).c_str());
  throw CLI::RuntimeError(code);
}

std::string PathPart(const std::string& name) {
  if (name.empty()) Fail(kExitUsage, "a model's name cannot be empty");
  return EscapePathPart(name);
}

void Api::AddFlags(CLI::App& verb) {
  verb.add_option("--server", server_flag_,
                  "Server to ask, also EVENKEEL_SERVER [http://127.0.0.1:8000]")
      ->type_name("URL");
  verb.add_option(
          "--ca-file", ca_file_flag_,
          "Certificates to trust when that is https, also EVENKEEL_TLS_CA_FILE [the system's]")
      ->type_name("FILE");
  AddKeyFlag(verb, &key_file_flag_);
  verb.add_option("--timeout", timeout_flag_, "How long to wait for its answer [120s]")
      ->type_name("");
}

Settings Api::settings() const {
  SettingSources sources = DefaultSources();
  if (!server_flag_.empty()) sources.flags.emplace_back("server", server_flag_);
  if (!ca_file_flag_.empty()) sources.flags.emplace_back("tls.ca_file", ca_file_flag_);
  const Result<Settings> settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  return *settings;
}

std::string Api::server() const { return settings().text("server"); }

void Api::Address(HttpCall* call, Duration patience) const {
  const Settings given = settings();
  call->server = given.text("server");
  call->ca_file = given.text("tls.ca_file");
  call->bearer = ClientKey(key_file_flag_);
  // A URL that is none is said so by the call.
  if (const auto to = ParseServerUrl(call->server); to.ok() && !call->bearer.empty())
    CheckKeyStaysPrivate(to->host, to->tls);
  call->timeout = patience;
  if (!timeout_flag_.empty()) {
    const Result<Duration> timeout = ParseDuration(timeout_flag_);
    if (!timeout.ok()) Fail(kExitUsage, "--timeout: " + timeout.status().message());
    call->timeout = *timeout;
  }
}

Result<HttpAnswer> Api::Ask(HttpCall call, Duration patience) const {
  Address(&call, patience);
  return CallHttp(call);
}

void Api::FailWith(const Status& status) {
  const std::string& why = status.message();
  switch (status.code()) {
    case Code::kUnavailable:
      Fail(kExitNoServer, fmt::format("no server answers ({})\nStart one with: evenkeel serve\n"
                                      "Or name another: --server URL, EVENKEEL_SERVER",
                                      why));
    case Code::kInvalidArgument:
    case Code::kUnsupported: Fail(kExitUsage, why);
    default: Fail(kExitFailed, why);
  }
}

std::string Api::Call(const std::string& method, const std::string& target, const std::string& body,
                      const std::function<void(bool waiting)>& on_wait) const {
  HttpCall call;
  call.method = method;
  call.target = target;
  call.body = body;
  auto asked = std::async(on_wait ? std::launch::async : std::launch::deferred,
                          [&] { return Ask(std::move(call), kDefaultTimeout); });
  while (on_wait && asked.wait_for(kTick) != std::future_status::ready) on_wait(true);
  if (on_wait) on_wait(false);
  const Result<HttpAnswer> answer = asked.get();
  if (!answer.ok()) FailWith(answer.status());
  if (answer->status < 200 || answer->status > 299) Fail(kExitFailed, ErrorText(*answer));
  return answer->body;
}

Result<std::string> Api::TryGetBytes(const std::string& target, Duration patience) const {
  HttpCall call;
  call.target = target;
  Result<HttpAnswer> answer = Ask(std::move(call), patience);
  if (!answer.ok()) return answer.status();
  if (answer->status < 200 || answer->status > 299) return Internal("{}", ErrorText(*answer));
  return std::move(answer->body);
}

Status Api::StreamEvents(const std::string& target, const Json& body,
                         const std::function<void(std::string_view)>& on_data,
                         const std::function<bool()>& stopped) const {
  HttpCall call;
  call.method = "POST";
  call.target = target;
  call.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  Address(&call, kDefaultTimeout);
  SseReader events;
  Status broken;
  bool began = false;
  const auto piece = [&](std::string_view bytes) {
    began = true;
    if (broken.ok()) broken = events.Feed(bytes, on_data);
  };
  const auto over = [&] { return !broken.ok() || stopped(); };
  const Result<HttpAnswer> answer = StreamHttp(call, {piece, over});
  if (!broken.ok()) return broken;
  // There is a server, and it has broken off.
  if (!answer.ok() && began && answer.status().code() == Code::kUnavailable)
    return Internal("{}", answer.status().message());
  if (!answer.ok()) return answer.status();
  if (answer->status < 200 || answer->status > 299) return Internal("{}", ErrorText(*answer));
  return {};
}

Json Api::Get(const std::string& target) const {
  return ParseAnswer(Call("GET", target, ""), server());
}

Json Api::Post(const std::string& target, const Json& body) const { return Post(target, body, {}); }

Json Api::Post(const std::string& target, const Json& body,
               const std::function<void(bool waiting)>& on_wait) const {
  return ParseAnswer(Call("POST", target, body.dump(), on_wait), server());
}

std::string Api::GetBytes(const std::string& target) const { return Call("GET", target, ""); }

void Api::Delete(const std::string& target) const { Call("DELETE", target, ""); }

}  // namespace evenkeel
