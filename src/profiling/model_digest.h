// Which model a load table was measured with: a digest of what its files hold.
//
// Contract: SHA-256 over the names and bytes of the files that belong to the model: the file itself and, for a model with a folder of its
//   own, every regular file in it but settings and labels (evenkeel.yaml, config.pbtxt, *.txt); for a bare file also its weights
//   beside it (x.xml: x.bin). 16 hexadecimal digits. Blocks for as long as the files take to read.
// Errors: kNotFound, kUnavailable. Thread-safety: thread-safe.
#pragma once

#include <string>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

Result<std::string> ModelDigest(const ModelConfig& model);

// Sizes and times of change of the same files: quick to read, and enough to tell at a restart that nothing was touched. Of a model that
// leaves its precision open also the tolerance: what was chosen under another one does not stand.
Result<std::string> ModelStamp(const ModelConfig& model);

}  // namespace evenkeel
