#include "loadgen/inputs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "loadgen/arrivals.h"

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

constexpr int64_t kDefaultIdMax = 99;
constexpr int64_t kMaxElements = 1 << 28;
constexpr int kRandomStringLength = 8;

template <typename T>
void Append(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

Result<TensorSpec> ParseTensorInfo(const json& j, const char* what) {
  TensorSpec spec;
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string() || !j.contains("datatype") ||
      !j["datatype"].is_string() || !j.contains("shape") || !j["shape"].is_array() ||
      j["shape"].size() > static_cast<size_t>(kMaxRank)) {
    return InvalidArgument("metadata: {} without name, datatype or a shape of at most {} axes",
                           what, kMaxRank);
  }
  spec.name = j["name"].get<std::string>();
  const auto type = j["datatype"].get<std::string>();
  spec.dtype = DataTypeFromName(type);
  if (spec.dtype == DataType::kInvalid)
    return InvalidArgument("metadata: {} '{}' has the unknown datatype '{}'", what, spec.name,
                           type);
  for (const json& d : j["shape"]) {
    if (!d.is_number_integer())
      return InvalidArgument("metadata: {} '{}' has a shape that is not of integers", what,
                             spec.name);
    spec.shape.push_back(d.get<int64_t>());
  }
  return spec;
}

// The shape a random tensor gets: the flag's, or the model's with its free first axis set to the batch.
Result<Shape> ConcreteShape(const std::string& model, const TensorSpec& spec,
                            const RandomOptions& options) {
  if (const auto it = options.shapes.find(spec.name); it != options.shapes.end()) return it->second;
  Shape shape = spec.shape;
  if (shape.rank() > 0 && shape[0] == kDynamic) {
    shape[0] = options.batch;
  } else if (options.batch > 1 && (shape.rank() == 0 || shape[0] != options.batch)) {
    return InvalidArgument("model '{}': input '{}' is {}, so --batch {} does not fit it", model,
                           spec.name, spec.shape.ToString(), options.batch);
  }
  for (const int64_t d : shape.dims()) {
    if (d < 0)
      return InvalidArgument(
          "model '{}': input '{}' is {}; give its size with --shape {}:D0,D1,...", model, spec.name,
          spec.shape.ToString(), spec.name);
  }
  return shape;
}

void AppendRandom(const TensorSpec& spec, const RandomOptions& options, Rng* rng,
                  std::string* out) {
  int64_t lo = 0;
  int64_t hi = options.id_max.value_or(kDefaultIdMax);
  if (spec.range && !options.id_max) {
    lo = spec.range->lo;
    hi = std::max(spec.range->hi, lo);
  }
  const uint64_t span = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) + 1;
  const int64_t id = lo + static_cast<int64_t>(span == 0 ? rng->Next() : rng->Below(span));
  switch (spec.dtype) {
    case DataType::kBool: return Append(out, static_cast<uint8_t>(rng->Below(2)));
    case DataType::kUint8:
    case DataType::kInt8:
      return Append(out, static_cast<uint8_t>(
                             spec.range ? static_cast<uint64_t>(id)
                                        : rng->Below(spec.dtype == DataType::kInt8 ? 128 : 256)));
    case DataType::kUint16:
    case DataType::kInt16: return Append(out, static_cast<int16_t>(id));
    case DataType::kUint32:
    case DataType::kInt32: return Append(out, static_cast<int32_t>(id));
    case DataType::kUint64:
    case DataType::kInt64: return Append(out, id);
    // Every bit pattern below that of 1.0 is a number in [0, 1); its exponent is drawn evenly, not the number.
    case DataType::kFp16: return Append(out, static_cast<uint16_t>(rng->Below(0x3c00)));
    case DataType::kBf16:
      return Append(out, static_cast<uint16_t>(0x3c00 + rng->Below(0x3f80 - 0x3c00)));
    case DataType::kFp32:
      return Append(out, static_cast<float>(static_cast<double>(rng->Next() >> 40) * 0x1.0p-24));
    case DataType::kFp64: return Append(out, rng->Uniform());
    case DataType::kBytes:
      Append(out, static_cast<uint32_t>(kRandomStringLength));
      for (int i = 0; i < kRandomStringLength; ++i)
        out->push_back(static_cast<char>('a' + rng->Below(26)));
      return;
    case DataType::kInvalid: return;
  }
}

}  // namespace

Result<ModelInfo> ParseModelInfo(std::string_view text) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string())
    return InvalidArgument("the metadata is not a JSON object with a name");
  ModelInfo info;
  info.name = j["name"].get<std::string>();
  for (const char* what : {"inputs", "outputs"}) {
    if (!j.contains(what) || !j[what].is_array()) continue;
    for (const json& tensor : j[what]) {
      Result<TensorSpec> spec = ParseTensorInfo(tensor, what);
      if (!spec.ok()) return spec.status();
      (what[0] == 'i' ? info.inputs : info.outputs).push_back(std::move(*spec));
    }
  }
  if (info.inputs.empty())
    return InvalidArgument("model '{}' has no inputs in its metadata", info.name);
  return info;
}

void AddRanges(std::string_view description_json, ModelInfo* model) {
  // The parser hands over each finished object, so the document's layout does not matter.
  const auto visit = [model](int, json::parse_event_t event, json& j) {
    if (event != json::parse_event_t::object_end || !j.contains("range") || !j.contains("name") ||
        !j["name"].is_string())
      return true;
    const json& range = j["range"];
    if (!range.is_array() || range.size() != 2 || !range[0].is_number_integer() ||
        !range[1].is_number_integer())
      return true;
    for (TensorSpec& input : model->inputs) {
      if (input.name == j["name"])
        input.range = IdRange{range[0].get<int64_t>(), range[1].get<int64_t>()};
    }
    return true;
  };
  // What was found before an error stays: ranges only make random inputs better.
  const json ignored = json::parse(description_json, visit, false);
}

Result<std::vector<InputSet>> RandomInputs(const ModelInfo& model, const RandomOptions& options) {
  for (const auto& [name, shape] : options.shapes) {
    const bool known = std::any_of(model.inputs.begin(), model.inputs.end(),
                                   [&name = name](const TensorSpec& s) { return s.name == name; });
    if (!known)
      return InvalidArgument("model '{}' has no input '{}' (from --shape)", model.name, name);
  }
  Rng rng(options.seed);
  std::vector<InputSet> sets(static_cast<size_t>(std::max(options.count, 1)));
  for (InputSet& set : sets) {
    set.rows = options.batch;
    for (const TensorSpec& spec : model.inputs) {
      Result<Shape> shape = ConcreteShape(model.name, spec, options);
      if (!shape.ok()) return shape.status();
      const std::optional<int64_t> count = shape->ElementCount();
      if (!count || *count > kMaxElements)
        return InvalidArgument("model '{}': input '{}' of shape {} is too large", model.name,
                               spec.name, shape->ToString());
      InputTensor tensor{spec.name, spec.dtype, *shape, {}};
      tensor.data.reserve(static_cast<size_t>(*count) *
                          std::max<size_t>(ElementSize(spec.dtype), 1));
      for (int64_t i = 0; i < *count; ++i) AppendRandom(spec, options, &rng, &tensor.data);
      set.tensors.push_back(std::move(tensor));
    }
  }
  return sets;
}

Result<std::vector<InputSet>> InputsFromRows(const RowTable& table, int batch, int count) {
  if (table.data.empty()) return InvalidArgument("there are no sample rows");
  if (!table.batched && batch != 1)
    return InvalidArgument("the model has no batch axis, so --batch {} does not fit it", batch);
  const auto rows = table.data.size();
  const auto width = static_cast<size_t>(batch);
  const size_t requests =
      std::min((rows + width - 1) / width, static_cast<size_t>(std::max(count, 1)));
  std::vector<InputSet> sets(requests);
  size_t next = 0;
  for (InputSet& set : sets) {
    set.rows = batch;
    for (const TensorSpec& spec : table.inputs) {
      Shape shape;
      if (table.batched) shape.push_back(batch);
      for (const int64_t d : spec.shape.dims()) {
        if (shape.full())
          return InvalidArgument("input '{}' has more than {} axes", spec.name, kMaxRank);
        shape.push_back(d);
      }
      set.tensors.push_back({spec.name, spec.dtype, shape, {}});
    }
    for (int r = 0; r < batch; ++r, next = (next + 1) % rows) {
      for (size_t i = 0; i < table.inputs.size(); ++i) set.tensors[i].data += table.data[next][i];
    }
  }
  return sets;
}

}  // namespace evenkeel::loadgen
