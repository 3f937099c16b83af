#include "repository/yaml_reader.h"

#include "core/format.h"
#include "core/parse.h"
#include "core/suggest.h"

namespace evenkeel {

Status YamlReader::ReadMap(const YamlNode& node, const std::string& path,
                           std::span<const Rule> rules) const {
  if (node.kind != YamlNode::Kind::kMap) return Expected(node, path, "a map of settings");
  for (const YamlNode::Entry& entry : node.entries) {
    const Rule* found = nullptr;
    std::vector<std::string_view> known;
    for (const Rule& rule : rules) {
      if (rule.key == entry.key) found = &rule;
      known.push_back(rule.key);
    }
    const std::string key = path.empty() ? entry.key : path + "." + entry.key;
    if (found == nullptr) {
      const std::string_view near = ClosestTo(entry.key, known);
      std::string message = fmt::format("{}: unknown key", IsUtf8(key) ? key : Excerpt(key));
      message += near.empty() ? fmt::format("; known are {}", fmt::join(known, ", "))
                              : fmt::format("; did you mean '{}'?", near);
      return YamlError(source_, entry.line, entry.column, message);
    }
    EK_RETURN_IF_ERROR(found->read(entry.value, key));
  }
  return Status::Ok();
}

Status YamlReader::ReadText(const YamlNode& node, const std::string& key, size_t max_bytes,
                            std::string* out) const {
  if (node.kind != YamlNode::Kind::kScalar || node.text.empty())
    return Expected(node, key, "a text");
  if (node.text.size() > max_bytes) {
    return Error(node, key,
                 fmt::format("{} bytes; at most {} are allowed", node.text.size(), max_bytes));
  }
  *out = node.text;
  return Status::Ok();
}

Status YamlReader::ReadInt64(const YamlNode& node, const std::string& key, int64_t lo, int64_t hi,
                             int64_t* out) const {
  if (node.kind != YamlNode::Kind::kScalar) {
    return Expected(node, key, fmt::format("a whole number from {} to {}", lo, hi));
  }
  const Result<int64_t> value = ParseInt(node.text, lo, hi);
  if (!value.ok()) return Error(node, key, value.status().message());
  *out = *value;
  return Status::Ok();
}

Status YamlReader::ReadInt(const YamlNode& node, const std::string& key, int lo, int hi,
                           int* out) const {
  int64_t value = 0;
  EK_RETURN_IF_ERROR(ReadInt64(node, key, lo, hi, &value));
  *out = static_cast<int>(value);
  return Status::Ok();
}

Status YamlReader::ReadNumber(const YamlNode& node, const std::string& key, double lo, double hi,
                              double* out) const {
  if (node.kind != YamlNode::Kind::kScalar)
    return Expected(node, key, fmt::format("a number from {} to {}", lo, hi));
  const Result<double> value = ParseNumber(node.text, lo, hi);
  if (!value.ok()) return Error(node, key, value.status().message());
  *out = *value;
  return Status::Ok();
}

Status YamlReader::ReadDuration(const YamlNode& node, const std::string& key, Duration lo,
                                Duration hi, Duration* out) const {
  if (node.kind != YamlNode::Kind::kScalar) return Expected(node, key, "a duration such as '2ms'");
  const Result<Duration> value = ParseDuration(node.text);
  if (!value.ok()) return Error(node, key, value.status().message());
  if (*value < lo || *value > hi) {
    return Expected(node, key, fmt::format("{} to {}", FormatDuration(lo), FormatDuration(hi)));
  }
  *out = *value;
  return Status::Ok();
}

Status YamlReader::ReadBytes(const YamlNode& node, const std::string& key, int64_t lo, int64_t hi,
                             int64_t* out) const {
  if (node.kind != YamlNode::Kind::kScalar) return Expected(node, key, "a size such as '256MiB'");
  const Result<int64_t> value = ParseBytes(node.text);
  if (!value.ok()) return Error(node, key, value.status().message());
  if (*value < lo || *value > hi) {
    return Expected(node, key, fmt::format("{} to {}", FormatBytes(lo), FormatBytes(hi)));
  }
  *out = *value;
  return Status::Ok();
}

Result<std::span<const YamlNode>> YamlReader::ReadList(const YamlNode& node, const std::string& key,
                                                       size_t max) const {
  if (node.kind != YamlNode::Kind::kList) return Expected(node, key, "a list");
  if (node.items.size() > max) {
    return Error(node, key,
                 fmt::format("{} items; at most {} are allowed", node.items.size(), max));
  }
  return std::span<const YamlNode>(node.items);
}

Status YamlReader::Expected(const YamlNode& node, const std::string& key,
                            std::string_view what) const {
  return Error(node, key, fmt::format("expected {}, got {}", what, node.Describe()));
}

Status YamlReader::Error(const YamlNode& node, const std::string& key,
                         std::string_view message) const {
  return YamlError(source_, node.line, node.column, fmt::format("{}: {}", key, message));
}

Status YamlReader::NotOneOf(const YamlNode& node, const std::string& key,
                            std::span<const std::string_view> names) const {
  std::string what = fmt::format("one of {}", fmt::join(names, ", "));
  if (node.kind == YamlNode::Kind::kScalar) {
    const std::string_view near = ClosestTo(node.text, names);
    if (!near.empty()) {
      return Error(
          node, key,
          fmt::format("expected {}, got {}; did you mean '{}'?", what, node.Describe(), near));
    }
  }
  return Expected(node, key, what);
}

}  // namespace evenkeel
