// The `data` of one tensor: JSON values to the bytes of its data type. Internal to kserve_json.
// Thread-safety: thread-safe.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <memory>
#include <span>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

// Reads `data`, flat or nested as `shape` says. The bytes are kept in `storage`. Error
// kInvalidArgument, without the tensor's name.
Result<std::span<const std::byte>> ReadJsonData(const simdjson::dom::array& data, DataType type,
                                                const Shape& shape,
                                                std::unique_ptr<std::byte[]>* storage);

}  // namespace evenkeel
