#include "engines/openvino/string_tensor.h"

#include <cstring>
#include <string>

#include "core/format.h"

namespace evenkeel {

ov::Tensor StringTensorOf(const TensorView& view) {
  ov::Shape shape;
  for (int64_t d : view.shape.dims()) shape.push_back(static_cast<size_t>(d));
  ov::Tensor tensor(ov::element::string, shape);
  auto* strings = tensor.data<std::string>();
  // Shared memory may change under us: each length is checked again where it is used.
  size_t at = 0;
  for (size_t i = 0; i < tensor.get_size(); ++i) {
    uint32_t length = 0;
    if (view.data.size() - at < sizeof length) break;
    std::memcpy(&length, view.data.data() + at, sizeof length);
    at += sizeof length;
    if (view.data.size() - at < length) break;
    strings[i].assign(reinterpret_cast<const char*>(view.data.data() + at), length);
    at += length;
  }
  return tensor;
}

Status WriteStrings(const ov::Tensor& tensor, int index, const Shape& shape, OutputSink& sink) {
  const auto* strings = tensor.data<std::string>();
  const size_t count = tensor.get_size();
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) bytes += sizeof(uint32_t) + strings[i].size();
  std::byte* to = sink.Allocate(index, DataType::kBytes, shape, bytes);
  if (to == nullptr) return TooLarge("no room for the {} bytes of output {}", bytes, index);
  for (size_t i = 0; i < count; ++i) {
    const auto length = static_cast<uint32_t>(strings[i].size());
    std::memcpy(to, &length, sizeof length);
    std::memcpy(to + sizeof length, strings[i].data(), length);
    to += sizeof length + length;
  }
  return Status::Ok();
}

}  // namespace evenkeel
