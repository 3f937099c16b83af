// The Open Inference Protocol over HTTP, with Triton's extensions: everything under /v2, and the
// health and metrics pages.
//
// Contract: Handle() answers if it knows the path and returns true; else it leaves the exchange
//   alone and returns false. Unmodified tritonclient and perf_analyzer work against it.
// Differs from Triton: a server or model that is not ready is 503 (there 400), an unknown model 404
//   (there 400).
// Thread-safety: as said at each class.
#pragma once

#include <cstdint>
#include <mutex>

#include "frontends/guarded_service.h"
#include "frontends/http_path.h"
#include "net/http_message.h"

namespace evenkeel {

// What /v2/logging was last told; of the router, for all its requests. Thread-safe.
class HttpLogSettings {
 public:
  struct Values {
    bool info = true, warning = true, error = true;
    uint64_t verbose_level = 0;
  };
  Values Get() const {
    const std::lock_guard lock(mutex_);
    return values_;
  }
  void Set(const Values& values) {
    const std::lock_guard lock(mutex_);
    values_ = values;
  }

 private:
  mutable std::mutex mutex_;
  Values values_;  // guarded by mutex_
};

// For one request; single-owner.
class KServeHttp {
 public:
  KServeHttp(GuardedService& service, HttpLogSettings& log_settings)
      : service_(service), log_settings_(log_settings) {}
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
  void Metrics(HttpExchange& exchange);

  GuardedService& service_;
  HttpLogSettings& log_settings_;
};

}  // namespace evenkeel
