// What a run asks a server before it starts: what its models take, and the right answers to the
// prepared requests.
//
// Errors: kNotFound (no such model), kUnavailable, kDeadlineExceeded, kInvalidArgument (metadata
//   that cannot be used). Blocks.
// Thread-safety: thread-safe.
#pragma once

#include <string>

#include "core/status.h"
#include "loadgen/inputs.h"
#include "loadgen/load.h"

namespace evenkeel::loadgen {

Result<ModelInfo> FetchModelInfo(const LoadPlan& plan, const std::string& model);

// GET `path` of the plan's server; the body of a 200. HTTP targets only. Errors also: kUnauthenticated, kPermissionDenied.
Result<std::string> FetchBody(const LoadPlan& plan, const std::string& path);

// Sends every prepared request once, one after the other, and keeps the answers as references. Error kInvalidArgument
// when one is not answered well: then there is nothing to compare with.
Status CollectReferences(LoadPlan* plan);

}  // namespace evenkeel::loadgen
