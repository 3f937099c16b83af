// evenkeel.yaml: the settings of one model, where they differ from what `base` says.
//
// Keys: name, version, engine, file, max_batch, batching {policy, max_batch, max_delay,
// preferred_sizes, max_queue_rows, max_queue_bytes}, objective, precision, tolerance, profile, class, gpu_shape,
// gpu_instances, instances, min_instances, keep_alive, threads, hard_cores, priority, hang_timeout, inputs, outputs,
// samples, language {context, sequences, cache_tokens, time_to_first_token, inter_token, pooling}. Contract: every value is checked for
// type and range; unknown and repeated keys are errors. Label files are read from `base.folder`.
// Errors: kInvalidArgument "SOURCE:LINE:COLUMN: key: expected ..., got ..."; kTooLarge over 1 MiB.
// Thread-safety: thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

struct Manifest {
  // A key of the file's outermost level, and where it stands, from 1.
  struct Key {
    std::string name;
    int line = 1;
    int column = 1;
  };

  ModelConfig config;
  std::string file;                // as written, not resolved; empty when not given
  std::optional<int64_t> version;  // also in `config`
  bool engine_given = false;
  int file_line = 0;      // where `file` stands, from 1
  std::vector<Key> keys;  // all that are given, in the file's order
};

// `source` is the file's path, for messages. `base.name`, when set, is the only name that the file
// may give.
Result<Manifest> ParseManifest(std::string_view text, const std::string& source,
                               const ModelConfig& base);

}  // namespace evenkeel
