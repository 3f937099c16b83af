#include "engines/openvino/model_signature.h"

#include <algorithm>
#include <openvino/runtime/compiled_model.hpp>
#include <set>

#include "core/format.h"

namespace evenkeel {
namespace {

using Port = ov::Output<const ov::Node>;

std::string NameOfPort(const Port& port, bool tensorflow, const std::set<std::string>& taken,
                       const std::string& otherwise) {
  const auto& set = port.get_names();
  std::set<std::string> names(set.begin(), set.end());
  for (const std::string& name : taken) names.erase(name);
  // A Result node is called "name/sink_port_N".
  std::string friendly = port.get_node()->get_friendly_name();
  friendly = friendly.substr(0, friendly.find("/sink_port_"));
  for (const std::string& name : names) {
    if (!tensorflow || !name.ends_with(":0")) continue;
    std::string operation = name.substr(0, name.size() - 2);
    if (!taken.contains(operation)) return operation;
  }
  if (names.contains(friendly)) return friendly;
  return names.empty() ? otherwise : *names.begin();
}

Status ReadPort(const Port& port, TensorSpec* spec) {
  const ov::PartialShape& shape = port.get_partial_shape();
  spec->dtype = DataTypeOf(port.get_element_type());
  if (spec->dtype == DataType::kInvalid) {
    return Unsupported("tensor '{}': data type {} is not supported", spec->name,
                       port.get_element_type().get_type_name());
  }
  if (shape.rank().is_dynamic()) {
    return Unsupported("tensor '{}': its number of dimensions is not fixed", spec->name);
  }
  if (shape.size() > kMaxRank) {
    return Unsupported("tensor '{}': {} dimensions, at most {} are supported", spec->name,
                       shape.size(), kMaxRank);
  }
  for (const ov::Dimension& d : shape) {
    spec->shape.push_back(d.is_dynamic() ? kDynamic : d.get_length());
  }
  return Status::Ok();
}

Status ReadPorts(const std::vector<Port>& ports, const char* kind, bool tensorflow,
                 std::vector<TensorSpec>* specs) {
  std::set<std::string> taken;
  for (size_t i = 0; i < ports.size(); ++i) {
    TensorSpec& spec = specs->emplace_back();
    spec.name = NameOfPort(ports[i], tensorflow, taken, fmt::format("{}_{}", kind, i));
    taken.insert(spec.name);
    EK_RETURN_IF_ERROR(ReadPort(ports[i], &spec));
  }
  return Status::Ok();
}

}  // namespace

DataType DataTypeOf(const ov::element::Type& type) {
  switch (type) {
    case ov::element::Type_t::boolean: return DataType::kBool;
    case ov::element::Type_t::u8: return DataType::kUint8;
    case ov::element::Type_t::u16: return DataType::kUint16;
    case ov::element::Type_t::u32: return DataType::kUint32;
    case ov::element::Type_t::u64: return DataType::kUint64;
    case ov::element::Type_t::i8: return DataType::kInt8;
    case ov::element::Type_t::i16: return DataType::kInt16;
    case ov::element::Type_t::i32: return DataType::kInt32;
    case ov::element::Type_t::i64: return DataType::kInt64;
    case ov::element::Type_t::f16: return DataType::kFp16;
    case ov::element::Type_t::bf16: return DataType::kBf16;
    case ov::element::Type_t::f32: return DataType::kFp32;
    case ov::element::Type_t::f64: return DataType::kFp64;
    case ov::element::Type_t::string: return DataType::kBytes;
    default: return DataType::kInvalid;
  }
}

Result<Signature> SignatureOf(const ov::CompiledModel& model, bool tensorflow) {
  Signature signature;
  EK_RETURN_IF_ERROR(ReadPorts(model.inputs(), "input", tensorflow, &signature.inputs));
  EK_RETURN_IF_ERROR(ReadPorts(model.outputs(), "output", tensorflow, &signature.outputs));
  return signature;
}

}  // namespace evenkeel
