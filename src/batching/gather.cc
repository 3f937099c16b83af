#include "batching/gather.h"

#include <algorithm>
#include <cstring>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr size_t kAlign = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The last row of `bytes`, which hold `rows` rows of `view`'s tensor.
std::span<const std::byte> LastRow(const TensorView& view, std::span<const std::byte> bytes,
                                   int64_t rows) {
  if (view.dtype != DataType::kBytes) return bytes.last(bytes.size() / static_cast<size_t>(rows));
  const int64_t a_row = *view.shape.Tail().ElementCount();
  // Lengths were checked when the call came in.
  return bytes.subspan(*BytesElementsSize(bytes, (rows - 1) * a_row));
}

class ArenaWriter {
 public:
  explicit ArenaWriter(std::span<std::byte> arena) : arena_(arena) {}

  void StartTensor() { start_ = at_ = Aligned(at_); }
  bool Append(std::span<const std::byte> bytes) {
    if (at_ > arena_.size() || arena_.size() - at_ < bytes.size()) return false;
    std::memcpy(arena_.data() + at_, bytes.data(), bytes.size());
    at_ += bytes.size();
    return true;
  }
  // `already`: they are there.
  bool AppendZeros(size_t bytes, bool already) {
    if (at_ > arena_.size() || arena_.size() - at_ < bytes) return false;
    if (!already) std::memset(arena_.data() + at_, 0, bytes);
    at_ += bytes;
    return true;
  }
  std::span<std::byte> tensor() const { return arena_.subspan(start_, at_ - start_); }

 private:
  std::span<std::byte> arena_;
  size_t start_ = 0, at_ = 0;
};

// The lowest id that a warm-up may use; most tables start at 0.
int64_t WarmId(const TensorSpec& spec) {
  if (!spec.range || (spec.range->lo <= 0 && spec.range->hi >= 0)) return 0;
  return spec.range->lo;
}

// The shape and size of one input of a warm-up batch.
struct WarmTensor {
  Shape shape;
  size_t element = 0;
  std::optional<size_t> bytes;
};

WarmTensor WarmShape(const TensorSpec& spec, bool batched, int rows) {
  WarmTensor tensor;
  tensor.shape = spec.shape;
  for (int d = 0; d < tensor.shape.rank(); ++d) {
    if (tensor.shape[d] == kDynamic) tensor.shape[d] = 1;
  }
  if (batched) tensor.shape[0] = rows;
  // An empty BYTES element is four zero bytes.
  tensor.element = spec.dtype == DataType::kBytes ? 4 : ElementSize(spec.dtype);
  const auto count = tensor.shape.ElementCount();
  size_t bytes = 0;
  if (count && !__builtin_mul_overflow(static_cast<size_t>(*count), tensor.element, &bytes))
    tensor.bytes = bytes;
  return tensor;
}

}  // namespace

void CutInputs(Request& request) {
  const InferCall& call = *request.call;
  const bool split = request.parts.size() > 1;
  std::vector<size_t> at(split ? call.inputs.size() : 0);
  for (Part& part : request.parts) {
    part.bytes = call.inputs.size() * kAlign;
    if (split) part.slices.resize(call.inputs.size());
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      const TensorView& view = call.inputs[i];
      size_t size = view.data.size();
      if (split) {
        const auto rest = view.data.subspan(at[i]);
        // Lengths were checked when the call came in.
        size = view.dtype == DataType::kBytes
                   ? *BytesElementsSize(rest, part.rows * *view.shape.Tail().ElementCount())
                   : size / static_cast<size_t>(request.rows) * static_cast<size_t>(part.rows);
        part.slices[i] = rest.first(size);
        at[i] += size;
      }
      part.bytes += size;
    }
  }
}

Result<std::vector<TensorView>> GatherBatch(const Signature& signature,
                                            std::span<Part* const> parts, int run_rows,
                                            std::span<std::byte> arena) {
  std::vector<TensorView> views(signature.inputs.size());
  ArenaWriter writer(arena);
  for (size_t i = 0; i < views.size(); ++i) {
    writer.StartTensor();
    const TensorView& model = parts.front()->request->call->inputs[i];
    views[i].spec = static_cast<uint32_t>(i);
    views[i].dtype = model.dtype;
    views[i].shape = model.shape;
    int64_t rows = 0;
    bool fits = true;
    for (const Part* part : parts) {
      fits = fits && writer.Append(part->input(i));
      rows += part->rows;
    }
    if (signature.batched) {
      if (const Part& last = *parts.back(); rows < run_rows) {
        const auto row = LastRow(model, last.input(i), last.rows);
        for (; fits && rows < run_rows; ++rows) fits = writer.Append(row);
      }
      views[i].shape[0] = rows;
    }
    if (!fits)
      return TooLarge("a batch of {} rows does not fit the {} bytes of its buffer", run_rows,
                      arena.size());
    views[i].data = writer.tensor();
  }
  return views;
}

std::optional<size_t> WarmBytes(const Signature& signature, int rows) {
  size_t total = 0;
  for (const TensorSpec& spec : signature.inputs) {
    const auto bytes = WarmShape(spec, signature.batched, rows).bytes;
    if (!bytes || __builtin_add_overflow(total, *bytes + kAlign, &total)) return std::nullopt;
  }
  return total;
}

Result<std::vector<TensorView>> WarmBatch(const Signature& signature, int rows,
                                          std::span<std::byte> arena, bool untouched) {
  std::vector<TensorView> views(signature.inputs.size());
  ArenaWriter writer(arena);
  // Ids of another size's warm-up may lie where this one's zeros belong.
  const bool zeroed = untouched && std::ranges::all_of(signature.inputs, [](const auto& input) {
                        return WarmId(input) == 0;
                      });
  for (size_t i = 0; i < views.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    const WarmTensor warm = WarmShape(spec, signature.batched, rows);
    writer.StartTensor();
    if (!warm.bytes || !writer.AppendZeros(*warm.bytes, zeroed)) {
      return TooLarge("a batch of {} rows does not fit the {} bytes of its buffer", rows,
                      arena.size());
    }
    views[i] = {static_cast<uint32_t>(i), spec.dtype, warm.shape, writer.tensor()};
    if (const int64_t id = WarmId(spec); id != 0) {
      for (std::span<std::byte> at = writer.tensor(); !at.empty(); at = at.subspan(warm.element)) {
        std::memcpy(at.data(), &id,
                    std::min(warm.element, sizeof id));  // little-endian: the low bytes come first
      }
    }
  }
  return views;
}

bool RowShapesFixed(const Signature& signature) {
  for (const TensorSpec& spec : signature.inputs) {
    for (int d = signature.batched ? 1 : 0; d < spec.shape.rank(); ++d) {
      if (spec.shape[d] == kDynamic) return false;
    }
  }
  return true;
}

Result<Scatter> Scatter::Create(const Signature& signature, std::span<const TensorView> outputs,
                                int run_rows) {
  if (outputs.size() != signature.outputs.size()) {
    return Internal("expected {} outputs, got {}", signature.outputs.size(), outputs.size());
  }
  for (size_t i = 0; signature.batched && i < outputs.size(); ++i) {
    const Shape& shape = outputs[i].shape;
    if (shape.rank() >= 1 && shape[0] == run_rows) continue;
    return Internal(
        "output '{}' has shape {} for a batch of {} rows: the model does not batch along its first "
        "axis",
        signature.outputs[i].name, shape.ToString(), run_rows);
  }
  return Scatter(outputs, signature.batched);
}

Status Scatter::Next(int rows, std::vector<TensorView>* views) {
  views->assign(outputs_.begin(), outputs_.end());
  if (!batched_) return Status::Ok();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    TensorView& view = (*views)[i];
    const auto rest = outputs_[i].data.subspan(at_[i]);
    size_t bytes = 0;
    if (view.dtype == DataType::kBytes) {
      const auto size = BytesElementsSize(rest, rows * *view.shape.Tail().ElementCount());
      if (!size.ok()) return Internal("output {}: {}", i, size.status().message());
      bytes = *size;
    } else {
      bytes = outputs_[i].data.size() / static_cast<size_t>(outputs_[i].shape[0]) *
              static_cast<size_t>(rows);
    }
    view.shape[0] = rows;
    view.data = rest.first(bytes);
    at_[i] += bytes;
  }
  return Status::Ok();
}

}  // namespace evenkeel
