#include "profiling/load_table.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSchema = "evenkeel.load-tables/v1";

double Rounded(double us) { return std::round(us * 1000) / 1000; }

std::string CoresText(int milli_cores) { return fmt::format("{:g}", milli_cores / 1000.0); }

Json RowJson(const LoadRow& row) {
  const CellShape& shape = row.cell.shape;
  Json json = {{"shape", ShapeText(shape)},
               {"cores", shape.milli_cores / 1000.0},
               {"memory_bytes", shape.memory_bytes},
               {"batch", row.cell.batch},
               {"precision", NameOf(row.cell.precision)},
               {"outcome", NameOf(row.outcome)},
               {"implied", row.implied}};
  if (shape.milli_cores % 1000 == 0) json["cores"] = shape.milli_cores / 1000;
  if (shape.gpu()) {
    json["gpu_cores"] = shape.gpu_cores;
    json["gpu_memory_bytes"] = shape.gpu_memory_bytes;
  }
  if (row.outcome == CellOutcome::kOk) {
    json["batchtime_us"] = Rounded(row.batch_us);
    json["p50_us"] = Rounded(row.p50_us);
    json["p99_us"] = Rounded(row.p99_us);
    json["nobatchtime_us"] = Rounded(row.no_batch_us);
    json["ratio"] = Rounded(row.ratio());
    json["items_per_s"] = Rounded(row.items_per_s());
    json["runs"] = row.runs;
    if (row.major_faults > 0) json["major_faults"] = row.major_faults;
  }
  json["peak_memory_bytes"] = row.peak_memory_bytes;
  if (row.diff_max >= 0) {
    json["difference_max"] = row.diff_max;
    json["difference_mean"] = row.diff_mean;
  }
  if (!row.detail.empty()) json["detail"] = row.detail;
  return json;
}

std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

constexpr const char* kCsvFields[] = {
    "shape",  "cores",        "memory_bytes",      "gpu_cores",      "gpu_memory_bytes",
    "batch",  "precision",    "outcome",           "implied",        "batchtime_us",
    "p50_us", "p99_us",       "nobatchtime_us",    "ratio",          "items_per_s",
    "runs",   "major_faults", "peak_memory_bytes", "difference_max", "difference_mean",
    "detail"};

// Range-checked reading of one row.
class RowReader {
 public:
  explicit RowReader(const Json& json) : json_(json) {}

  double Number(const char* field, double lo, double hi, double missing) {
    const auto at = json_.find(field);
    if (at == json_.end()) return missing;
    if (at->is_number() && at->get<double>() >= lo && at->get<double>() <= hi)
      return at->get<double>();
    Fail(field, at->dump());
    return missing;
  }
  int64_t Integer(const char* field, int64_t lo, int64_t hi, int64_t missing) {
    return static_cast<int64_t>(Number(field, static_cast<double>(lo), static_cast<double>(hi),
                                       static_cast<double>(missing)));
  }
  std::string Text(const char* field) {
    const auto at = json_.find(field);
    if (at == json_.end()) return {};
    if (at->is_string()) return at->get<std::string>();
    Fail(field, at->dump());
    return {};
  }
  void Fail(const char* field, const std::string& got) {
    if (status_.ok()) status_ = InvalidArgument("'{}': got {}", field, Excerpt(got));
  }
  const Status& status() const { return status_; }

 private:
  const Json& json_;
  Status status_;
};

constexpr int64_t kMaxMemory = int64_t{1} << 50;

Result<LoadRow> RowFromJson(const Json& json) {
  if (!json.is_object()) return InvalidArgument("expected an object");
  RowReader read(json);
  LoadRow row;
  CellShape& shape = row.cell.shape;
  shape.milli_cores = static_cast<int>(std::lround(1000 * read.Number("cores", 0.001, 1e6, 1)));
  shape.memory_bytes = read.Integer("memory_bytes", 0, kMaxMemory, 0);
  shape.gpu_cores = static_cast<int>(read.Integer("gpu_cores", 0, 1 << 20, 0));
  shape.gpu_memory_bytes = read.Integer("gpu_memory_bytes", 0, kMaxMemory, 0);
  row.cell.batch = static_cast<int>(read.Integer("batch", 1, 1 << 16, 1));
  const std::string precision = read.Text("precision");
  row.cell.precision = precision == "bf16" ? Precision::kBf16 : Precision::kF32;
  if (!precision.empty() && precision != "f32" && precision != "bf16")
    read.Fail("precision", precision);
  const std::string outcome = read.Text("outcome");
  if (!outcome.empty() && !ParseOutcome(outcome, &row.outcome)) read.Fail("outcome", outcome);
  const auto implied = json.find("implied");
  row.implied = implied != json.end() && implied->is_boolean() && implied->get<bool>();
  row.batch_us = read.Number("batchtime_us", 0, 1e12, 0);
  row.p50_us = read.Number("p50_us", 0, 1e12, row.batch_us);
  row.p99_us = read.Number("p99_us", 0, 1e12, row.batch_us);
  row.no_batch_us = read.Number("nobatchtime_us", 0, 1e12, 0);
  row.runs = read.Integer("runs", 0, int64_t{1} << 40, 0);
  row.major_faults = read.Integer("major_faults", 0, int64_t{1} << 40, 0);
  row.peak_memory_bytes = read.Integer("peak_memory_bytes", 0, kMaxMemory, 0);
  row.diff_max = read.Number("difference_max", 0, 1e300, -1);
  row.diff_mean = read.Number("difference_mean", 0, 1e300, -1);
  row.detail = read.Text("detail");
  if (row.outcome == CellOutcome::kOk && row.batch_us <= 0) read.Fail("batchtime_us", "nothing");
  if (!read.status().ok()) return read.status();
  return row;
}

std::string TextOf(const Json& json, const char* field) {
  const auto at = json.find(field);
  return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace

std::string ShapeText(const CellShape& shape) {
  std::string text =
      fmt::format("{}c/{}", CoresText(shape.milli_cores), FormatBytes(shape.memory_bytes));
  if (shape.gpu())
    text += fmt::format("+gpu:{}c/{}", shape.gpu_cores, FormatBytes(shape.gpu_memory_bytes));
  return text;
}

Json ToJson(std::span<const LoadTable> tables) {
  Json models = Json::array();
  for (const LoadTable& table : tables) {
    Json model = {{"name", table.key.model},      {"digest", table.key.digest},
                  {"machine", table.key.machine}, {"setup", table.key.setup},
                  {"inputs", table.inputs},       {"noise", "lognormal"}};
    Json& rows = model["rows"] = Json::array();
    for (const LoadRow& row : table.rows) rows.push_back(RowJson(row));
    models.push_back(std::move(model));
  }
  return {{"schema", kSchema}, {"models", std::move(models)}};
}

std::string ToCsv(std::span<const LoadTable> tables) {
  std::string text = "model,digest,machine,setup";
  for (const char* field : kCsvFields) text += fmt::format(",{}", field);
  text += '\n';
  for (const LoadTable& table : tables) {
    for (const LoadRow& row : table.rows) {
      const Json json = RowJson(row);
      text += CsvText(table.key.model) + ',' + CsvText(table.key.digest) + ',' +
              CsvText(table.key.machine) + ',' + CsvText(table.key.setup);
      for (const char* field : kCsvFields) {
        const auto at = json.find(field);
        text += ',';
        if (at == json.end()) continue;
        text += at->is_string() ? CsvText(at->get<std::string>()) : at->dump();
      }
      text += '\n';
    }
  }
  return text;
}

Result<std::vector<LoadTable>> LoadTablesFromJson(std::string_view text) {
  const Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object())
    return InvalidArgument("expected a JSON object");
  if (TextOf(document, "schema") != kSchema)
    return InvalidArgument("expected the schema '{}'", kSchema);
  const auto models = document.find("models");
  if (models == document.end() || !models->is_array())
    return InvalidArgument("expected a list 'models'");
  std::vector<LoadTable> tables;
  for (const Json& model : *models) {
    LoadTable table;
    if (!model.is_object() || TextOf(model, "name").empty())
      return InvalidArgument("expected models with a 'name'");
    table.key = {TextOf(model, "name"), TextOf(model, "digest"), TextOf(model, "machine"),
                 TextOf(model, "setup")};
    table.inputs = TextOf(model, "inputs");
    const auto rows = model.find("rows");
    if (rows == model.end() || !rows->is_array())
      return InvalidArgument("model '{}': expected a list 'rows'", table.key.model);
    for (size_t i = 0; i < rows->size(); ++i) {
      auto row = RowFromJson((*rows)[i]);
      if (!row.ok()) {
        return row.status().Annotate(fmt::format("model {}: row {}", Excerpt(table.key.model), i));
      }
      table.rows.push_back(std::move(*row));
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace evenkeel
