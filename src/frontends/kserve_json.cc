#include "frontends/kserve_json.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "core/format.h"
#include "frontends/kserve_json_data.h"
#include "frontends/kserve_raw.h"
#include "frontends/strict_json.h"

namespace evenkeel {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

// What nobody reads: a field or parameter that is not known. Its objects may not repeat a key either. Ordinary requests have none, or one number
// or string, so that they pay for nothing; its depth is bounded by the parser's.
Status CheckUnread(std::string_view key, const element& value) {
  const Status status = CheckJsonKeysBelow(value);
  return status.ok() ? status : status.Annotate(fmt::format("'{}'", key));
}

Status ExpectObject(const element& e, std::string_view what, object* out) {
  if (e.get_object().get(*out) != simdjson::SUCCESS)
    return InvalidArgument("{}: expected an object", what);
  return CheckJsonKeys(*out).Annotate(what);
}

Status ReadString(const element& e, std::string_view what, std::string_view* out) {
  if (e.get_string().get(*out) != simdjson::SUCCESS)
    return InvalidArgument("{}: expected a string", what);
  return {};
}

Status ReadBool(const element& e, std::string_view what, bool* out) {
  if (e.get_bool().get(*out) != simdjson::SUCCESS)
    return InvalidArgument("{}: expected true or false", what);
  return {};
}

Status ReadCount(const element& e, std::string_view what, uint64_t* out) {
  if (e.get_uint64().get(*out) != simdjson::SUCCESS)
    return InvalidArgument("{}: expected a whole number, 0 or more", what);
  return {};
}

bool IsSharedMemory(std::string_view key) { return key.starts_with("shared_memory_"); }

Status ReadShape(const element& e, Shape* out) {
  array dims;
  if (e.get_array().get(dims) != simdjson::SUCCESS)
    return InvalidArgument("shape: expected an array");
  for (const element dim : dims) {
    int64_t value = 0;
    if (dim.get_int64().get(value) != simdjson::SUCCESS)
      return InvalidArgument("shape: expected whole numbers");
    if (value < 0) return InvalidArgument("shape: expected sizes of 0 or more, got {}", value);
    if (out->full()) return InvalidArgument("shape: expected at most {} dimensions", kMaxRank);
    out->push_back(value);
  }
  if (!out->ElementCount()) return InvalidArgument("shape {} is too large", out->ToString());
  return {};
}

class RequestReader {
 public:
  RequestReader(std::span<const std::byte> binary, const Signature& signature, InferRequest* out)
      : binary_(binary), signature_(signature), out_(out) {}

  Status Read(const object& root) {
    EK_RETURN_IF_ERROR(CheckJsonKeys(root));
    element parameters, inputs, outputs;
    bool has_parameters = false, has_inputs = false, has_outputs = false;
    for (const auto field : root) {
      if (field.key == "id") {
        std::string_view id;
        EK_RETURN_IF_ERROR(ReadString(field.value, "id", &id));
        out_->id = id;
      } else if (field.key == "parameters") {
        parameters = field.value;
        has_parameters = true;
      } else if (field.key == "inputs") {
        inputs = field.value;
        has_inputs = true;
      } else if (field.key == "outputs") {
        outputs = field.value;
        has_outputs = true;
      } else {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    if (has_parameters) EK_RETURN_IF_ERROR(ReadParameters(parameters));
    if (!has_inputs) return InvalidArgument("the request has no 'inputs'");
    EK_RETURN_IF_ERROR(ReadInputs(inputs));
    return has_outputs ? ReadOutputs(outputs) : AllOutputs();
  }

 private:
  Status ReadParameters(const element& e) {
    object parameters;
    EK_RETURN_IF_ERROR(ExpectObject(e, "parameters", &parameters));
    for (const auto field : parameters) {
      if (field.key == "binary_data_output") {
        EK_RETURN_IF_ERROR(
            ReadBool(field.value, "parameter 'binary_data_output'", &binary_output_));
      } else if (field.key == "priority") {
        uint64_t priority = 0;
        EK_RETURN_IF_ERROR(ReadCount(field.value, "parameter 'priority'", &priority));
        if (priority > 16)
          return InvalidArgument("parameter 'priority': expected 0 to 16, got {}", priority);
        out_->priority = static_cast<int>(priority);
      } else if (field.key == "timeout") {
        uint64_t us = 0;
        EK_RETURN_IF_ERROR(ReadCount(field.value, "parameter 'timeout'", &us));
        out_->timeout = std::chrono::microseconds(std::min<uint64_t>(us, kLongestTimeoutUs));
      } else if (field.key.starts_with("sequence_") && IsSet(field.value)) {
        return Unsupported("parameter '{}': sequences are not supported", field.key);
      } else {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    return {};
  }

  // Clients that know sequences but use none send 0, "" or false.
  static bool IsSet(const element& e) {
    if (e.is_null()) return false;
    if (e.is_bool()) return e.get_bool().value_unsafe();
    if (e.is_uint64()) return e.get_uint64().value_unsafe() != 0;
    if (e.is_string()) return !e.get_string().value_unsafe().empty();
    return true;
  }

  Status ReadInputs(const element& e) {
    array inputs;
    if (e.get_array().get(inputs) != simdjson::SUCCESS)
      return InvalidArgument("inputs: expected an array");
    for (const element each : inputs) {
      if (out_->inputs.size() >= kMaxTensors)
        return InvalidArgument("expected at most {} inputs", kMaxTensors);
      EK_RETURN_IF_ERROR(ReadInput(each));
    }
    for (size_t i = 0; i < signature_.inputs.size(); ++i) {
      const TensorSpec& spec = signature_.inputs[i];
      if (std::ranges::none_of(out_->inputs, [&](const TensorView& v) { return v.spec == i; })) {
        return InvalidArgument("input '{}' is missing, expected {} {}", spec.name,
                               NameOf(spec.dtype), spec.shape.ToString());
      }
    }
    if (!binary_.empty())
      return InvalidArgument("{} bytes follow the last binary input", binary_.size());
    return {};
  }

  Status ReadInput(const element& e) {
    object fields;
    EK_RETURN_IF_ERROR(ExpectObject(e, "an input", &fields));
    std::string_view name;
    element name_field;
    if (fields["name"].get(name_field) != simdjson::SUCCESS)
      return InvalidArgument("an input has no name");
    EK_RETURN_IF_ERROR(ReadString(name_field, "an input's name", &name));
    const int spec = signature_.FindInput(name);
    if (spec < 0) return InvalidArgument("unknown input '{}'", name);
    TensorView view;
    view.spec = static_cast<uint32_t>(spec);
    if (std::ranges::any_of(out_->inputs,
                            [&](const TensorView& v) { return v.spec == view.spec; })) {
      return InvalidArgument("input '{}' is given twice", name);
    }
    const Status status = ReadTensor(fields, &view);
    if (!status.ok()) return status.Annotate(fmt::format("input '{}'", name));
    out_->inputs.push_back(view);
    return {};
  }

  Status ReadTensor(const object& fields, TensorView* view) {
    array data;
    bool has_data = false, has_shape = false;
    std::optional<uint64_t> binary_size;
    for (const auto field : fields) {
      if (field.key == "datatype") {
        std::string_view text;
        EK_RETURN_IF_ERROR(ReadString(field.value, "datatype", &text));
        view->dtype = DataTypeFromName(text);
        if (view->dtype == DataType::kInvalid)
          return InvalidArgument("unknown datatype '{}'", text);
      } else if (field.key == "shape") {
        EK_RETURN_IF_ERROR(ReadShape(field.value, &view->shape));
        has_shape = true;
      } else if (field.key == "data") {
        if (field.value.get_array().get(data) != simdjson::SUCCESS)
          return InvalidArgument("data: expected an array");
        has_data = true;
      } else if (field.key == "parameters") {
        EK_RETURN_IF_ERROR(ReadInputParameters(field.value, &binary_size));
      } else if (field.key != "name") {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    if (view->dtype == DataType::kInvalid) return InvalidArgument("datatype is missing");
    if (!has_shape) return InvalidArgument("shape is missing");
    if (has_data == binary_size.has_value()) {
      return InvalidArgument("expected either data or the parameter 'binary_data_size'{}",
                             has_data ? ", got both" : "");
    }
    if (!has_data) return TakeBinary(*binary_size, view);
    out_->storage.emplace_back();
    Result<std::span<const std::byte>> bytes =
        ReadJsonData(data, view->dtype, view->shape, &out_->storage.back());
    if (!bytes.ok()) return bytes.status();
    view->data = *bytes;
    return {};
  }

  static Status ReadInputParameters(const element& e, std::optional<uint64_t>* binary_size) {
    object parameters;
    EK_RETURN_IF_ERROR(ExpectObject(e, "parameters", &parameters));
    for (const auto field : parameters) {
      if (field.key == "binary_data_size") {
        uint64_t size = 0;
        EK_RETURN_IF_ERROR(ReadCount(field.value, "parameter 'binary_data_size'", &size));
        *binary_size = size;
      } else if (IsSharedMemory(field.key)) {
        return Unsupported("parameter '{}': shared memory is not supported", field.key);
      } else {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    return {};
  }

  // The next bytes of the binary part are this tensor's: a view, no copy.
  Status TakeBinary(uint64_t size, TensorView* view) {
    if (size > binary_.size()) {
      return InvalidArgument("binary_data_size is {}, but only {} bytes are left in the body", size,
                             binary_.size());
    }
    view->data = binary_.first(size);
    binary_ = binary_.subspan(size);
    if (view->dtype == DataType::kBytes) {
      const Result<size_t> used = BytesElementsSize(view->data, *view->shape.ElementCount());
      if (!used.ok()) return used.status();
      if (*used != size)
        return InvalidArgument("{} bytes follow the last BYTES element", size - *used);
      return {};
    }
    const Result<size_t> bytes = DenseBytes(view->dtype, view->shape);
    if (!bytes.ok()) return bytes.status();
    if (*bytes != size) {
      return InvalidArgument("{} {} takes {} bytes, got {}", NameOf(view->dtype),
                             view->shape.ToString(), *bytes, size);
    }
    return {};
  }

  Status AllOutputs() {
    for (size_t i = 0; i < signature_.outputs.size(); ++i) {
      out_->outputs.push_back({static_cast<uint32_t>(i), binary_output_, 0});
    }
    return {};
  }

  Status ReadOutputs(const element& e) {
    array outputs;
    if (e.get_array().get(outputs) != simdjson::SUCCESS)
      return InvalidArgument("outputs: expected an array");
    for (const element each : outputs) {
      if (out_->outputs.size() >= kMaxTensors)
        return InvalidArgument("expected at most {} outputs", kMaxTensors);
      EK_RETURN_IF_ERROR(ReadOutput(each));
    }
    return out_->outputs.empty() ? AllOutputs() : Status::Ok();
  }

  Status ReadOutput(const element& e) {
    object fields;
    EK_RETURN_IF_ERROR(ExpectObject(e, "an output", &fields));
    element name_field, parameters;
    std::string_view name;
    bool has_name = false, has_parameters = false;
    for (const auto field : fields) {
      if (field.key == "name") {
        name_field = field.value;
        has_name = true;
      } else if (field.key == "parameters") {
        parameters = field.value;
        has_parameters = true;
      } else {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    if (!has_name) return InvalidArgument("an output has no name");
    EK_RETURN_IF_ERROR(ReadString(name_field, "an output's name", &name));
    const int spec = signature_.FindOutput(name);
    if (spec < 0) return InvalidArgument("unknown output '{}'", name);
    RequestedOutput output{static_cast<uint32_t>(spec), binary_output_, 0};
    if (std::ranges::any_of(out_->outputs,
                            [&](const RequestedOutput& o) { return o.spec == output.spec; })) {
      return InvalidArgument("output '{}' is asked for twice", name);
    }
    if (has_parameters) {
      const Status status = ReadOutputParameters(parameters, &output);
      if (!status.ok()) return status.Annotate(fmt::format("output '{}'", name));
    }
    out_->outputs.push_back(output);
    return {};
  }

  static Status ReadOutputParameters(const element& e, RequestedOutput* output) {
    object parameters;
    EK_RETURN_IF_ERROR(ExpectObject(e, "parameters", &parameters));
    for (const auto field : parameters) {
      if (field.key == "binary_data") {
        EK_RETURN_IF_ERROR(ReadBool(field.value, "parameter 'binary_data'", &output->binary));
      } else if (field.key == "classification") {
        uint64_t classes = 0;
        EK_RETURN_IF_ERROR(ReadCount(field.value, "parameter 'classification'", &classes));
        output->classes = static_cast<int>(std::min<uint64_t>(classes, kMostClasses));
      } else if (IsSharedMemory(field.key)) {
        return Unsupported("parameter '{}': shared memory is not supported", field.key);
      } else {
        EK_RETURN_IF_ERROR(CheckUnread(field.key, field.value));
      }
    }
    return {};
  }

  static constexpr uint64_t kLongestTimeoutUs = uint64_t{1000} * 3600 * 1'000'000;
  static constexpr uint64_t kMostClasses =
      1 << 30;  // far above any output's size; the result is cut to that

  std::span<const std::byte> binary_;  // not yet taken
  const Signature& signature_;
  InferRequest* const out_;
  bool binary_output_ = false;
};

Status Parse(std::span<const std::byte> body, std::optional<uint64_t> json_size,
             const Signature& signature, InferRequest* out) {
  const uint64_t size = json_size.value_or(body.size());
  if (size > body.size()) {
    return InvalidArgument("Inference-Header-Content-Length is {}, but the body has {} bytes", size,
                           body.size());
  }
  if (json_size == 0U) return ReadRawRequest(body, signature, out);
  if (size == 0) return InvalidArgument("the request has no JSON");
  StrictJson document;
  EK_RETURN_IF_ERROR(document.Parse({reinterpret_cast<const char*>(body.data()), size}));
  return RequestReader(body.subspan(size), signature, out).Read(document.root());
}

}  // namespace

Status ParseInferRequest(std::span<const std::byte> body, std::optional<uint64_t> json_size,
                         std::string_view model, const Signature& signature, InferRequest* out) {
  const Status status = Parse(body, json_size, signature, out);
  return status.ok() ? status : status.Annotate(fmt::format("model '{}'", model));
}

}  // namespace evenkeel
