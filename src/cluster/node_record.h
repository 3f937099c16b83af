// What a node tells the others of itself, and how it is written down.
//
// Contract: Parse takes what Write gives, and whatever else is within the bounds below; a record of a later schema is refused, unknown keys of this one too.
//   Nothing is ever decided from `started_unix_s`: nodes' clocks may differ by minutes.
// Errors: kInvalidArgument with the field, what was expected and what came; kTooLarge over kMostRecordBytes.
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostRecordBytes = 16 << 10;

struct NodeRecord {
  std::string id;  // lasting: 1 to 64 of a-z, 0-9, '-'
  std::string
      name;  // for people: 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-', the first a letter or digit
  std::vector<std::string>
      addresses;               // where other nodes reach it: "host:port", 1 to 8, the best first
  std::string fingerprint;     // of its resource vector (resource_vector.h); at most 256 bytes
  std::string version;         // of the software; 1 to 64 bytes
  int64_t started_unix_s = 0;  // for people
  // Of this run of the daemon: 16 hexadecimal digits. Tells a restarted node from a second one with the same id.
  std::string incarnation;

  bool operator==(const NodeRecord&) const = default;
};

// Whether `id` can be the id of a node or of a cluster.
bool IsNodeId(std::string_view id);
// A new incarnation, or a new id: 16 random hexadecimal digits.
std::string RandomId();

Status CheckNodeRecord(const NodeRecord& record);
// REQUIRES: CheckNodeRecord(record).ok().
std::string WriteNodeRecord(const NodeRecord& record);
Result<NodeRecord> ParseNodeRecord(std::string_view text);

}  // namespace evenkeel
