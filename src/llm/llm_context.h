// What a language model's parts need of the daemon. Outlives all of them.
// Thread-safety: the members' own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "containers/runtime.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/pooling.h"

namespace evenkeel {

struct LlmContext {
  EventLoop& loop;
  const Clock& clock;
  Runtime& runtime;
  std::string libexec;           // folder of the worker executables
  std::vector<int> worker_cpus;  // empty: the daemon's own
};

// One language model's settings.
struct LlmOptions {
  std::string name;
  std::string path;  // absolute, of the GGUF file
  int threads = 1;
  int slots = 16;        // sequences side by side
  int max_waiting = 64;  // sequences beyond those; likewise calls for vectors and scores
  Duration longest_wait =
      std::chrono::seconds(10);  // by estimate; who would wait longer is refused
  int64_t cells = 0;             // tokens of all sequences; 0: the worker's default
  int context = 0;               // tokens; 0: as trained
  Duration inter_token = std::chrono::milliseconds(50);  // objective
  std::optional<Pooling> pooling;  // of texts to vectors; unset: the file's, or by its kind
  Duration prompt_limit = std::chrono::seconds(5);  // for one template, grammar or parse
};

}  // namespace evenkeel
