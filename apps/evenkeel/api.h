// The verbs' side of a running server's HTTP API.
//
// Contract: a call that fails writes one message to stderr (what was asked, what the server said;
//   how to start a server when none answers) and throws CLI::RuntimeError with the exit code of
//   commands.h.
// Thread-safety: main thread only.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/settings.h"
#include "core/status.h"

namespace CLI {
class App;
}

namespace evenkeel {

struct HttpAnswer;
struct HttpCall;

class Api {
 public:
  // Adds `--server`, `--ca-file`, `--api-key-file` and `--timeout` to `verb`; they are resolved when a call is made.
  void AddFlags(CLI::App& verb);

  // The answer's JSON. `target` begins with "/".
  nlohmann::ordered_json Get(const std::string& target) const;
  nlohmann::ordered_json Post(const std::string& target, const nlohmann::ordered_json& body) const;
  // As Post(); `on_wait` is called on this thread, about twice a second with true while the answer is awaited, and with false when it is over,
  // before any message.
  nlohmann::ordered_json Post(const std::string& target, const nlohmann::ordered_json& body,
                              const std::function<void(bool waiting)>& on_wait) const;
  // The answer's body as it came.
  std::string GetBytes(const std::string& target) const;
  void Delete(const std::string& target) const;
  // As GetBytes(), but a failure is an answer, for verbs that try again; wrong flags still end the program.
  // `patience` is the time limit unless --timeout was given.
  Result<std::string> TryGetBytes(const std::string& target, Duration patience) const;

  // Posts `body` and hands on the data of each server-sent event. `stopped` is asked often: once it says true, the call ends with kCancelled.
  // --timeout bounds the silence between two events here. Errors: kUnavailable when nobody answers; what the server said as kInternal.
  Status StreamEvents(const std::string& target, const nlohmann::ordered_json& body,
                      const std::function<void(std::string_view)>& on_data,
                      const std::function<bool()>& stopped) const;
  // Ends the program with the message and the exit code for a call that failed.
  [[noreturn]] static void FailWith(const Status& status);

  std::string server() const;  // "http://127.0.0.1:8000"

 private:
  Settings settings() const;  // `server`, `tls.ca_file`: as flags, environment and files have them
  std::string Call(const std::string& method, const std::string& target, const std::string& body,
                   const std::function<void(bool waiting)>& on_wait = {}) const;

  void Address(HttpCall* call, Duration patience) const;  // fills in server, key and time limit
  Result<HttpAnswer> Ask(HttpCall call, Duration patience) const;

  std::string server_flag_;
  std::string ca_file_flag_;
  std::string key_file_flag_;
  std::string timeout_flag_;
};

// Writes "evenkeel: message" to stderr and throws CLI::RuntimeError(code).
[[noreturn]] void Fail(int code, const std::string& message);

// `name` escaped for a URL's path. Fails with kExitUsage when it is empty.
std::string PathPart(const std::string& name);

}  // namespace evenkeel
