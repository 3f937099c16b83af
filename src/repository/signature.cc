#include "repository/signature.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/format.h"
#include "core/parse.h"
#include "core/suggest.h"
#include "repository/limits.h"

namespace evenkeel {
namespace {

bool IsInteger(DataType type) { return type >= DataType::kUint8 && type <= DataType::kInt64; }

Status CheckNames(std::string_view side, const std::vector<TensorSpec>& specs) {
  if (specs.empty()) return InvalidArgument("the model has no {}s", side);
  if (specs.size() > kMaxTensors) {
    return InvalidArgument("the model has {} {}s; at most {} are supported", specs.size(), side,
                           kMaxTensors);
  }
  std::set<std::string_view> names;
  for (const TensorSpec& spec : specs) {
    if (spec.name.empty() || spec.name.size() > kMaxTensorName || !IsUtf8(spec.name)) {
      return InvalidArgument("{} {}: expected a name of 1 to {} bytes of UTF-8", side,
                             Excerpt(spec.name), kMaxTensorName);
    }
    if (!names.insert(spec.name).second) {
      return InvalidArgument("the model has two {}s named {}", side, Excerpt(spec.name));
    }
  }
  return Status::Ok();
}

Status Unknown(std::string_view side, const std::string& name,
               const std::vector<TensorSpec>& specs) {
  std::vector<std::string_view> names;
  for (const TensorSpec& spec : specs) names.emplace_back(spec.name);
  const std::string_view near = ClosestTo(name, names);
  if (!near.empty()) {
    return InvalidArgument("{} {}: the model has no such {}; did you mean '{}'?", side,
                           Excerpt(name), side, near);
  }
  names.resize(std::min<size_t>(names.size(), 16));
  return InvalidArgument("{} {}: the model has no such {}; it has '{}'", side, Excerpt(name), side,
                         fmt::join(names, "', '"));
}

// `declared` laid over `spec`. Axis 0 may stay as the model has it where a batch axis is declared: CheckBatchAxis looks there.
Status MergeShape(std::string_view side, const Shape& declared, bool batch_axis_declared,
                  TensorSpec* spec) {
  const auto mismatch = [&] {
    return InvalidArgument("{} '{}': the settings say {}, the model has {}", side, spec->name,
                           declared.ToString(), spec->shape.ToString());
  };
  if (declared.rank() != spec->shape.rank()) return mismatch();
  Shape merged = spec->shape;
  for (int i = 0; i < merged.rank(); ++i) {
    if (merged[i] == declared[i]) continue;
    const bool batch_axis = i == 0 && batch_axis_declared;
    if (merged[i] == kDynamic) {
      merged[i] = declared[i];
    } else if (!(batch_axis && declared[i] == kDynamic)) {
      return mismatch();
    }
  }
  spec->shape = merged;
  return Status::Ok();
}

Status MergeRange(const IdRange& declared, TensorSpec* spec) {
  if (!IsInteger(spec->dtype)) {
    return InvalidArgument("input '{}': a range is for integers, the input is {}", spec->name,
                           NameOf(spec->dtype));
  }
  IdRange range = declared;
  if (spec->range) {
    range.lo = std::max(range.lo, spec->range->lo);
    range.hi = std::min(range.hi, spec->range->hi);
    if (range.lo > range.hi) {
      return InvalidArgument(
          "input '{}': the settings' range [{},{}] and the model's [{},{}] have nothing in common",
          spec->name, declared.lo, declared.hi, spec->range->lo, spec->range->hi);
    }
  }
  spec->range = range;
  return Status::Ok();
}

Status Merge(std::string_view side, const std::vector<TensorOverride>& overrides,
             bool batch_axis_declared, std::vector<TensorSpec>* specs) {
  for (const TensorOverride& declared : overrides) {
    const auto spec = std::ranges::find(*specs, declared.name, &TensorSpec::name);
    if (spec == specs->end()) return Unknown(side, declared.name, *specs);
    if (declared.dtype != DataType::kInvalid && declared.dtype != spec->dtype) {
      return InvalidArgument("{} '{}': the settings say {}, the model has {}", side, spec->name,
                             NameOf(declared.dtype), NameOf(spec->dtype));
    }
    if (declared.shape)
      EK_RETURN_IF_ERROR(MergeShape(side, *declared.shape, batch_axis_declared, &*spec));
    if (declared.range) EK_RETURN_IF_ERROR(MergeRange(*declared.range, &*spec));
    if (!declared.labels.empty()) spec->labels = declared.labels;
  }
  return Status::Ok();
}

// A declared batch axis: dynamic everywhere, or of the declared size.
Status CheckBatchAxis(std::string_view side, const std::vector<TensorSpec>& specs, int max_batch) {
  for (const TensorSpec& spec : specs) {
    if (spec.shape.rank() == 0) {
      return InvalidArgument(
          "{} '{}': max_batch is {}, but the tensor is a scalar without a batch axis", side,
          spec.name, max_batch);
    }
    if (spec.shape[0] != kDynamic && spec.shape[0] != max_batch) {
      return InvalidArgument("{} '{}': max_batch is {}, but axis 0 of {} is fixed at {}", side,
                             spec.name, max_batch, spec.shape.ToString(), spec.shape[0]);
    }
  }
  return Status::Ok();
}

bool AllDynamic(const std::vector<TensorSpec>& specs) {
  return std::ranges::all_of(specs, [](const TensorSpec& spec) {
    return spec.shape.rank() > 0 && spec.shape[0] == kDynamic;
  });
}

}  // namespace

Result<Signature> ResolveSignature(const ModelConfig& config, Signature from_engine) {
  Signature signature = std::move(from_engine);
  EK_RETURN_IF_ERROR(CheckNames("input", signature.inputs));
  EK_RETURN_IF_ERROR(CheckNames("output", signature.outputs));
  const bool declared = config.batch_axis_declared;
  EK_RETURN_IF_ERROR(Merge("input", config.inputs, declared, &signature.inputs));
  EK_RETURN_IF_ERROR(Merge("output", config.outputs, declared, &signature.outputs));
  const int max_batch =
      config.batching.max_batch > 0 ? config.batching.max_batch : kDefaultMaxBatch;
  if (declared) {
    EK_RETURN_IF_ERROR(CheckBatchAxis("input", signature.inputs, max_batch));
    EK_RETURN_IF_ERROR(CheckBatchAxis("output", signature.outputs, max_batch));
    signature.batched = true;
  } else {
    signature.batched =
        !config.no_batch_axis && AllDynamic(signature.inputs) && AllDynamic(signature.outputs);
  }
  signature.max_batch = signature.batched ? max_batch : 1;
  return signature;
}

}  // namespace evenkeel
