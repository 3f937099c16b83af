#include "llm/llm_table_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/format.h"

namespace evenkeel {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "evenkeel.llm-load-table/v1";
constexpr int64_t kMostTokens = int64_t{1} << 30;
constexpr int64_t kMostBytes = int64_t{1} << 50;
constexpr double kLongestMs = 1e7;

// A number of an object within bounds; what is missing or outside fails the whole.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object), ok_(object.is_object()) {}
  bool ok() const { return ok_; }

  int64_t Integer(const char* key, int64_t lo, int64_t hi) {
    const json* at = Find(key);
    const bool good = at != nullptr && at->is_number_integer() && at->get<int64_t>() >= lo &&
                      at->get<int64_t>() <= hi;
    ok_ = ok_ && good;
    return good ? at->get<int64_t>() : lo;
  }
  double Real(const char* key, double most) {
    const json* at = Find(key);
    const bool good =
        at != nullptr && at->is_number() && at->get<double>() >= 0 && at->get<double>() <= most;
    ok_ = ok_ && good;
    return good ? at->get<double>() : 0;
  }

 private:
  const json* Find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto at = object_.find(key);
    return at == object_.end() ? nullptr : &*at;
  }
  const json& object_;
  bool ok_;
};

bool ReadRow(const json& object, policy::LlmLoadTable* table) {
  Fields in(object);
  policy::StepRow row;
  row.cell.threads = static_cast<int>(in.Integer("threads", 1, 512));
  row.cell.sequences = static_cast<int>(in.Integer("sequences", 0, kMostTokens));
  row.cell.depth = static_cast<int>(in.Integer("depth", 0, kMostTokens));
  row.cell.prompt_tokens = static_cast<int>(in.Integer("prompt_tokens", 0, kMostTokens));
  row.mean_s = in.Real("step_ms", kLongestMs) / 1e3;
  row.spread_s = in.Real("spread_ms", kLongestMs) / 1e3;
  row.steps = in.Integer("steps", 1, INT64_MAX);
  if (!in.ok() || row.mean_s <= 0) return false;
  if ((row.cell.sequences > 0) == (row.cell.prompt_tokens > 0)) return false;
  if (policy::LlmLoadTable::CellOf(row.cell) != row.cell) return false;
  table->Put(row);
  return true;
}

}  // namespace

nlohmann::ordered_json ToJson(const policy::LlmLoadTable& table, const LlmChosenShape& chosen) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const policy::StepRow& row : table.rows()) {
    rows.push_back({{"threads", row.cell.threads},
                    {"sequences", row.cell.sequences},
                    {"depth", row.cell.depth},
                    {"prompt_tokens", row.cell.prompt_tokens},
                    {"step_ms", row.mean_s * 1e3},
                    {"spread_ms", row.spread_s * 1e3},
                    {"steps", row.steps}});
  }
  return {{"schema", kSchema},
          {"rows", std::move(rows)},
          {"memory",
           {{"weight_bytes", table.memory.weight_bytes},
            {"cell_bytes", table.memory.cell_bytes},
            {"other_bytes", table.memory.other_bytes}}},
          {"chosen", {{"slots", chosen.slots}, {"cells", chosen.cells}}}};
}

Result<KeptLlmTable> LlmTableFromJson(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto refused = [] { return InvalidArgument("expected a document of schema {}", kSchema); };
  if (!document.is_object() || document.value("schema", json()) != kSchema) return refused();
  const auto rows = document.find("rows");
  if (rows == document.end() || !rows->is_array()) return refused();
  KeptLlmTable kept;
  for (const json& row : *rows) {
    if (!ReadRow(row, &kept.table))
      return InvalidArgument("a row that breaks its rules: {}", row.dump());
  }
  const json memory = document.value("memory", json());
  Fields bytes(memory);
  kept.table.memory = {bytes.Integer("weight_bytes", 0, kMostBytes),
                       bytes.Integer("cell_bytes", 0, kMostBytes),
                       bytes.Integer("other_bytes", 0, kMostBytes)};
  const json shape = document.value("chosen", json());
  Fields chosen(shape);
  kept.chosen = {static_cast<int>(chosen.Integer("slots", 0, 256)),
                 chosen.Integer("cells", 0, kMostTokens)};
  if (!bytes.ok() || !chosen.ok()) return refused();
  return kept;
}

}  // namespace evenkeel
