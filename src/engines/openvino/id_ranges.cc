#include "engines/openvino/id_ranges.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <openvino/core/model.hpp>
#include <openvino/op/ops.hpp>
#include <openvino/op/util/embeddingbag_offsets_base.hpp>
#include <openvino/op/util/embeddingbag_packed_base.hpp>
#include <openvino/op/util/gather_base.hpp>
#include <set>

namespace evenkeel {
namespace {

struct Table {
  IdRange range;
  bool split;  // only a part of the ids reaches it
};

// Rows of `data` along `axis`, where the model fixes them.
std::optional<int64_t> RowsOf(const ov::Node& node, size_t data, int64_t axis) {
  const ov::PartialShape& shape = node.get_input_partial_shape(data);
  if (shape.rank().is_dynamic()) return std::nullopt;
  const int64_t rank = shape.rank().get_length();
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || shape[static_cast<size_t>(axis)].is_dynamic())
    return std::nullopt;
  const int64_t rows = shape[static_cast<size_t>(axis)].get_length();
  return rows > 0 ? std::optional<int64_t>(rows) : std::nullopt;
}

std::optional<IdRange> RangeFor(std::optional<int64_t> rows, bool negative_allowed) {
  if (!rows) return std::nullopt;
  return IdRange{negative_allowed ? -*rows : 0, *rows - 1};
}

// The ids that `node` accepts at its input `port`, if that input indexes a table.
std::optional<IdRange> AsIndexOf(const ov::Node& node, size_t port) {
  if (const auto* gather = ov::as_type<const ov::op::util::GatherBase>(&node)) {
    // Only version 8 counts negative ids from the end.
    if (port != 1 || !ov::is_type<ov::op::v0::Constant>(gather->get_input_node_ptr(2))) return {};
    return RangeFor(RowsOf(node, 0, gather->get_axis()), ov::is_type<ov::op::v8::Gather>(&node));
  }
  if (const auto* gather = ov::as_type<const ov::op::v6::GatherElements>(&node)) {
    return port == 1 ? RangeFor(RowsOf(node, 0, gather->get_axis()), true) : std::nullopt;
  }
  if (ov::is_type<ov::op::util::EmbeddingBagOffsetsBase>(&node) ||
      ov::is_type<ov::op::util::EmbeddingBagPackedBase>(&node) ||
      ov::is_type<ov::op::v3::EmbeddingSegmentsSum>(&node)) {
    return port == 1 ? RangeFor(RowsOf(node, 0, 0), false) : std::nullopt;
  }
  return std::nullopt;
}

enum class Passage { kNone, kWhole, kPart };

// Whether the integers that enter `node` at `port` leave it unchanged.
Passage PassageThrough(const ov::Node& node, size_t port) {
  namespace op = ov::op;
  if (ov::is_type<op::v0::Concat>(&node)) return Passage::kWhole;
  if (port != 0) return Passage::kNone;
  if (ov::is_type<op::v0::Convert>(&node)) {
    return node.get_output_element_type(0).is_integral_number() ? Passage::kWhole : Passage::kNone;
  }
  if (ov::is_type<op::v1::Reshape>(&node) || ov::is_type<op::v0::Unsqueeze>(&node) ||
      ov::is_type<op::v0::Squeeze>(&node) || ov::is_type<op::v15::Squeeze>(&node) ||
      ov::is_type<op::v1::Transpose>(&node) || ov::is_type<op::util::BroadcastBase>(&node) ||
      ov::is_type<op::v0::Tile>(&node)) {
    return Passage::kWhole;
  }
  if (ov::is_type<op::v8::Slice>(&node) || ov::is_type<op::v1::StridedSlice>(&node) ||
      ov::is_type<op::v1::Split>(&node) || ov::is_type<op::v1::VariadicSplit>(&node) ||
      ov::is_type<op::util::GatherBase>(&node) || ov::is_type<op::v8::GatherND>(&node)) {
    return Passage::kPart;
  }
  return Passage::kNone;
}

std::vector<Table> TablesReachedFrom(const ov::Node& parameter) {
  std::vector<Table> tables;
  std::deque<std::pair<ov::Output<const ov::Node>, bool>> open = {{parameter.output(0), false}};
  // A node may be reached whole and in part: both count, hence the flag in the key.
  std::set<std::pair<const ov::Node*, bool>> seen;
  while (!open.empty()) {
    const auto [output, split] = open.front();
    open.pop_front();
    for (const auto& input : output.get_target_inputs()) {
      const ov::Node& node = *input.get_node();
      if (const auto range = AsIndexOf(node, input.get_index())) tables.push_back({*range, split});
      const Passage passage = PassageThrough(node, input.get_index());
      if (passage == Passage::kNone) continue;
      const bool part = split || passage == Passage::kPart;
      if (!seen.insert({&node, part}).second) continue;
      for (const auto& next : node.outputs()) open.emplace_back(next, part);
    }
  }
  return tables;
}

std::optional<IdRange> Combine(const std::vector<Table>& tables) {
  std::optional<IdRange> whole, part;
  for (const Table& table : tables) {
    std::optional<IdRange>& range = table.split ? part : whole;
    if (!range) {
      range = table.range;
    } else if (table.split) {
      range = IdRange{std::min(range->lo, table.range.lo), std::max(range->hi, table.range.hi)};
    } else {
      range = IdRange{std::max(range->lo, table.range.lo), std::min(range->hi, table.range.hi)};
    }
  }
  return whole ? whole : part;
}

std::optional<IdRange> RangeIn32Bits(const ov::Node& parameter) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const ov::element::Type type = parameter.get_output_element_type(0);
  const bool is_signed = type == ov::element::i64;
  if (!is_signed && type != ov::element::u64 && type != ov::element::u32) return std::nullopt;
  for (const auto& input : parameter.output(0).get_target_inputs()) {
    const ov::Node& node = *input.get_node();
    const bool to_real =
        ov::is_type<ov::op::v0::Convert>(&node) && node.get_output_element_type(0).is_real();
    if (!to_real && !ov::is_type<ov::op::v0::Result>(&node)) {
      return IdRange{is_signed ? -kMax - 1 : 0, kMax};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::optional<IdRange>> FindIdRanges(const ov::Model& model) {
  std::vector<std::optional<IdRange>> ranges;
  for (const auto& parameter : model.get_parameters()) {
    auto& range = ranges.emplace_back();
    if (!parameter->get_element_type().is_integral_number()) continue;
    range = Combine(TablesReachedFrom(*parameter));
    if (!range) range = RangeIn32Bits(*parameter);
  }
  return ranges;
}

}  // namespace evenkeel
