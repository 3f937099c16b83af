#include "repository/config_pbtxt.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "proto/model_config.pb.h"

namespace evenkeel {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

// Keeps the first error: the later ones follow from it.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(const std::string& source) : source_(source) {}
  const std::string& text() const { return text_; }

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    text_ = line < 0 ? fmt::format("{}: {}", source_, message)
                     : fmt::format("{}:{}:{}: {}", source_, line + 1, column + 1, message);
  }

 private:
  const std::string& source_;
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
  FirstError error(source);
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
