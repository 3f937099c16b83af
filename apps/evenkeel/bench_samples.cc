// Safetensors files as rows of inputs for `evenkeel bench`.
#include <cstring>

#include "bench_options.h"
#include "core/format.h"
#include "profiling/safetensors.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

loadgen::RowTable RowsOfSamples(const SampleSet& set) {
  loadgen::RowTable table;
  table.inputs = set.inputs;
  table.batched = set.batched;
  for (const auto& row : set.rows) {
    std::vector<std::string>& data = table.data.emplace_back();
    for (const std::vector<std::byte>& input : row->inputs) {
      data.emplace_back(reinterpret_cast<const char*>(input.data()), input.size());
    }
  }
  return table;
}

// Tensors [rows, ...] named like the inputs, as any tool writes them.
Result<loadgen::RowTable> RowsOfTensors(const SafeTensors& file, const loadgen::ModelInfo& model) {
  loadgen::RowTable table;
  for (const TensorSpec& input : model.inputs) {
    const SafeTensor* tensor = file.Find(input.name);
    if (tensor == nullptr)
      return InvalidArgument("no tensor named like the input '{}'", input.name);
    if (tensor->dtype != input.dtype) {
      return InvalidArgument("tensor '{}' is {}, the input is {}", input.name,
                             NameOf(tensor->dtype), NameOf(input.dtype));
    }
    if (tensor->shape.empty() || tensor->shape[0] == 0 ||
        tensor->shape.size() > static_cast<size_t>(kMaxRank)) {
      return InvalidArgument("tensor '{}' needs rows as its first axis and at most {} axes",
                             input.name, kMaxRank);
    }
    const size_t rows = tensor->shape[0];
    if (table.data.empty()) table.data.resize(rows);
    if (table.data.size() != rows)
      return InvalidArgument("tensor '{}' has {} rows, others have {}", input.name, rows,
                             table.data.size());
    TensorSpec spec{input.name, input.dtype, {}, {}, {}};
    for (size_t i = 1; i < tensor->shape.size(); ++i)
      spec.shape.push_back(static_cast<int64_t>(tensor->shape[i]));
    table.inputs.push_back(std::move(spec));
    const size_t width = tensor->data.size() / rows;
    const char* data = reinterpret_cast<const char*>(tensor->data.data());
    for (size_t r = 0; r < rows; ++r) table.data[r].emplace_back(data + r * width, width);
  }
  return table;
}

}  // namespace

Result<loadgen::RowTable> RowsFromSafetensors(const std::string& bytes,
                                              const loadgen::ModelInfo& model) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(bytes.data()),
                                        bytes.size());
  if (Result<SampleSet> samples = DecodeSamples(file); samples.ok() && !samples->rows.empty())
    return RowsOfSamples(*samples);
  Result<SafeTensors> tensors = DecodeSafetensors(file);
  if (!tensors.ok()) return tensors.status();
  return RowsOfTensors(*tensors, model);
}

}  // namespace evenkeel
