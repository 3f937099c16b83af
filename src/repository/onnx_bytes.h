// Writes protobuf by hand, so that tests can make ONNX models, right and wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel {

inline std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
inline std::string NumberField(int field, uint64_t value) {
  return Varint(static_cast<uint64_t>(field) << 3) + Varint(value);
}
inline std::string BytesField(int field, std::string_view bytes) {
  return Varint(static_cast<uint64_t>(field) << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

// ONNX's element types.
inline constexpr uint64_t kOnnxFloat = 1;
inline constexpr uint64_t kOnnxInt64 = 7;
inline constexpr uint64_t kOnnxString = 8;

// name, data_type and dims of a TensorProto; the data is the caller's to add.
inline std::string TensorHead(std::string_view name, uint64_t type,
                              const std::vector<int64_t>& dims) {
  std::string out;
  for (int64_t dim : dims) out += NumberField(1, static_cast<uint64_t>(dim));
  return out + NumberField(2, type) + BytesField(8, name);
}
inline std::string ExternalEntry(std::string_view key, std::string_view value) {
  return BytesField(13, BytesField(1, key) + BytesField(2, value));
}

// A ValueInfoProto: a float tensor of the given rank.
inline std::string ValueInfo(std::string_view name, int rank = 2) {
  std::string shape;
  for (int i = 0; i < rank; ++i) shape += BytesField(1, NumberField(1, 4));
  return BytesField(1, name) +
         BytesField(2, BytesField(1, NumberField(1, kOnnxFloat) + BytesField(2, shape)));
}

// A NodeProto y = Identity(x), with `more` fields.
inline std::string Node(std::string_view more = "") {
  return BytesField(1, "x") + BytesField(2, "y") + BytesField(4, "Identity") + std::string(more);
}

// A GraphProto with one node, input and output, and `more` fields.
inline std::string Graph(std::string_view more = "") {
  return BytesField(1, Node()) + BytesField(2, "g") + BytesField(11, ValueInfo("x")) +
         BytesField(12, ValueInfo("y")) + std::string(more);
}

inline std::string Model(std::string_view graph) {
  return NumberField(1, 8) + BytesField(2, "test") + BytesField(7, graph) +
         BytesField(8, NumberField(2, 17));
}

// A model whose only initializer is the TensorProto `tensor`.
inline std::string ModelWithTensor(std::string_view tensor) {
  return Model(Graph(BytesField(5, tensor)));
}

}  // namespace evenkeel
