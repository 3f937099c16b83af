#include "engines/fake/fake_model.h"

#include <yaml-cpp/yaml.h>

#include <array>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int64_t kMostGrowthMib = 1 << 20;
constexpr std::array<std::pair<std::string_view, FakeFunction>, 4> kFunctions = {
    {{"echo", FakeFunction::kEcho},
     {"row_sum", FakeFunction::kRowSum},
     {"batch_rows", FakeFunction::kBatchRows},
     {"count", FakeFunction::kCount}}};

Status ReadSpec(const YAML::Node& node, TensorSpec* spec) {
  spec->name = node["name"].as<std::string>();
  spec->dtype = DataTypeFromName(node["dtype"].as<std::string>("FP32"));
  if (spec->dtype == DataType::kInvalid) {
    return InvalidArgument("'{}': unknown dtype '{}'", spec->name, node["dtype"].as<std::string>());
  }
  for (const YAML::Node& dim : node["shape"]) {
    if (spec->shape.full()) return InvalidArgument("'{}': more than 8 dimensions", spec->name);
    spec->shape.push_back(dim.as<int64_t>());
  }
  if (const YAML::Node range = node["range"]) {
    spec->range = IdRange{range[0].as<int64_t>(), range[1].as<int64_t>()};
  }
  return Status::Ok();
}

Status ReadOutput(const YAML::Node& node, FakeModel* model) {
  TensorSpec spec;
  EK_RETURN_IF_ERROR(ReadSpec(node, &spec));
  FakeOutput output;
  const auto function = node["function"].as<std::string>("echo");
  bool known = false;
  for (const auto& [name, value] : kFunctions) {
    if (name != function) continue;
    output.function = value;
    known = true;
  }
  if (!known) return InvalidArgument("'{}': unknown function '{}'", spec.name, function);
  const auto source = node["input"].as<std::string>(model->signature.inputs[0].name);
  const int input = model->signature.FindInput(source);
  if (input < 0) return InvalidArgument("'{}': unknown input '{}'", spec.name, source);
  output.input = static_cast<size_t>(input);
  const bool per_row = output.function != FakeFunction::kEcho;
  if (per_row && (spec.dtype == DataType::kBytes || spec.shape.rank() == 0)) {
    return InvalidArgument("'{}': {} gives one number a row", spec.name, function);
  }
  if (output.function == FakeFunction::kRowSum &&
      model->signature.inputs[output.input].dtype == DataType::kBytes) {
    return InvalidArgument("'{}': cannot add up BYTES", spec.name);
  }
  model->signature.outputs.push_back(std::move(spec));
  model->outputs.push_back(output);
  return Status::Ok();
}

std::optional<int64_t> ReadMarker(const YAML::Node& root, const char* key) {
  const YAML::Node node = root[key];
  return node ? std::optional<int64_t>(node.as<int64_t>()) : std::nullopt;
}

Status ReadRoot(const YAML::Node& root, FakeModel* model) {
  for (const YAML::Node& node : root["inputs"]) {
    EK_RETURN_IF_ERROR(ReadSpec(node, &model->signature.inputs.emplace_back()));
  }
  if (model->signature.inputs.empty()) {
    model->signature.inputs.push_back({"x", DataType::kFp32, Shape{kDynamic, 4}, {}, {}});
  }
  for (const YAML::Node& node : root["outputs"]) EK_RETURN_IF_ERROR(ReadOutput(node, model));
  if (model->outputs.empty()) {
    TensorSpec echo = model->signature.inputs[0];
    echo.name = "y";
    echo.range.reset();
    model->signature.outputs.push_back(std::move(echo));
    model->outputs.push_back({});
  }
  if (const YAML::Node delay = root["delay_us"]) {
    model->delay_fixed = std::chrono::microseconds(delay["fixed"].as<int64_t>(0));
    model->delay_per_row = std::chrono::microseconds(delay["per_row"].as<int64_t>(0));
    model->delay_busy = delay["mode"].as<std::string>("sleep") == "busy";
    model->delay_on_cpu_only = delay["on"].as<std::string>("all") == "cpu";
  }
  model->throw_on = ReadMarker(root, "throw_on");
  model->error_on = ReadMarker(root, "error_on");
  model->abort_on = ReadMarker(root, "abort_on");
  model->hang_on = ReadMarker(root, "hang_on");
  model->grow_on = ReadMarker(root, "grow_on");
  model->grow_mib = root["grow_mib"].as<int64_t>(model->grow_mib);
  if (model->grow_mib < 1 || model->grow_mib > kMostGrowthMib)
    return InvalidArgument("'grow_mib': expected 1 to {}, got {}", kMostGrowthMib, model->grow_mib);
  model->runaway_on = ReadMarker(root, "runaway_on");
  model->slow_load = std::chrono::milliseconds(root["slow_load_ms"].as<int64_t>(0));
  model->fail_load = root["fail_load"].as<std::string>("");
  return Status::Ok();
}

}  // namespace

Result<FakeModel> ReadFakeModel(const std::string& path) {
  try {
    YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) root = YAML::Node(YAML::NodeType::Map);
    if (!root.IsMap()) return InvalidArgument("expected a map of settings");
    FakeModel model;
    EK_RETURN_IF_ERROR(ReadRoot(root, &model));
    return model;
  } catch (const YAML::Exception& e) {
    return InvalidArgument("fake model: {}", e.what());
  }
}

}  // namespace evenkeel
