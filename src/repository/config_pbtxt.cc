#include "repository/config_pbtxt.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cctype>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "proto/model_config.pb.h"

namespace evenkeel {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

// The field whose value starts at this place; empty where something else stands before it. The
// parser's own messages do not name it.
std::string_view FieldBefore(std::string_view text, int line, int column) {
  for (; line > 0; --line) text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  text = text.substr(0, std::min(text.find('\n'), static_cast<size_t>(std::max(column, 0))));
  const size_t end = text.find_last_not_of(": {[\t");
  if (end == std::string_view::npos) return {};
  text = text.substr(0, end + 1);
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  size_t begin = text.size();
  while (begin > 0 && is_word(text[begin - 1])) --begin;
  return text.substr(begin);
}

// Keeps the first error: the later ones follow from it.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  FirstError(const std::string& source, std::string_view file) : source_(source), file_(file) {}
  const std::string& text() const { return text_; }

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    if (line < 0) {
      text_ = fmt::format("{}: {}", source_, message);
      return;
    }
    const std::string_view field = FieldBefore(file_, line, column);
    text_ = fmt::format("{}:{}:{}: {}{}{}", source_, line + 1, column + 1, field,
                        field.empty() ? "" : ": ", message);
  }

 private:
  const std::string& source_;
  const std::string_view file_;
  std::string text_;
};

std::string Locate(const TextFormat::ParseInfoTree& tree, const std::string& source,
                   std::string_view field, int index, std::string_view inner) {
  const FieldDescriptor* top =
      inference::ModelConfig::descriptor()->FindFieldByName(std::string(field));
  if (top == nullptr) return source + ": ";
  const int at = top->is_repeated() ? index : -1;
  TextFormat::ParseLocation location = tree.GetLocation(top, at);
  if (!inner.empty() && top->message_type() != nullptr) {
    const FieldDescriptor* nested = top->message_type()->FindFieldByName(std::string(inner));
    const TextFormat::ParseInfoTree* subtree = tree.GetTreeForNested(top, at);
    if (nested != nullptr && subtree != nullptr) {
      const TextFormat::ParseLocation found =
          subtree->GetLocation(nested, nested->is_repeated() ? 0 : -1);
      if (found.line >= 0) location = found;
    }
  }
  if (location.line < 0) return source + ": ";
  return fmt::format("{}:{}:{}: ", source, location.line + 1, location.column + 1);
}

}  // namespace

Result<TritonConfig> ParseConfigPbtxt(std::string_view text, const std::string& source,
                                      const ModelConfig& base) {
  if (text.size() > kMaxPbtxtBytes) {
    return TooLarge("{}: {} bytes; at most {} are read", source, text.size(), kMaxPbtxtBytes);
  }
  if (!IsUtf8(text)) return InvalidArgument("{}: the file is not UTF-8", source);
  inference::ModelConfig message;
  TextFormat::ParseInfoTree tree;
  FirstError error(source, text);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(32);
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  if (!parser.Parse(&stream, &message)) {
    return InvalidArgument("{}", error.text().empty() ? source + ": malformed" : error.text());
  }
  const FieldLocator where = [&](std::string_view field, int index, std::string_view inner) {
    return Locate(tree, source, field, index, inner);
  };
  ModelConfig start = base;
  start.source = source;
  // The file is the whole configuration: what it leaves out has Triton's default. But one without
  // inputs, outputs and max_batch_size is completed from the model there, with batching on where
  // the model has a batch axis.
  const bool bare =
      message.input_size() == 0 && message.output_size() == 0 && message.max_batch_size() == 0;
  const FieldGiven given = [bare](std::string_view field) {
    return !bare || (field != "max_batch_size" && field != "dynamic_batching");
  };
  return ReadTritonConfig(message, start, where, given);
}

}  // namespace evenkeel
