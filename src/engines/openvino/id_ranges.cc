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
#include <tuple>

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

// Where ids lie on their way, and what was added to them.
struct Stop {
  ov::Output<const ov::Node> output;
  bool split = false;
  int64_t least_added = 0, most_added = 0;
};

// Least and most of the integers in a constant; nullopt for anything else.
std::optional<std::pair<int64_t, int64_t>> BoundsOf(const ov::Node& node) {
  const auto* constant = ov::as_type<const ov::op::v0::Constant>(&node);
  if (constant == nullptr || !constant->get_element_type().is_integral_number())
    return std::nullopt;
  const auto values = constant->cast_vector<int64_t>();
  if (values.empty()) return std::nullopt;
  const auto [least, most] = std::ranges::minmax(values);
  constexpr int64_t kLimit = int64_t{1} << 40;
  if (least < -kLimit || most > kLimit) return std::nullopt;
  return std::pair(least, most);
}

// Where the ids go after `node`, which they enter at `port`. False: nowhere.
bool Pass(const ov::Node& node, size_t port, Stop* stop) {
  const bool add = ov::is_type<ov::op::v1::Add>(&node);
  if (add || (ov::is_type<ov::op::v1::Subtract>(&node) && port == 0)) {
    // Rows of several tables in one: each column of ids has its offset.
    const auto bounds = BoundsOf(*node.get_input_node_ptr(1 - port));
    if (!bounds) return false;
    stop->least_added += add ? bounds->first : -bounds->second;
    stop->most_added += add ? bounds->second : -bounds->first;
    stop->split = stop->split || bounds->first != bounds->second;
    return true;
  }
  const Passage passage = PassageThrough(node, port);
  stop->split = stop->split || passage == Passage::kPart;
  return passage != Passage::kNone;
}

std::vector<Table> TablesReachedFrom(const ov::Node& parameter) {
  std::vector<Table> tables;
  std::deque<Stop> open = {{parameter.output(0)}};
  // A node may be reached whole and in part, or with other additions: all count, hence the key.
  std::set<std::tuple<const ov::Node*, bool, int64_t, int64_t>> seen;
  while (!open.empty()) {
    const Stop here = open.front();
    open.pop_front();
    for (const auto& input : here.output.get_target_inputs()) {
      const ov::Node& node = *input.get_node();
      if (const auto range = AsIndexOf(node, input.get_index())) {
        tables.push_back({{range->lo - here.most_added, range->hi - here.least_added}, here.split});
      }
      Stop next = here;
      if (!Pass(node, input.get_index(), &next)) continue;
      if (!seen.insert({&node, next.split, next.least_added, next.most_added}).second) continue;
      for (const auto& output : node.outputs()) {
        next.output = output;
        open.push_back(next);
      }
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
