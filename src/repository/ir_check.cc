#include "repository/ir_check.h"

#include "core/format.h"
#include "core/parse.h"
#include "repository/byte_source.h"

namespace evenkeel {
namespace {

constexpr int kMaxDepth = 256;
constexpr uint64_t kMaxXmlBytes = uint64_t{512} << 20;

// Finds elements' starts and ends; does not look at attributes.
class XmlScanner {
 public:
  explicit XmlScanner(ByteSource& source) : source_(source) {}

  Status Check() {
    if (source_.size() > kMaxXmlBytes)
      return TooLarge("{} bytes; at most {} are read", source_.size(), kMaxXmlBytes);
    if (Looking("\xef\xbb\xbf")) at_ += 3;
    for (int c = Take(); c >= 0; c = Take()) {
      if (c == 0) return InvalidArgument("no IR model: a NUL byte at {}", at_ - 1);
      if (c == '<') EK_RETURN_IF_ERROR(Markup());
      if (c != '<' && depth_ == 0 && !IsSpace(c))
        return InvalidArgument("no IR model: text outside <net> at byte {}", at_ - 1);
    }
    if (!has_root_ || depth_ != 0) return InvalidArgument("cut off: <net> does not end");
    return Status::Ok();
  }

 private:
  static bool IsSpace(int c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  int Take() {
    const int c = source_.ByteAt(at_);
    ++at_;
    return c;
  }
  bool Looking(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (source_.ByteAt(at_ + i) != static_cast<uint8_t>(text[i])) return false;
    }
    return true;
  }
  Status SkipPast(std::string_view text) {
    for (; at_ < source_.size(); ++at_) {
      if (Looking(text)) {
        at_ += text.size();
        return Status::Ok();
      }
    }
    return InvalidArgument("cut off: '{}' is missing", text);
  }

  Status Markup() {
    if (Looking("!--")) return SkipPast("-->");
    if (Looking("![CDATA[")) return SkipPast("]]>");
    if (Looking("!"))
      return InvalidArgument("document types and entities are refused, at byte {}", at_);
    if (Looking("?")) return SkipPast("?>");
    if (Looking("/")) {
      if (--depth_ < 0)
        return InvalidArgument("an element ends that did not begin, at byte {}", at_);
      return SkipPast(">");
    }
    return OpenTag();
  }

  Status OpenTag() {
    if (depth_ == 0) {
      if (has_root_) return InvalidArgument("a second root element at byte {}", at_);
      if (!Looking("net") ||
          !(IsSpace(source_.ByteAt(at_ + 3)) || source_.ByteAt(at_ + 3) == '>')) {
        return InvalidArgument("no IR model: expected <net>, got {}",
                               Excerpt("<" + source_.Text(at_, at_ + 16, 16)));
      }
      has_root_ = true;
    }
    int quote = 0;
    int last = 0;
    for (int c = Take(); c > 0; c = Take()) {
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '<') {
        return InvalidArgument("corrupt: '<' inside an element at byte {}", at_ - 1);
      } else if (c == '>') {
        if (last != '/' && ++depth_ > kMaxDepth)
          return InvalidArgument("nested more than {} deep", kMaxDepth);
        return Status::Ok();
      }
      last = c;
    }
    return InvalidArgument("cut off inside an element");
  }

  ByteSource& source_;
  uint64_t at_ = 0;
  int depth_ = 0;
  bool has_root_ = false;
};

}  // namespace

Status CheckIrFile(const std::string& path) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  return XmlScanner(*source).Check();
}

Status CheckIrText(std::string_view xml) {
  ByteSource source = ByteSource::OfBytes(xml);
  return XmlScanner(source).Check();
}

}  // namespace evenkeel
