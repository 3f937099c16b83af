// YAML read strictly into a plain tree that knows where everything stood.
//
// Use for: settings files. What makes YAML hostile or surprising is refused: anchors and aliases,
// tags, several documents, duplicate keys, keys that are no plain words, more than 1 MiB, 16 levels
// or 100,000 nodes, anything but UTF-8. Errors: kInvalidArgument (kTooLarge over 1 MiB), starting
// "SOURCE:LINE:COLUMN: ". Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMaxYamlBytes = size_t{1} << 20;

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string text;             // kScalar
  int line = 1;                 // from 1
  int column = 1;               // from 1
  std::vector<YamlNode> items;  // kList
  std::vector<Entry> entries;   // kMap, in the file's order

  // "a list", "'text'", ...: what came, for messages.
  std::string Describe() const;
};

struct YamlNode::Entry {
  std::string key;
  int line = 1;
  int column = 1;
  YamlNode value;
};

// A file without any content is an empty map. The root must be a map.
Result<YamlNode> ParseYaml(std::string_view text, const std::string& source);

// InvalidArgument("SOURCE:LINE:COLUMN: message").
Status YamlError(const std::string& source, int line, int column, std::string_view message);

}  // namespace evenkeel
