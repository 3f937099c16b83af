#include "frontends/kserve_json_write.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/format.h"
#include "core/half.h"
#include "core/parse.h"
#include "frontends/classification.h"
#include "net/http_message.h"

namespace evenkeel {
namespace {

constexpr size_t kHeadRoom = 256;  // JSON around one output, typically
constexpr size_t kTextPerValue = 12;

template <typename T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <typename T>
void AppendNumber(T value, std::string* out) {
  std::array<char, 40> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out->append(text.data(), end);
}

// Writes `data` as elements of type Stored, each through `write(value, out)`.
template <typename Stored, typename Write>
void AppendArray(std::span<const std::byte> data, std::string* out, Write write) {
  out->push_back('[');
  for (size_t at = 0; at + sizeof(Stored) <= data.size(); at += sizeof(Stored)) {
    if (at > 0) out->push_back(',');
    write(Load<Stored>(data.data() + at), out);
  }
  out->push_back(']');
}

template <typename Stored>
void AppendIntegers(std::span<const std::byte> data, std::string* out) {
  AppendArray<Stored>(data, out, [](Stored v, std::string* o) { AppendNumber(v, o); });
}

// `read` turns what is stored into float or double. Returns how many values became null.
template <typename Stored, typename Read>
size_t AppendReals(std::span<const std::byte> data, std::string* out, Read read) {
  size_t nulls = 0;
  AppendArray<Stored>(data, out, [&](Stored stored, std::string* o) {
    const auto value = read(stored);
    if (std::isfinite(value)) {
      AppendNumber(value, o);
    } else {
      o->append("null");
      ++nulls;
    }
  });
  return nulls;
}

Status AppendStrings(std::span<const std::byte> data, std::string* out) {
  out->push_back('[');
  for (size_t at = 0; at + sizeof(uint32_t) <= data.size();) {
    const size_t length =
        std::min<size_t>(Load<uint32_t>(data.data() + at), data.size() - at - sizeof(uint32_t));
    const std::string_view text(reinterpret_cast<const char*>(data.data()) + at + sizeof(uint32_t),
                                length);
    if (at > 0) out->push_back(',');
    if (!IsUtf8(text)) return InvalidArgument("a value is not UTF-8, ask for it as binary_data");
    AppendJsonString(text, out);
    at += sizeof(uint32_t) + length;
  }
  out->push_back(']');
  return {};
}

Status AppendData(DataType type, std::span<const std::byte> data, std::string* out, size_t* nulls) {
  *nulls = 0;
  switch (type) {
    case DataType::kBool:
      AppendArray<uint8_t>(data, out,
                           [](uint8_t v, std::string* o) { o->append(v != 0 ? "true" : "false"); });
      break;
    case DataType::kUint8: AppendIntegers<uint8_t>(data, out); break;
    case DataType::kUint16: AppendIntegers<uint16_t>(data, out); break;
    case DataType::kUint32: AppendIntegers<uint32_t>(data, out); break;
    case DataType::kUint64: AppendIntegers<uint64_t>(data, out); break;
    case DataType::kInt8: AppendIntegers<int8_t>(data, out); break;
    case DataType::kInt16: AppendIntegers<int16_t>(data, out); break;
    case DataType::kInt32: AppendIntegers<int32_t>(data, out); break;
    case DataType::kInt64: AppendIntegers<int64_t>(data, out); break;
    case DataType::kFp16: *nulls = AppendReals<uint16_t>(data, out, FloatFromFp16); break;
    case DataType::kBf16: *nulls = AppendReals<uint16_t>(data, out, FloatFromBf16); break;
    case DataType::kFp32: *nulls = AppendReals<float>(data, out, [](float v) { return v; }); break;
    case DataType::kFp64:
      *nulls = AppendReals<double>(data, out, [](double v) { return v; });
      break;
    case DataType::kBytes: return AppendStrings(data, out);
    case DataType::kInvalid: return Internal("the model gave a tensor without a data type");
  }
  return {};
}

class BodyWriter {
 public:
  BodyWriter(const InferRequest& request, const Signature& signature,
             std::span<const TensorView> outputs)
      : request_(request),
        signature_(signature),
        outputs_(outputs),
        classes_(request.outputs.size()) {}

  Result<InferBody> Write(std::string_view model, std::string_view version) {
    EK_RETURN_IF_ERROR(ClassifyAll());
    body_.bytes.reserve(Estimate());
    std::string& out = body_.bytes;
    out.push_back('{');
    if (!request_.id.empty()) {
      out.append("\"id\":");
      AppendJsonString(request_.id, &out);
      out.push_back(',');
    }
    out.append("\"model_name\":");
    AppendJsonString(model, &out);
    out.append(",\"model_version\":");
    AppendJsonString(version, &out);
    out.append(",\"outputs\":[");
    for (size_t i = 0; i < request_.outputs.size(); ++i) {
      if (i > 0) out.push_back(',');
      const Status status = WriteOutput(i);
      if (!status.ok()) return status.Annotate(fmt::format("output '{}'", SpecOf(i).name));
    }
    out.append("]}");
    AppendBinary();
    return std::move(body_);
  }

 private:
  const TensorSpec& SpecOf(size_t i) const { return signature_.outputs[request_.outputs[i].spec]; }

  TensorView ViewOf(size_t i) const {
    TensorView view = outputs_[request_.outputs[i].spec];
    if (request_.outputs[i].classes > 0) {
      view.dtype = DataType::kBytes;
      view.shape = classes_[i].shape;
      view.data = std::as_bytes(std::span(classes_[i].bytes));
    }
    return view;
  }

  Status ClassifyAll() {
    for (size_t i = 0; i < request_.outputs.size(); ++i) {
      const RequestedOutput& output = request_.outputs[i];
      if (output.classes == 0) continue;
      Result<Classification> top =
          Classify(SpecOf(i), outputs_[output.spec], signature_.batched, output.classes);
      if (!top.ok()) return top.status();
      classes_[i] = *std::move(top);
    }
    return {};
  }

  size_t Estimate() const {
    size_t bytes = kHeadRoom + request_.id.size();
    for (size_t i = 0; i < request_.outputs.size(); ++i) {
      const TensorView view = ViewOf(i);
      const size_t element = std::max<size_t>(1, ElementSize(view.dtype));
      bytes +=
          kHeadRoom + (request_.outputs[i].binary ? view.data.size()
                                                  : view.data.size() / element * kTextPerValue);
    }
    return bytes;
  }

  Status WriteOutput(size_t i) {
    const TensorView view = ViewOf(i);
    std::string& out = body_.bytes;
    out.append("{\"name\":");
    AppendJsonString(SpecOf(i).name, &out);
    out.append(",\"datatype\":\"").append(NameOf(view.dtype)).append("\",\"shape\":[");
    for (int d = 0; d < view.shape.rank(); ++d) {
      if (d > 0) out.push_back(',');
      AppendNumber(view.shape[d], &out);
    }
    out.push_back(']');
    if (request_.outputs[i].binary) {
      out.append(",\"parameters\":{\"binary_data_size\":");
      AppendNumber(view.data.size(), &out);
      out.append("}}");
      return {};
    }
    out.append(",\"data\":");
    size_t nulls = 0;
    EK_RETURN_IF_ERROR(AppendData(view.dtype, view.data, &out, &nulls));
    out.push_back('}');
    if (nulls > 0) {
      body_.warning.append(body_.warning.empty() ? "" : "; ")
          .append(
              fmt::format("output '{}': {} non-finite values sent as null", SpecOf(i).name, nulls));
    }
    return {};
  }

  void AppendBinary() {
    const size_t json_size = body_.bytes.size();
    for (size_t i = 0; i < request_.outputs.size(); ++i) {
      if (!request_.outputs[i].binary) continue;
      const std::span<const std::byte> data = ViewOf(i).data;
      body_.bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
      body_.json_size = json_size;
    }
  }

  const InferRequest& request_;
  const Signature& signature_;
  const std::span<const TensorView> outputs_;
  std::vector<Classification> classes_;  // as request_.outputs; empty where not asked for
  InferBody body_;
};

}  // namespace

Result<InferBody> WriteInferBody(const InferRequest& request, std::string_view model,
                                 std::string_view version, const Signature& signature,
                                 std::span<const TensorView> outputs) {
  if (outputs.size() != signature.outputs.size()) {
    return Internal("model '{}' gave {} outputs, expected {}", model, outputs.size(),
                    signature.outputs.size());
  }
  return BodyWriter(request, signature, outputs).Write(model, version);
}

}  // namespace evenkeel
