#include "profiling/sample_file.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/parse.h"
#include "profiling/safetensors.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;
using Bytes = std::vector<std::byte>;
constexpr std::string_view kFormat = "evenkeel.samples/v1";
constexpr int64_t kMaxRows = 10'000'000;

void Append(Bytes* to, const void* data, size_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  to->insert(to->end(), from, from + size);
}

// Stacks rows; owns the bytes that the tensors point at.
class Writer {
 public:
  void Add(const SampleSet& set, const std::string& prefix) {
    for (size_t i = 0; i < set.inputs.size(); ++i) {
      if (set.inputs[i].dtype == DataType::kBytes) {
        AddBytes(set, i, prefix);
      } else {
        AddDense(set, i, prefix);
      }
    }
    AddMetadata(set, prefix);
  }
  SafeTensors content;

 private:
  void AddDense(const SampleSet& set, size_t input, const std::string& prefix) {
    const TensorSpec& spec = set.inputs[input];
    Bytes& all = buffers_.emplace_back();
    for (const auto& row : set.rows)
      Append(&all, row->inputs[input].data(), row->inputs[input].size());
    std::vector<uint64_t> shape{set.rows.size()};
    for (const int64_t d : spec.shape.dims()) shape.push_back(static_cast<uint64_t>(d));
    content.tensors.push_back({prefix + spec.name, spec.dtype, std::move(shape), all});
  }
  void AddBytes(const SampleSet& set, size_t input, const std::string& prefix) {
    Bytes& all = buffers_.emplace_back();
    Bytes& offsets = buffers_.emplace_back();
    uint64_t at = 0;
    Append(&offsets, &at, sizeof at);
    for (const auto& row : set.rows) {
      const Bytes& elements = row->inputs[input];
      for (size_t i = 0; i < elements.size();) {
        uint32_t length = 0;
        std::memcpy(&length, &elements[i], sizeof length);
        i += sizeof length;
        if (length > 0) Append(&all, &elements[i], length);
        i += length;
        at += length;
        Append(&offsets, &at, sizeof at);
      }
    }
    const std::string name = prefix + set.inputs[input].name;
    content.tensors.push_back({name, DataType::kUint8, {all.size()}, all});
    content.tensors.push_back(
        {name + ".offsets", DataType::kUint64, {offsets.size() / sizeof at}, offsets});
  }
  void AddMetadata(const SampleSet& set, const std::string& prefix) {
    Json inputs = Json::array();
    for (const TensorSpec& spec : set.inputs) {
      inputs.push_back(
          {{"name", spec.name},
           {"dtype", NameOf(spec.dtype)},
           {"shape", std::vector<int64_t>(spec.shape.dims().begin(), spec.shape.dims().end())}});
    }
    std::string arrived;
    for (const auto& row : set.rows) {
      if (!arrived.empty()) arrived += ',';
      arrived += std::to_string(row->arrived_s);
    }
    auto& metadata = content.metadata;
    metadata["format"] = kFormat;
    metadata["model"] = set.model;
    metadata[prefix + "signature"] = set.signature;
    metadata[prefix + "inputs"] = inputs.dump(-1, ' ', false, Json::error_handler_t::replace);
    metadata[prefix + "rows"] = std::to_string(set.rows.size());
    metadata[prefix + "batched"] = set.batched ? "true" : "false";
    metadata[prefix + "seen"] = std::to_string(set.seen);
    metadata[prefix + "threshold"] = fmt::format("{:a}", set.threshold);
    metadata[prefix + "arrived"] = std::move(arrived);
  }

  std::deque<Bytes> buffers_;  // deque: spans into it stay valid
};

// The parts of one file's metadata, checked one by one.
class Reader {
 public:
  explicit Reader(const SafeTensors& content) : content_(content) {}

  Result<SampleSet> Read() {
    if (Text("format") != kFormat) return InvalidArgument("format is not {}", kFormat);
    EK_RETURN_IF_ERROR(ReadInputs());
    EK_RETURN_IF_ERROR(ReadNumbers());
    for (size_t i = 0; i < set_.inputs.size(); ++i) {
      EK_RETURN_IF_ERROR(set_.inputs[i].dtype == DataType::kBytes ? ReadBytes(i) : ReadDense(i));
    }
    set_.rows.assign(rows_.begin(), rows_.end());
    return std::move(set_);
  }

 private:
  std::string Text(const std::string& key) const {
    const auto found = content_.metadata.find(key);
    return found == content_.metadata.end() ? std::string() : found->second;
  }

  Status ReadInputs() {
    set_.model = Text("model");
    set_.signature = Text("signature");
    const Json inputs = Json::parse(Text("inputs"), nullptr, /*allow_exceptions=*/false);
    if (!inputs.is_array() || inputs.empty() || inputs.size() > 1024)
      return InvalidArgument("metadata 'inputs' is no list");
    for (const Json& entry : inputs) {
      if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
          !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") ||
          !entry["shape"].is_array() || entry["shape"].size() >= kMaxRank) {
        return InvalidArgument("metadata 'inputs': expected name, dtype and shape");
      }
      TensorSpec spec;
      spec.name = entry["name"].get<std::string>();
      spec.dtype = DataTypeFromName(entry["dtype"].get_ref<const std::string&>());
      for (const Json& d : entry["shape"]) {
        if (!d.is_number_unsigned() || d.get<uint64_t>() > INT64_MAX)
          return InvalidArgument("metadata 'inputs': bad shape");
        spec.shape.push_back(d.get<int64_t>());
      }
      if (spec.dtype == DataType::kInvalid || !spec.shape.ElementCount())
        return InvalidArgument("metadata 'inputs': bad type or size");
      set_.inputs.push_back(std::move(spec));
    }
    if (SignatureText(set_.inputs) != set_.signature)
      return InvalidArgument("metadata 'signature' contradicts 'inputs'");
    return Status::Ok();
  }

  Status ReadNumbers() {
    const auto count = ParseInt(Text("rows"), 1, kMaxRows);
    const auto seen = ParseInt(Text("seen"), 1, INT64_MAX);
    if (!count.ok() || !seen.ok() || *seen < *count)
      return InvalidArgument("metadata 'rows' or 'seen' is wrong");
    set_.seen = static_cast<uint64_t>(*seen);
    const std::string batched = Text("batched");
    if (batched != "true" && batched != "false")
      return InvalidArgument("metadata 'batched' is wrong");
    set_.batched = batched == "true";
    const std::string threshold = Text("threshold");
    char* end = nullptr;
    set_.threshold = std::strtod(threshold.c_str(), &end);
    if (threshold.empty() || *end != '\0' || !(set_.threshold > 0 && set_.threshold <= 1)) {
      return InvalidArgument("metadata 'threshold' is wrong");
    }
    return ReadArrived(static_cast<size_t>(*count));
  }

  Status ReadArrived(size_t count) {
    const std::string text = Text("arrived");
    for (std::string_view rest = text; !rest.empty();) {
      const size_t comma = rest.find(',');
      const auto second = ParseInt(rest.substr(0, comma), 0, INT64_MAX);
      if (!second.ok() || rows_.size() == count)
        return InvalidArgument("metadata 'arrived' is wrong");
      rows_.push_back(std::make_shared<SampleRow>());
      rows_.back()->arrived_s = *second;
      rows_.back()->inputs.resize(set_.inputs.size());
      rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    }
    return rows_.size() == count ? Status::Ok() : InvalidArgument("metadata 'arrived' is wrong");
  }

  void Keep(size_t row, size_t input, Bytes bytes) {
    set_.bytes += bytes.size();
    rows_[row]->inputs[input] = std::move(bytes);
  }

  Status ReadDense(size_t input) {
    const TensorSpec& spec = set_.inputs[input];
    const SafeTensor* tensor = content_.Find(spec.name);
    std::vector<uint64_t> shape{rows_.size()};
    for (const int64_t d : spec.shape.dims()) shape.push_back(static_cast<uint64_t>(d));
    if (tensor == nullptr || tensor->dtype != spec.dtype || tensor->shape != shape) {
      return InvalidArgument("tensor {} is missing or of another shape", Excerpt(spec.name));
    }
    const size_t bytes = tensor->data.size() / rows_.size();
    for (size_t row = 0; row < rows_.size(); ++row) {
      const auto part = tensor->data.subspan(row * bytes, bytes);
      Keep(row, input, Bytes(part.begin(), part.end()));
    }
    return Status::Ok();
  }

  Status ReadBytes(size_t input) {
    const TensorSpec& spec = set_.inputs[input];
    const SafeTensor* text = content_.Find(spec.name);
    const SafeTensor* offsets = content_.Find(spec.name + ".offsets");
    const auto per_row = static_cast<uint64_t>(*spec.shape.ElementCount());
    const auto bad = [&spec] {
      return InvalidArgument("tensor {} or its offsets are wrong", Excerpt(spec.name));
    };
    uint64_t elements = 0;
    if (text == nullptr || offsets == nullptr || text->dtype != DataType::kUint8 ||
        offsets->dtype != DataType::kUint64 ||
        __builtin_mul_overflow(per_row, rows_.size(), &elements) || offsets->data.empty() ||
        offsets->data.size() / sizeof(uint64_t) - 1 != elements) {
      return bad();
    }
    const auto offset = [offsets](uint64_t i) {
      uint64_t value = 0;
      std::memcpy(&value, &offsets->data[i * sizeof value], sizeof value);
      return value;
    };
    if (offset(0) != 0 || offset(elements) != text->data.size()) return bad();
    uint64_t at = 0;
    for (size_t row = 0; row < rows_.size(); ++row) {
      Bytes bytes;
      for (uint64_t i = 0; i < per_row; ++i, ++at) {
        const uint64_t begin = offset(at);
        const uint64_t end = offset(at + 1);
        if (begin > end || end > text->data.size() || end - begin > UINT32_MAX) return bad();
        const auto length = static_cast<uint32_t>(end - begin);
        Append(&bytes, &length, sizeof length);
        Append(&bytes, text->data.data() + begin, length);
      }
      Keep(row, input, std::move(bytes));
    }
    return Status::Ok();
  }

  const SafeTensors& content_;
  SampleSet set_;
  std::vector<std::shared_ptr<SampleRow>> rows_;
};

}  // namespace

std::string SignatureText(std::span<const TensorSpec> inputs) {
  std::string text;
  for (const TensorSpec& spec : inputs) {
    if (!text.empty()) text += ' ';
    text += fmt::format("{}:{}{}", spec.name, NameOf(spec.dtype), spec.shape.ToString());
  }
  return text;
}

Result<std::string> EncodeSamples(std::span<const SampleSet> sets) {
  Writer writer;
  for (size_t i = 0; i < sets.size(); ++i) {
    writer.Add(sets[i], sets.size() == 1 ? std::string() : std::to_string(i) + "/");
  }
  return EncodeSafetensors(writer.content);
}

Result<SampleSet> DecodeSamples(std::span<const std::byte> file) {
  const Result<SafeTensors> content = DecodeSafetensors(file);
  if (!content.ok()) return content.status();
  return Reader(*content).Read();
}

}  // namespace evenkeel
