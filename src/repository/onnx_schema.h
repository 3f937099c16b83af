// The part of ONNX's message format that a structural check needs: which fields hold which messages, and how many bits an
// element of each tensor type has. Field numbers are those of the published onnx.proto3.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace evenkeel::onnx {

enum class Message : uint8_t {
  kNone,  // not a message, or one that has no messages inside that matter
  kModel,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparseTensor,
  kFunction,
  kTraining,
  kValueInfo,
  kType,
  kTypeTensor,   // also a sparse tensor's type
  kTypeElement,  // sequence and optional: elem_type = 1
  kTypeMap,
  kShape,
  kLeaf,  // a message without messages inside: dimension, entry, opset, ...
};
inline constexpr int kMessageCount = 16;
inline constexpr int kFieldCount = 32;  // all numbers are below

struct Rule {
  Message in;
  int field;
  Message child;
  bool
      once;  // not repeated: a second one would be merged into the first, behind the back of a check of each
};

inline constexpr std::array<Rule, 50> kRules = {{
    {Message::kModel, 7, Message::kGraph, true},
    {Message::kModel, 8, Message::kLeaf, false},
    {Message::kModel, 14, Message::kLeaf, false},
    {Message::kModel, 20, Message::kTraining, false},
    {Message::kModel, 25, Message::kFunction, false},
    {Message::kGraph, 1, Message::kNode, false},
    {Message::kGraph, 5, Message::kTensor, false},
    {Message::kGraph, 11, Message::kValueInfo, false},
    {Message::kGraph, 12, Message::kValueInfo, false},
    {Message::kGraph, 13, Message::kValueInfo, false},
    {Message::kGraph, 14, Message::kLeaf, false},
    {Message::kGraph, 15, Message::kSparseTensor, false},
    {Message::kGraph, 16, Message::kLeaf, false},
    {Message::kNode, 5, Message::kAttribute, false},
    {Message::kNode, 9, Message::kLeaf, false},
    {Message::kAttribute, 5, Message::kTensor, true},
    {Message::kAttribute, 6, Message::kGraph, true},
    {Message::kAttribute, 10, Message::kTensor, false},
    {Message::kAttribute, 11, Message::kGraph, false},
    {Message::kAttribute, 14, Message::kType, true},
    {Message::kAttribute, 15, Message::kType, false},
    {Message::kAttribute, 22, Message::kSparseTensor, true},
    {Message::kAttribute, 23, Message::kSparseTensor, false},
    {Message::kTensor, 3, Message::kLeaf, true},
    {Message::kTensor, 13, Message::kLeaf, false},
    {Message::kTensor, 16, Message::kLeaf, false},
    {Message::kSparseTensor, 1, Message::kTensor, true},
    {Message::kSparseTensor, 2, Message::kTensor, true},
    {Message::kFunction, 7, Message::kNode, false},
    {Message::kFunction, 9, Message::kLeaf, false},
    {Message::kFunction, 11, Message::kAttribute, false},
    {Message::kFunction, 12, Message::kValueInfo, false},
    {Message::kFunction, 14, Message::kLeaf, false},
    {Message::kTraining, 1, Message::kGraph, true},
    {Message::kTraining, 2, Message::kGraph, true},
    {Message::kTraining, 3, Message::kLeaf, false},
    {Message::kTraining, 4, Message::kLeaf, false},
    {Message::kValueInfo, 2, Message::kType, true},
    {Message::kValueInfo, 4, Message::kLeaf, false},
    {Message::kType, 1, Message::kTypeTensor, true},
    {Message::kType, 4, Message::kTypeElement, true},
    {Message::kType, 5, Message::kTypeMap, true},
    {Message::kType, 7, Message::kLeaf, true},
    {Message::kType, 8, Message::kTypeTensor, true},
    {Message::kType, 9, Message::kTypeElement, true},
    {Message::kTypeTensor, 2, Message::kShape, true},
    {Message::kTypeElement, 1, Message::kType, true},
    {Message::kTypeMap, 2, Message::kType, true},
    {Message::kShape, 1, Message::kLeaf, false},
    {Message::kModel, 26, Message::kLeaf, false},
}};

struct Child {
  Message message = Message::kNone;
  bool once = false;
};

constexpr auto MakeChildren() {
  std::array<std::array<Child, kFieldCount>, kMessageCount> table{};
  for (const Rule& rule : kRules) {
    table[static_cast<size_t>(rule.in)][static_cast<size_t>(rule.field)] = {rule.child, rule.once};
  }
  return table;
}
inline constexpr auto kChildren = MakeChildren();

// The message in field `field` of `in`.
constexpr Child ChildOf(Message in, uint32_t field) {
  return field < kFieldCount ? kChildren[static_cast<size_t>(in)][field] : Child{};
}

// An element type: its size, and the field of TensorProto that holds elements which are not in raw_data.
struct ElementType {
  std::string_view name;
  int bits;        // 0: no fixed size
  int data_field;  // 4 float, 5 int32, 6 string, 7 int64, 10 double, 11 uint64
  int entries;  // in that field, per element (complex numbers: 2); types under a byte share entries
};
inline constexpr std::array<ElementType, 27> kElementTypes = {{
    {"UNDEFINED", 0, 0, 0},      {"FLOAT", 32, 4, 1},     {"UINT8", 8, 5, 1},
    {"INT8", 8, 5, 1},           {"UINT16", 16, 5, 1},    {"INT16", 16, 5, 1},
    {"INT32", 32, 5, 1},         {"INT64", 64, 7, 1},     {"STRING", 0, 6, 1},
    {"BOOL", 8, 5, 1},           {"FLOAT16", 16, 5, 1},   {"DOUBLE", 64, 10, 1},
    {"UINT32", 32, 11, 1},       {"UINT64", 64, 11, 1},   {"COMPLEX64", 64, 4, 2},
    {"COMPLEX128", 128, 10, 2},  {"BFLOAT16", 16, 5, 1},  {"FLOAT8E4M3FN", 8, 5, 1},
    {"FLOAT8E4M3FNUZ", 8, 5, 1}, {"FLOAT8E5M2", 8, 5, 1}, {"FLOAT8E5M2FNUZ", 8, 5, 1},
    {"UINT4", 4, 5, 1},          {"INT4", 4, 5, 1},       {"FLOAT4E2M1", 4, 5, 1},
    {"FLOAT8E8M0", 8, 5, 1},     {"UINT2", 2, 5, 1},      {"INT2", 2, 5, 1},
}};

}  // namespace evenkeel::onnx
