// The files that an ONNX model names for its larger tensors: checked once each, however many tensors are in one.
//
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

// What one tensor says of its external data. Numbers as written.
struct ExternalTensor {
  std::string location;
  std::string offset;  // "" means 0
  std::string length;  // "" means up to the end
};

class ExternalData {
 public:
  // Locations count from `base`, the model file's folder, and must stay in `root` (both canonical). An empty root means
  // that no external data can be there.
  ExternalData(std::string root, std::string base)
      : root_(std::move(root)), base_(std::move(base)) {}

  // Ok iff `bytes` bytes lie where the tensor says. Errors: kInvalidArgument.
  Status Check(const ExternalTensor& tensor, uint64_t bytes);

 private:
  Result<uint64_t> SizeOf(const std::string& location);

  const std::string root_;
  const std::string base_;
  std::map<std::string, uint64_t> sizes_;
};

}  // namespace evenkeel
