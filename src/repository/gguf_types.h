// The numbers that GGUF files use: types of metadata values, types of tensors, and file types.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

namespace evenkeel {

// Of a metadata value; the numbers are the file's.
enum class GgufType : uint8_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
inline constexpr uint32_t kGgufTypeCount = 13;

struct GgufTypeInfo {
  std::string_view name;  // "UINT32"
  uint8_t bytes;          // of a value; 0: it says its length itself (strings, arrays)
  bool is_whole;          // a whole number
  bool is_signed;
};
// Never fails: every GgufType has a row.
const GgufTypeInfo& InfoOf(GgufType type);

// How a tensor type is laid out: rows are cut into blocks of `elements` that take `bytes` each.
struct GgmlTypeInfo {
  std::string_view name;  // "Q4_K"
  uint16_t elements;
  uint16_t bytes;
};
// nullptr for numbers that no type has, among them those that were taken out of the format.
const GgmlTypeInfo* GgmlTypeOf(uint32_t number);

// What general.file_type says: "Q4_K_M"; empty for numbers without a name.
std::string_view GgufFileTypeName(uint64_t number);

}  // namespace evenkeel
