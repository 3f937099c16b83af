// Typed, range-checked reading of a YamlNode: each method stores the value or says what was
// expected and what came.
//
// Contract: on error the target keeps its value. `key` is the dotted path shown in messages
// ("batching.max_delay"). Thread-safety: thread-compatible.
#pragma once

#include <concepts>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "repository/yaml_tree.h"

namespace evenkeel {

class YamlReader {
 public:
  explicit YamlReader(std::string source) : source_(std::move(source)) {}

  // What to do with one key of a map.
  struct Rule {
    std::string_view key;
    std::function<Status(const YamlNode& value, const std::string& path)> read;
  };

  // Applies the rule of every key that is there. `path` is the map's own path, "" for the root.
  Status ReadMap(const YamlNode& node, const std::string& path, std::span<const Rule> rules) const;

  Status ReadText(const YamlNode& node, const std::string& key, size_t max_bytes,
                  std::string* out) const;
  Status ReadInt64(const YamlNode& node, const std::string& key, int64_t lo, int64_t hi,
                   int64_t* out) const;
  Status ReadInt(const YamlNode& node, const std::string& key, int lo, int hi, int* out) const;
  Status ReadNumber(const YamlNode& node, const std::string& key, double lo, double hi,
                    double* out) const;
  Status ReadDuration(const YamlNode& node, const std::string& key, Duration lo, Duration hi,
                      Duration* out) const;
  Status ReadBytes(const YamlNode& node, const std::string& key, int64_t lo, int64_t hi,
                   int64_t* out) const;
  // The items of a list of at most `max` items.
  Result<std::span<const YamlNode>> ReadList(const YamlNode& node, const std::string& key,
                                             size_t max) const;

  template <typename Enum>
  struct Choice {
    std::string_view name;
    Enum value;
  };
  template <typename Enum>
  Status ReadChoice(const YamlNode& node, const std::string& key,
                    std::span<const Choice<Enum>> choices, Enum* out) const {
    std::vector<std::string_view> names;
    for (const Choice<Enum>& choice : choices) {
      if (node.kind == YamlNode::Kind::kScalar && node.text == choice.name) {
        *out = choice.value;
        return Status::Ok();
      }
      names.push_back(choice.name);
    }
    return NotOneOf(node, key, names);
  }

  // "SOURCE:LINE:COLUMN: key: expected WHAT, got ..."
  Status Expected(const YamlNode& node, const std::string& key, std::string_view what) const;
  // "SOURCE:LINE:COLUMN: key: MESSAGE"
  Status Error(const YamlNode& node, const std::string& key, std::string_view message) const;

 private:
  Status NotOneOf(const YamlNode& node, const std::string& key,
                  std::span<const std::string_view> names) const;

  const std::string source_;
};

}  // namespace evenkeel
