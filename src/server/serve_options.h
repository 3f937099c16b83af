// What `evenkeel serve` runs with, every setting resolved and range-checked (see core/settings.h for where values come from).
//
// Units: stated at each field. Thread-safety: a value.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "access/auth_mode.h"
#include "core/clock.h"
#include "core/emulated_gpu.h"
#include "core/model_config.h"
#include "server/cluster_options.h"

namespace evenkeel {

// One listener. Port 0 takes any free port (the URL that is printed says which).
struct ListenAddress {
  std::string address = "127.0.0.1";  // IPv4 or IPv6 address, no brackets
  int port = 0;                       // 0 to 65535
};

struct ServeOptions {
  // Absolute folders.
  std::string models;  // models and model folders; default $XDG_DATA_HOME/evenkeel/models
  std::string state;   // lock, samples; default $XDG_STATE_HOME/evenkeel
  std::string cache;   // compiled models, safe to delete; default $XDG_CACHE_HOME/evenkeel

  ListenAddress http{"127.0.0.1", 8000};
  ListenAddress grpc{"127.0.0.1", 8001};
  ListenAddress metrics{"127.0.0.1", 8002};
  ClusterOptions cluster;  // no name: this server is alone
  bool insecure = false;   // allows an address that is not loopback without TLS and keys
  std::string tls_cert_file, tls_key_file;  // PEM, for all three listeners; both or neither
  AuthMode auth = AuthMode::kAuto;          // whether callers need an API key

  int io_threads = 1;  // event-loop threads for HTTP; 1 to 64
  std::vector<int>
      worker_cpus;  // cores that workers are bound to; empty: all that the process may use
  int threads = 0;  // of an instance whose manifest names none; 0 to 1024, 0: as many as cores
  int min_instances = 1;  // that a model keeps without requests; 0 to 64
  Duration keep_alive =
      std::chrono::minutes(5);  // without requests, until those are left; 0 to 1 year
  int64_t memory_headroom =
      0;  // bytes that instances leave free; 0: max(5 % of the memory, 256 MiB)
  std::string runtime = "auto";  // none, process, cgroup, oci, auto; see containers/runtime.h
  bool hard_cores = false;  // of models that do not say: whole cores by quota too; see WorkerSpec
  std::optional<EmulatedGpu> emulated_gpu;  // tests and simulation: stands for an accelerator
  std::string batching =
      "auto";  // of models that do not say: auto, method, gated-greedy, greedy, none, fixed
  Duration batch_delay = std::chrono::milliseconds(5);  // `batching: fixed`; 0 to 60 s
  bool profiling = true;  // models are measured beside serving, and adopt what their tables say
  std::string profile_shapes, profile_batches;  // to measure; empty: what the host holds, 1 2 4 ...
  Duration profile_after = std::chrono::seconds(5);  // all models are ready; 0 to 1 h
  Duration profile_drift =
      std::chrono::seconds(60);  // before a model is measured again; 1 s to 24 h
  double ratio_threshold = 0.8;  // `batching: method`: A5's delta; more than 0, at most 1
  bool save_power = false;       // wait within the objectives for larger batches, to save core time
  std::string log_level = "info";  // debug, info, warning, error

  size_t max_body_bytes = size_t{64} << 20;  // of one request, after decompression; 1 KiB to 16 GiB
  int max_connections = 4096;                // HTTP connections open at once; 1 to 1,000,000
  int max_grpc_connections = 4096;           // the same of gRPC
  Duration request_timeout = std::chrono::seconds(
      30);  // HTTP: first byte of a request to its last (408 after it); 100 ms to 1 h
  Duration idle_timeout = std::chrono::seconds(120);  // of a kept-alive connection; 100 ms to 1 h
  Duration drain_timeout =
      std::chrono::seconds(30);  // at SIGTERM: accepted requests may take this long; 0 to 1 h

  SampleMode samples = SampleMode::kMemory;  // for models whose manifest says nothing
  int samples_items = 128;  // rows kept for a model and input signature; 1 to 1,000,000
  size_t samples_bytes = size_t{64}
                         << 20;  // kept for a model, all its signatures; 64 KiB to 64 GiB
  Duration samples_max_age{};  // rows older than this are dropped; 0 to 10 years, 0: kept for ever
};

}  // namespace evenkeel
