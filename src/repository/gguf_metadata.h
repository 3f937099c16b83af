// The values of a GGUF file's keys, read by type and held to a range.
//
// Contract: a value of another type or out of range is an error that names the key, what was expected and what came
//   ("key 'llama.block_count': expected a whole number from 1 to 512, got 0"). Whole numbers may have any width: the engine
//   is stricter where it matters to it.
// Errors: kInvalidArgument; kTooLarge for texts.
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "repository/byte_source.h"
#include "repository/gguf_reader.h"

namespace evenkeel {

class GgufMetadata {
 public:
  // Both must outlive it.
  GgufMetadata(ByteSource& source, const GgufHeader& header) : source_(source), header_(header) {}

  // nullptr when there is no such key.
  const GgufValue* Find(std::string_view key) const;
  // The keys that begin so, ascending.
  std::vector<std::string> KeysFrom(std::string_view prefix) const;

  // nullopt when there is no such key; lo <= value <= hi.
  Result<std::optional<uint64_t>> Whole(std::string_view key, uint64_t lo, uint64_t hi) const;
  Result<uint64_t> NeedWhole(std::string_view key, uint64_t lo, uint64_t hi) const;
  // One number for all layers, or an array of one a layer; as many as layers, or empty when there is no such key. In an
  // array zeros may stand, for layers that have none.
  Result<std::vector<uint64_t>> PerLayer(std::string_view key, uint64_t layers, uint64_t lo,
                                         uint64_t hi) const;
  // Ok when there is no such key, or a FLOAT32 or FLOAT64 in the range (so not NaN).
  Status CheckReal(std::string_view key, double lo, double hi) const;
  // nullopt when there is no such key.
  Result<std::optional<std::string>> Text(std::string_view key, size_t most_bytes) const;

  // The array under `key`, which must have items of that type; nullptr when there is no such key.
  Result<const GgufValue*> Array(std::string_view key, GgufType item) const;
  // Ok when every item of an array of whole numbers lies in the range.
  Status CheckItems(std::string_view key, const GgufValue& array, uint64_t lo, uint64_t hi) const;

  // "key 'KEY': MESSAGE"
  static Status Error(std::string_view key, std::string_view message);

 private:
  // The number of type `type` at `at`, when it is in the range.
  Result<uint64_t> WholeAt(std::string_view key, GgufType type, uint64_t at, uint64_t lo,
                           uint64_t hi) const;
  Status Expected(std::string_view key, std::string_view what, const GgufValue& got) const;

  ByteSource& source_;
  const GgufHeader& header_;
};

}  // namespace evenkeel
