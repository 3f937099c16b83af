// The Open Inference Protocol over HTTP, with Triton's extensions: everything under /v2, and the
// health and metrics pages.
//
// Contract: Handle() answers if it knows the path and returns true; else it leaves the exchange
//   alone and returns false. Unmodified tritonclient and perf_analyzer work against it.
// Differs from Triton: a server or model that is not ready is 503 (there 400), an unknown model 404
//   (there 400).
// Thread-safety: thread-safe.
#pragma once

#include <mutex>

#include "frontends/http_path.h"
#include "frontends/service.h"
#include "net/http_message.h"

namespace evenkeel {

class KServeHttp {
 public:
  explicit KServeHttp(Service& service) : service_(service) {}
  bool Handle(const HttpPath& path, HttpExchange& exchange);

 private:
  bool HandleModels(const HttpPath& path, HttpExchange& exchange);
  bool HandleModel(std::string_view name, std::string_view version, std::string_view verb,
                   bool more, HttpExchange& exchange);
  bool HandleRepository(const HttpPath& path, HttpExchange& exchange);
  bool HandlePages(const HttpPath& path, HttpExchange& exchange);
  void Health(bool good, std::string_view key, HttpExchange& exchange);
  void ModelReady(std::string_view name, std::string_view version, HttpExchange& exchange);
  void Metadata(std::string_view name, std::string_view version, HttpExchange& exchange);
  void Batching(std::string_view name, std::string_view version, HttpExchange& exchange);
  void Config(std::string_view name, std::string_view version, HttpExchange& exchange);
  void Statistics(std::string_view name, std::string_view version, HttpExchange& exchange);
  void RepositoryIndex(HttpExchange& exchange);
  void Load(std::string_view name, HttpExchange& exchange);
  void Unload(std::string_view name, HttpExchange& exchange);
  void Logging(HttpExchange& exchange);
  void Trace(HttpExchange& exchange);
  void ReadyPage(HttpExchange& exchange);

  Service& service_;
  std::mutex mutex_;
  struct LogSettings {
    bool info = true, warning = true, error = true;
    uint64_t verbose_level = 0;
  } log_;  // guarded by mutex_
};

}  // namespace evenkeel
