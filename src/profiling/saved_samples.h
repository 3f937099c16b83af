// The sampled inputs that a running or earlier daemon left on disk, read without taking part in their upkeep.
//
// Contract: nothing is renamed, removed or locked (a daemon may be writing there); a file that is damaged, or fits the model no more,
//   is passed over with a line in `warnings`. Of several signatures the one with the most rows seen is taken.
// Thread-safety: thread-safe. Source: A1, A4.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "profiling/row_pool.h"

namespace evenkeel {

// From FOLDER/MODEL/*.safetensors.
std::optional<RowPool> ReadSavedSamples(const std::string& folder, const std::string& model,
                                        const Signature& signature,
                                        std::vector<std::string>* warnings);
// From one file, as `evenkeel samples export` writes it for a model with one signature. Errors: kNotFound, kInvalidArgument.
Result<RowPool> ReadSampleFile(const std::string& path, const Signature& signature);

}  // namespace evenkeel
