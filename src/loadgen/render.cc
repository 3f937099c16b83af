#include "loadgen/render.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "proto/grpc_service.pb.h"

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

int64_t Micros(Duration d) { return d / std::chrono::microseconds(1); }

template <typename T>
T Load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

Result<json> JsonData(const InputTensor& tensor) {
  json data = json::array();
  const char* at = tensor.data.data();
  const char* const end = at + tensor.data.size();
  while (at < end) {
    switch (tensor.dtype) {
      case DataType::kBool: data.push_back(*at != 0); break;
      case DataType::kUint8: data.push_back(Load<uint8_t>(at)); break;
      case DataType::kUint16: data.push_back(Load<uint16_t>(at)); break;
      case DataType::kUint32: data.push_back(Load<uint32_t>(at)); break;
      case DataType::kUint64: data.push_back(Load<uint64_t>(at)); break;
      case DataType::kInt8: data.push_back(Load<int8_t>(at)); break;
      case DataType::kInt16: data.push_back(Load<int16_t>(at)); break;
      case DataType::kInt32: data.push_back(Load<int32_t>(at)); break;
      case DataType::kInt64: data.push_back(Load<int64_t>(at)); break;
      case DataType::kFp32: {
        // The shortest digits that give the same float, where JSON has any.
        const auto value = Load<float>(at);
        data.push_back(std::isfinite(value) ? json::parse(fmt::format("{}", value)) : json());
        break;
      }
      case DataType::kFp64: data.push_back(Load<double>(at)); break;
      case DataType::kBytes: {
        const auto size = Load<uint32_t>(at);
        data.push_back(std::string(at + sizeof size, size));
        at += sizeof size + size;
        continue;
      }
      default:
        return Unsupported("input '{}': {} has no JSON form; use binary data", tensor.name,
                           NameOf(tensor.dtype));
    }
    at += ElementSize(tensor.dtype);
  }
  return data;
}

std::string Head(const Url& url, std::string_view method, std::string_view path,
                 const RenderOptions& options) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", method, path, url.Authority());
  for (const auto& [name, value] : options.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (options.deadline != Duration::max()) {
    // Whole milliseconds, rounded up: the parameter carries the exact value.
    head += fmt::format("X-Request-Timeout-Ms: {}\r\n", (Micros(options.deadline) + 999) / 1000);
  }
  return head;
}

bool HasHeader(const RenderOptions& options, std::string_view lower) {
  return std::any_of(options.headers.begin(), options.headers.end(), [&](const auto& header) {
    return std::equal(header.first.begin(), header.first.end(), lower.begin(), lower.end(),
                      [](unsigned char a, char b) { return std::tolower(a) == b; });
  });
}

}  // namespace

Result<std::string> RenderHttp(const Url& url, const std::string& model, const InputSet& inputs,
                               const RenderOptions& options) {
  json header = {{"inputs", json::array()}};
  std::string data;
  for (const InputTensor& tensor : inputs.tensors) {
    json input = {
        {"name", tensor.name}, {"datatype", NameOf(tensor.dtype)}, {"shape", tensor.shape.dims()}};
    if (options.json) {
      Result<json> values = JsonData(tensor);
      if (!values.ok()) return values.status();
      input["data"] = std::move(*values);
    } else {
      input["parameters"] = {{"binary_data_size", tensor.data.size()}};
      data += tensor.data;
    }
    header["inputs"].push_back(std::move(input));
  }
  if (!options.json) header["parameters"]["binary_data_output"] = true;
  if (options.deadline != Duration::max())
    header["parameters"]["timeout"] = Micros(options.deadline);
  const std::string text = header.dump(-1, ' ', true, json::error_handler_t::replace);
  const std::string version = options.version.empty() ? "" : "/versions/" + options.version;
  std::string request =
      Head(url, "POST",
           fmt::format("{}/v2/models/{}{}/infer", url.path == "/" ? "" : url.path, model, version),
           options);
  request +=
      options.json
          ? "Content-Type: application/json\r\n"
          : fmt::format(
                "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {}\r\n",
                text.size());
  request += fmt::format("Content-Length: {}\r\n\r\n", text.size() + data.size());
  return request + text + data;
}

std::string RenderRaw(const Url& url, std::string_view body, const RenderOptions& options) {
  std::string request =
      Head(url, body.empty() ? "GET" : "POST", url.path.empty() ? "/" : url.path, options);
  if (!body.empty()) {
    if (!HasHeader(options, "content-type"))
      request += "Content-Type: application/octet-stream\r\n";
    request += fmt::format("Content-Length: {}\r\n", body.size());
  }
  return request.append("\r\n").append(body);
}

std::string RenderGrpc(const std::string& model, const InputSet& inputs,
                       const RenderOptions& options) {
  inference::ModelInferRequest request;
  request.set_model_name(model);
  request.set_model_version(options.version);
  for (const InputTensor& tensor : inputs.tensors) {
    auto* input = request.add_inputs();
    input->set_name(tensor.name);
    input->set_datatype(std::string(NameOf(tensor.dtype)));
    for (const int64_t d : tensor.shape.dims()) input->add_shape(d);
    request.add_raw_input_contents(tensor.data);
  }
  if (options.deadline != Duration::max())
    (*request.mutable_parameters())["timeout"].set_int64_param(Micros(options.deadline));
  return request.SerializeAsString();
}

}  // namespace evenkeel::loadgen
