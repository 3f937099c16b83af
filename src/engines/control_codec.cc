#include "engines/control_codec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/format.h"
#include "core/strict_json.h"
#include "engines/engine.h"
#include "ipc/frame.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxName = 4096;
constexpr int kDeepest = 16;  // levels of a message

std::string Dump(const Json& json) {
  // File names and messages of libraries may not be UTF-8: replace, never throw.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json SpecToJson(const TensorSpec& spec) {
  Json json = {{"name", spec.name}, {"dtype", NameOf(spec.dtype)}, {"shape", Json::array()}};
  for (int64_t d : spec.shape.dims()) json["shape"].push_back(d);
  if (spec.range) json["range"] = {spec.range->lo, spec.range->hi};
  return json;
}

Status Broken(std::string_view what) { return Internal("control message: {}", what); }

// Numbers above 2^63 are unsigned in this library and would wrap.
std::optional<int64_t> AsInt64(const Json& json) {
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) return std::nullopt;
  if (!json.is_number_integer()) return std::nullopt;
  return json.get<int64_t>();
}

Status ReadRange(const Json& json, TensorSpec* spec) {
  if (!json.is_array() || json.size() != 2) return Broken("range is no pair");
  const auto lo = AsInt64(json[0]);
  const auto hi = AsInt64(json[1]);
  if (!lo || !hi || *lo > *hi) return Broken("range is not ascending");
  spec->range = IdRange{*lo, *hi};
  return Status::Ok();
}

Status ReadSpec(const Json& json, TensorSpec* spec) {
  if (!json.is_object()) return Broken("tensor is no object");
  spec->name = json.value("name", "");
  if (spec->name.empty() || spec->name.size() > kMaxName) {
    return Broken("tensor without a usable name");
  }
  spec->dtype = DataTypeFromName(json.value("dtype", ""));
  if (spec->dtype == DataType::kInvalid) return Broken("tensor of unknown dtype");
  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array() || shape->size() > kMaxRank) {
    return Broken("tensor without a usable shape");
  }
  for (const Json& dim : *shape) {
    const auto d = AsInt64(dim);
    if (!d || *d < kDynamic) return Broken("dimension below -1");
    spec->shape.push_back(*d);
  }
  if (const auto range = json.find("range"); range != json.end()) return ReadRange(*range, spec);
  return Status::Ok();
}

Status ReadSpecs(const Json& signature, const char* key, std::vector<TensorSpec>* specs) {
  const auto list = signature.find(key);
  if (list == signature.end() || !list->is_array() || list->size() > ipc::kMaxTensors) {
    return Broken("signature without a usable list of tensors");
  }
  std::set<std::string> names;
  for (const Json& json : *list) {
    EK_RETURN_IF_ERROR(ReadSpec(json, &specs->emplace_back()));
    if (!names.insert(specs->back().name).second) return Broken("two tensors of one name");
  }
  return Status::Ok();
}

Status ReadShare(const Json& json, EmulatedShare* share) {
  if (!json.is_object()) return Broken("emulated is no object");
  bool whole = true;
  const auto read = [&](const char* key) {
    const auto at = json.find(key);
    const auto value = at == json.end() ? std::nullopt : AsInt64(*at);
    whole = whole && value && *value >= 0;
    return value.value_or(0);
  };
  share->a = Duration(read("a_ns"));
  share->c = Duration(read("c_ns"));
  share->m0_bytes = read("m0");
  share->m1_bytes = read("m1");
  share->memory_bytes = read("memory");
  share->cores = static_cast<int>(std::min<int64_t>(read("cores"), 1 << 20));
  return whole ? Status::Ok() : Broken("emulated without usable figures");
}

// Runs `read` on the parsed message; what the library throws (a field of another type) becomes an error.
template <typename T, typename Read>
Result<T> Parse(std::string_view message, Read read) {
  try {
    const auto json = ParseStrictObject<Json>(message, kDeepest, "it");
    if (!json.ok()) return Broken(json.status().message());
    return read(*json);
  } catch (const Json::exception& e) {
    return Broken(e.what());
  }
}

}  // namespace

std::string EncodeLoad(const EngineOptions& options) {
  Json json = {{"op", "load"},
               {"path", options.path},
               {"device", options.device},
               {"threads", options.threads},
               {"bf16", options.bf16},
               {"cache_dir", options.cache_dir}};
  if (options.emulated) {
    const EmulatedShare& share = *options.emulated;
    json["emulated"] = {{"a_ns", share.a.count()},      {"c_ns", share.c.count()},
                        {"m0", share.m0_bytes},         {"m1", share.m1_bytes},
                        {"memory", share.memory_bytes}, {"cores", share.cores}};
  }
  return Dump(json);
}

std::string EncodeLoaded(const LoadedModel& model) {
  Json signature = {{"inputs", Json::array()}, {"outputs", Json::array()}};
  for (const TensorSpec& spec : model.signature.inputs) {
    signature["inputs"].push_back(SpecToJson(spec));
  }
  for (const TensorSpec& spec : model.signature.outputs) {
    signature["outputs"].push_back(SpecToJson(spec));
  }
  Json engine = Json::parse(model.engine, nullptr, false);
  if (!engine.is_object()) engine = Json::object();
  return Dump(
      {{"op", "loaded"}, {"signature", std::move(signature)}, {"engine", std::move(engine)}});
}

std::string EncodeFailed(const Status& status) {
  return Dump(
      {{"op", "failed"}, {"code", static_cast<int>(status.code())}, {"message", status.message()}});
}

Result<EngineOptions> DecodeLoad(std::string_view message) {
  return Parse<EngineOptions>(message, [](const Json& json) -> Result<EngineOptions> {
    if (json.value("op", "") != "load") return Broken("expected 'load'");
    EngineOptions options;
    options.path = json.at("path").get<std::string>();
    options.device = json.value("device", "CPU");
    options.threads = json.value("threads", 1);
    options.bf16 = json.value("bf16", false);
    options.cache_dir = json.value("cache_dir", "");
    if (const auto share = json.find("emulated"); share != json.end()) {
      EK_RETURN_IF_ERROR(ReadShare(*share, &options.emulated.emplace()));
    }
    if (options.threads < 1 || options.threads > 4096) return Broken("threads out of range");
    return options;
  });
}

Result<LoadedModel> DecodeLoaded(std::string_view message) {
  return Parse<LoadedModel>(message, [](const Json& json) -> Result<LoadedModel> {
    const std::string op = json.value("op", "");
    if (op == "failed") {
      const int code = json.value("code", 0);
      if (code <= 0 || code >= kCodeCount) return Broken("unknown code");
      return Status(static_cast<Code>(code), json.value("message", ""));
    }
    if (op != "loaded") return Broken("expected 'loaded' or 'failed'");
    LoadedModel model;
    const Json& signature = json.at("signature");
    EK_RETURN_IF_ERROR(ReadSpecs(signature, "inputs", &model.signature.inputs));
    EK_RETURN_IF_ERROR(ReadSpecs(signature, "outputs", &model.signature.outputs));
    const Json engine = json.value("engine", Json::object());
    if (!engine.is_object()) return Broken("engine is no object");
    model.engine = Dump(engine);
    return model;
  });
}

}  // namespace evenkeel
