#include "repository/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <streambuf>
#include <utility>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxNodes = 100'000;

// Thrown by the handler to leave the parser; does not leave this file.
struct Refusal {
  YAML::Mark mark;
  std::string message;
};

class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // never written: there is no put area
    setg(begin, begin, begin + text.size());
  }
};

// Builds the tree from the parser's events.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Refusal{mark, "a second document; one is expected"};
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, YamlNode::Kind::kNull, "", "?", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{mark, "aliases ('*name') are not supported"};
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    throw Refusal{mark, "anchors ('&name') are not supported"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Add(mark, YamlNode::Kind::kScalar, value, tag, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, YamlNode::Kind::kList, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, YamlNode::Kind::kMap, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A container that is still being filled. In a map, `key` waits for its value.
  struct Frame {
    YamlNode node;
    YamlNode::Entry key;
    bool has_key = false;
  };

  void Check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refusal{mark, "anchors ('&name') are not supported"};
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refusal{mark, fmt::format("tag {} is not supported", Excerpt(tag))};
    }
    if (++nodes_ > kMaxNodes) throw Refusal{mark, fmt::format("more than {} values", kMaxNodes)};
  }

  void Add(const YAML::Mark& mark, YamlNode::Kind kind, std::string text, const std::string& tag,
           YAML::anchor_t anchor) {
    Check(mark, tag, anchor);
    Place(Make(mark, kind, std::move(text)));
  }

  void Open(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& tag,
            YAML::anchor_t anchor) {
    Check(mark, tag, anchor);
    if (open_.size() >= kMaxDepth) {
      throw Refusal{mark, fmt::format("nested more than {} deep", kMaxDepth)};
    }
    const bool expects_key =
        !open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key;
    if (expects_key) throw Refusal{mark, "a key must be a plain word"};
    open_.push_back({Make(mark, kind, ""), {}, false});
  }

  void Close() {
    YamlNode done = std::move(open_.back().node);
    open_.pop_back();
    Place(std::move(done));
  }

  void Place(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == YamlNode::Kind::kList) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      SetKey(frame, std::move(node));
    } else {
      frame.key.value = std::move(node);
      frame.node.entries.push_back(std::move(frame.key));
      frame.has_key = false;
    }
  }

  void SetKey(Frame& frame, YamlNode node) {
    const YAML::Mark mark = MarkOf(node);
    if (node.kind != YamlNode::Kind::kScalar) throw Refusal{mark, "a key must be a plain word"};
    // No settings map has many keys, so a linear search with a cap beats a set.
    if (frame.node.entries.size() >= 256) throw Refusal{mark, "more than 256 keys in one place"};
    for (const YamlNode::Entry& entry : frame.node.entries) {
      if (entry.key == node.text) {
        throw Refusal{
            mark, fmt::format("{}: given twice, first in line {}", Excerpt(node.text), entry.line)};
      }
    }
    frame.key = {std::move(node.text), node.line, node.column, {}};
    frame.has_key = true;
  }

  static YamlNode Make(const YAML::Mark& mark, YamlNode::Kind kind, std::string text) {
    YamlNode node;
    node.kind = kind;
    node.text = std::move(text);
    node.line = std::max(mark.line, 0) + 1;
    node.column = std::max(mark.column, 0) + 1;
    return node;
  }
  static YAML::Mark MarkOf(const YamlNode& node) {
    YAML::Mark mark;
    mark.line = node.line - 1;
    mark.column = node.column - 1;
    return mark;
  }

  YamlNode root_;
  std::vector<Frame> open_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

Status LocatedError(const std::string& source, const YAML::Mark& mark, std::string_view message) {
  return YamlError(source, std::max(mark.line, 0) + 1, std::max(mark.column, 0) + 1, message);
}

Status CheckText(std::string_view text, const std::string& source) {
  if (text.size() > kMaxYamlBytes) {
    return TooLarge("{}: {} bytes; at most {} are read", source, text.size(), kMaxYamlBytes);
  }
  int line = 1;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view content = text.substr(at, end - at);
    if (!IsUtf8(content)) return YamlError(source, line, 1, "the line is not UTF-8");
    if (content.find('\0') != std::string_view::npos) {
      return YamlError(source, line, 1, "the line has a NUL byte");
    }
    at = end + 1;
  }
  return Status::Ok();
}

}  // namespace

std::string YamlNode::Describe() const {
  switch (kind) {
    case Kind::kNull: return "nothing";
    case Kind::kScalar: return Excerpt(text);
    case Kind::kList: return "a list";
    case Kind::kMap: return "a map";
  }
  return {};
}

Status YamlError(const std::string& source, int line, int column, std::string_view message) {
  return InvalidArgument("{}:{}:{}: {}", source, line, column, message);
}

Result<YamlNode> ParseYaml(std::string_view text, const std::string& source) {
  EK_RETURN_IF_ERROR(CheckText(text, source));
  TreeBuilder builder;
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refusal& refusal) {
    return LocatedError(source, refusal.mark, refusal.message);
  } catch (const YAML::Exception& error) {
    return LocatedError(source, error.mark, error.msg);
  } catch (const std::exception& error) {
    return InvalidArgument("{}: {}", source, error.what());
  }
  YamlNode root = builder.TakeRoot();
  if (root.kind == YamlNode::Kind::kNull) root.kind = YamlNode::Kind::kMap;
  if (root.kind != YamlNode::Kind::kMap) {
    return YamlError(source, root.line, root.column,
                     fmt::format("expected 'key: value' lines, got {}", root.Describe()));
  }
  return root;
}

}  // namespace evenkeel
