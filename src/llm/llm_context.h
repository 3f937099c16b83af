// What a language model's parts need of the daemon. Outlives all of them.
// Thread-safety: the members' own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "batching/node_scheduler.h"
#include "containers/runtime.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/pooling.h"
#include "llm/llm_tables.h"

namespace evenkeel {

struct LlmContext {
  EventLoop& loop;
  const Clock& clock;
  Runtime& runtime;
  std::string libexec;            // folder of the worker executables
  std::vector<int> worker_cpus;   // empty: the daemon's own
  NodeScheduler* node = nullptr;  // whose cores steps take; null: as many as there are threads
  LlmTables* tables = nullptr;    // null: nothing is kept
  std::function<std::optional<int64_t>()> free_memory =
      {};         // bytes, less what is to stay free; empty: not known
  int cores = 1;  // of the node, where there is no `node`
  bool save_power = false;
};

// One language model's settings.
struct LlmOptions {
  std::string name;
  std::string path;    // absolute, of the GGUF file
  std::string folder;  // absolute, that it lies in, also where `path` is a link
  int threads = 1;
  bool hard_cores = false;  // its worker is held to whole cores by quota too, where the runtime can
  int slots = 16;           // sequences side by side
  int max_waiting = 64;     // sequences beyond those; likewise calls for vectors and scores
  Duration longest_wait =
      std::chrono::seconds(10);  // by estimate; who would wait longer is refused
  int64_t cells = 0;             // tokens of all sequences; 0: the worker's default
  int context = 0;               // tokens; 0: as trained
  Duration inter_token = std::chrono::milliseconds(50);  // objective
  std::optional<Pooling> pooling;  // of texts to vectors; unset: the file's, or by its kind
  // Threads, slots and cells are chosen while it serves (llm_tuner.h); else they stay as they are above.
  bool tuned = false;
  bool fixed_threads = false, fixed_slots = false, fixed_cells = false;  // by the operator
  std::optional<Duration> stated_first_token,
      stated_inter_token;  // objectives, as the operator has them
  std::optional<Duration>
      measure_after;  // without sequences, until its load table is measured; unset: never
  Duration prompt_limit = std::chrono::seconds(5);  // for one template, grammar or parse
  Duration prompt_load_limit =
      std::chrono::seconds(30);  // for vocabulary and template; longer: without the template
  Duration load_patience = std::chrono::seconds(
      10);  // with a process that ended and does not load again, at least; policy/load_patience.h
};

}  // namespace evenkeel
