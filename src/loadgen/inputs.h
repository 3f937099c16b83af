// What to send: the tensors of one request, made up at random, read from JSON, or cut from rows.
//
// Contract: every InputSet fits the model's metadata as far as that goes; errors
//   (kInvalidArgument) name the input and the flag or file that would help. Random sets depend on
//   the seed only.
// Thread-safety: thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel::loadgen {

// One tensor of a request; BYTES data in the protocol's binary form.
struct InputTensor {
  std::string name;
  DataType dtype = DataType::kInvalid;
  Shape shape;
  std::string data;
};

struct InputSet {
  std::vector<InputTensor> tensors;
  int rows = 1;
};

// What a server says of a model.
struct ModelInfo {
  std::string name;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

// From the answer to GET /v2/models/NAME.
Result<ModelInfo> ParseModelInfo(std::string_view json);

// Adds the ranges of ids that our server's description of a model carries ({"name": ..., "range": [lo, hi]}, anywhere in
// the document). A document without any changes nothing.
void AddRanges(std::string_view description_json, ModelInfo* model);

struct RandomOptions {
  int batch = 1;
  int count = 64;
  uint64_t seed = 1;
  std::optional<int64_t>
      id_max;  // integers (of 16 bits and more) are drawn from [0, id_max]; unset: the range, else 99
  std::map<std::string, Shape>
      shapes;  // whole shapes of inputs with free axes, batch axis included
};
// Floats in [0, 1), BYTES of 8 letters. A free first axis is the batch axis.
Result<std::vector<InputSet>> RandomInputs(const ModelInfo& model, const RandomOptions& options);

// One request body of the protocol ({"inputs": [...]}), or an array of them. `name` is for messages.
Result<std::vector<InputSet>> InputsFromJson(std::string_view text, std::string_view name);

// Rows of a model's inputs, as samples have them. data[row][input]; shapes are of one row.
struct RowTable {
  std::vector<TensorSpec> inputs;
  bool batched = true;  // rows are slices of a batch axis
  std::vector<std::vector<std::string>> data;
};
// Requests of `batch` rows each, the rows in turn: as many requests as it takes to use every row, at most `count`.
Result<std::vector<InputSet>> InputsFromRows(const RowTable& table, int batch, int count);

}  // namespace evenkeel::loadgen
