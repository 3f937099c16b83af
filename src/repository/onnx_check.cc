#include "repository/onnx_check.h"

#include <filesystem>
#include <limits>
#include <optional>

#include "core/format.h"
#include "core/parse.h"
#include "core/tensor.h"
#include "repository/byte_source.h"
#include "repository/external_data.h"
#include "repository/onnx_schema.h"
#include "repository/onnx_tensor_check.h"
#include "repository/wire.h"

namespace evenkeel {
namespace {

using onnx::Child;
using onnx::Message;

constexpr int kMaxDepth = 96;  // protobuf's own limit is 100
constexpr uint64_t kMaxFields = uint64_t{1} << 26;
constexpr uint64_t kMaxMessages = uint64_t{1} << 23;
constexpr uint64_t kMaxFileBytes = std::numeric_limits<int32_t>::max();  // protobuf's

// Fields of ModelProto and GraphProto that are looked at by themselves.
constexpr uint32_t kModelGraph = 7;
constexpr uint32_t kGraphNode = 1;
constexpr uint32_t kGraphInput = 11;
constexpr uint32_t kGraphOutput = 12;

class OnnxChecker {
 public:
  OnnxChecker(ByteSource& source, ExternalData& external) : source_(source), external_(external) {}

  Status Check() {
    if (source_.size() > kMaxFileBytes) {
      return TooLarge(
          "the file has {} bytes; an ONNX file can have 2 GiB, more must be in external data",
          source_.size());
    }
    const ByteRange whole{0, source_.size()};
    EK_RETURN_IF_ERROR(Walk(Message::kModel, whole, 1));
    const Result<std::optional<ByteRange>> graph = Find(whole, kModelGraph);
    if (!graph.ok()) return graph.status();
    if (!*graph) return InvalidArgument("no ONNX model: there is no graph in it");
    return CheckGraph(**graph);
  }

 private:
  Status Walk(Message message, ByteRange range, int depth) {
    if (depth > kMaxDepth) return InvalidArgument("nested more than {} deep", kMaxDepth);
    if (++messages_ > kMaxMessages) return TooLarge("more than {} messages", kMaxMessages);
    if (message == Message::kTensor)
      EK_RETURN_IF_ERROR(onnx::CheckTensor(source_, range, external_, &fields_));
    FileWireReader reader(source_, range);
    FileWireField field;
    uint32_t seen = 0;
    while (reader.Next(&field)) {
      if (++fields_ > kMaxFields) return TooLarge("more than {} fields", kMaxFields);
      const Child child = onnx::ChildOf(message, field.number);
      if (child.message == Message::kNone) continue;
      if (field.type != FileWireField::Type::kBytes) {
        return InvalidArgument("corrupt: field {} is no message, before byte {}", field.number,
                               range.end);
      }
      const uint32_t bit = uint32_t{1} << field.number;
      if (child.once && (seen & bit) != 0) {
        return InvalidArgument("corrupt: field {} is there twice, at byte {}", field.number,
                               field.bytes.begin);
      }
      seen |= bit;
      EK_RETURN_IF_ERROR(Walk(child.message, field.bytes, depth + 1));
    }
    return reader.status();
  }

  // The last field of that number that holds bytes.
  Result<std::optional<ByteRange>> Find(ByteRange range, uint32_t number) {
    FileWireReader reader(source_, range);
    FileWireField field;
    std::optional<ByteRange> found;
    while (reader.Next(&field)) {
      if (field.number == number && field.type == FileWireField::Type::kBytes) found = field.bytes;
    }
    if (!reader.status().ok()) return reader.status();
    return found;
  }

  Status CheckGraph(ByteRange graph) {
    uint64_t nodes = 0;
    uint64_t inputs = 0;
    uint64_t outputs = 0;
    FileWireReader reader(source_, graph);
    FileWireField field;
    while (reader.Next(&field)) {
      nodes += field.number == kGraphNode;
      inputs += field.number == kGraphInput;
      outputs += field.number == kGraphOutput;
      if (field.number == kGraphInput || field.number == kGraphOutput) {
        EK_RETURN_IF_ERROR(CheckRank(field.bytes));
      }
    }
    if (nodes == 0) return InvalidArgument("the graph has no nodes");
    if (inputs == 0) return InvalidArgument("the graph has no inputs");
    if (outputs == 0) return InvalidArgument("the graph has no outputs");
    return Status::Ok();
  }

  Status CheckRank(ByteRange value_info) {
    std::optional<ByteRange> at = value_info;
    for (uint32_t step : {2, 1, 2}) {  // type, tensor_type, shape
      const Result<std::optional<ByteRange>> inner = Find(*at, step);
      if (!inner.ok()) return inner.status();
      if (!*inner)
        return Status::Ok();  // of another kind, or without a shape: the engine's to judge
      at = *inner;
    }
    FileWireReader reader(source_, *at);
    FileWireField field;
    uint64_t rank = 0;
    while (reader.Next(&field)) rank += field.number == 1;
    if (rank <= static_cast<uint64_t>(kMaxRank)) return Status::Ok();
    const Result<std::optional<ByteRange>> name = Find(value_info, 1);
    const std::string text =
        name.ok() && *name ? source_.Text((*name)->begin, (*name)->end, 256) : "";
    return Unsupported("input or output {} has {} axes; at most {} are supported", Excerpt(text),
                       rank, kMaxRank);
  }

  ByteSource& source_;
  ExternalData& external_;
  uint64_t fields_ = 0;
  uint64_t messages_ = 0;
};

}  // namespace

Status CheckOnnxFile(const std::string& path, const std::string& root) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  ExternalData external(root, std::filesystem::path(path).parent_path().string());
  return OnnxChecker(*source, external).Check();
}

Status CheckOnnxBytes(std::string_view bytes) {
  if (bytes.empty()) return InvalidArgument("the file is empty");
  ByteSource source = ByteSource::OfBytes(bytes);
  ExternalData external("", "");
  return OnnxChecker(source, external).Check();
}

}  // namespace evenkeel
