#include "llm/wire/kv_state.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/format.h"
#include "core/sequence_state.h"
#include "llm/wire/byte_codec.h"

namespace evenkeel {
namespace {

// ggml's numbers of the types that a cache may have here.
constexpr uint32_t kF32 = 0, kF16 = 1;
constexpr uint32_t kMostLayers = 4096;
constexpr uint64_t kMostRow = uint64_t{1} << 24;  // bytes, or numbers

template <typename... Args>
Status Broken(fmt::format_string<Args...> format, Args&&... args) {
  return InvalidArgument("a sequence's state: {}",
                         fmt::format(format, std::forward<Args>(args)...));
}

// 0: none that is known here.
uint64_t NumberBytes(uint32_t type) { return type == kF16 ? 2 : type == kF32 ? 4 : 0; }

// Infinite and NaN have all bits of the exponent set: adding the lowest of them carries into the sign's place, which was cleared.
bool Finite(std::string_view numbers, uint32_t type) {
  const uint64_t exponent = type == kF16 ? 0x7c007c007c007c00U : 0x7f8000007f800000U;
  const uint64_t lowest = type == kF16 ? 0x0400040004000400U : 0x0080000000800000U;
  const uint64_t sign = type == kF16 ? 0x8000800080008000U : 0x8000000080000000U;
  uint64_t found = 0;
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= numbers.size(); at += sizeof(uint64_t)) {
    uint64_t some = 0;
    std::memcpy(&some, numbers.data() + at, sizeof some);
    found |= ((some & exponent) + lowest) & sign;
  }
  uint64_t rest = 0;
  std::memcpy(&rest, numbers.data() + at, numbers.size() - at);
  found |= ((rest & exponent) + lowest) & sign;
  return found == 0;
}

Status CheckCells(ByteReader& in, size_t tokens) {
  in.Number<uint32_t>();  // the magic number is the engine's to compare
  in.Number<int32_t>();   // the sequence's id there
  const auto streams = in.Number<uint32_t>();
  const auto cells = in.Number<uint32_t>();
  if (!in.ok() || streams != 1) return Broken("expected one stream of cells, got {}", streams);
  if (cells != tokens) return Broken("expected {} cells, a token each, got {}", tokens, cells);
  std::vector<bool> seen(tokens, false);
  for (size_t i = 0; i < tokens; ++i) {
    const auto position = in.Number<int32_t>();
    const auto ids = in.Number<uint32_t>();
    in.Number<int32_t>();
    if (!in.ok()) return Broken("it ends in its cells");
    if (ids != 1) return Broken("expected cells of one sequence, got one of {}", ids);
    const bool inside = position >= 0 && static_cast<size_t>(position) < tokens;
    if (!inside || seen[static_cast<size_t>(position)])
      return Broken("a cell at position {}, of {} that are all different", position, tokens);
    seen[static_cast<size_t>(position)] = true;
  }
  return Status::Ok();
}

Status CheckNumbers(ByteReader& in, uint64_t size, uint32_t type, uint32_t layer,
                    std::string_view what) {
  const std::string_view numbers = in.Bytes(size);
  if (!in.ok()) return Broken("it ends in the {} of layer {}", what, layer);
  if (!Finite(numbers, type))
    return Broken("a number among the {} of layer {} is infinite or none", what, layer);
  return Status::Ok();
}

// A row is a cell.
Status CheckRows(ByteReader& in, size_t cells, uint32_t layer, std::string_view what) {
  const auto type = in.Number<uint32_t>();
  const auto row = in.Number<uint64_t>();
  const uint64_t number = NumberBytes(type);
  if (!in.ok() || number == 0)
    return Broken("{} of layer {}: expected 16 or 32 bit floats, got type {}", what, layer, type);
  if (row == 0 || row > kMostRow || row % number != 0)
    return Broken("{} of layer {}: a row of {} bytes", what, layer, row);
  return CheckNumbers(in, row * cells, type, layer, what);
}

Status CheckColumns(ByteReader& in, size_t cells, uint32_t layer) {
  const auto type = in.Number<uint32_t>();
  const auto number = in.Number<uint32_t>();
  const auto row = in.Number<uint32_t>();
  if (!in.ok() || NumberBytes(type) == 0 || number != NumberBytes(type))
    return Broken("values of layer {}: numbers of type {} and {} bytes", layer, type, number);
  if (row == 0 || row > kMostRow) return Broken("values of layer {}: {} a cell", layer, row);
  return CheckNumbers(in, uint64_t{row} * number * cells, type, layer, "values");
}

}  // namespace

Status CheckKvState(std::string_view bytes, size_t tokens) {
  if (tokens < 1 || tokens > kMostStateTokens)
    return Broken("expected 1 to {} tokens, got {}", kMostStateTokens, tokens);
  ByteReader in(bytes);
  EK_RETURN_IF_ERROR(CheckCells(in, tokens));
  const auto transposed = in.Number<uint32_t>();
  const auto layers = in.Number<uint32_t>();
  if (!in.ok() || transposed > 1 || layers < 1 || layers > kMostLayers)
    return Broken("expected 1 to {} layers, got {}", kMostLayers, layers);
  for (uint32_t layer = 0; layer < layers; ++layer)
    EK_RETURN_IF_ERROR(CheckRows(in, tokens, layer, "keys"));
  for (uint32_t layer = 0; layer < layers; ++layer)
    EK_RETURN_IF_ERROR(transposed == 1 ? CheckColumns(in, tokens, layer)
                                       : CheckRows(in, tokens, layer, "values"));
  if (!in.at_end()) return Broken("more follows than its {} layers", layers);
  return Status::Ok();
}

}  // namespace evenkeel
