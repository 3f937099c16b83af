#include "server/profile_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

using Json = nlohmann::json;

double Milliseconds(double us) { return std::round(us) / 1e3; }

Json RowJson(const LoadRow& row) {
  Json json = {{"shape", ShapeText(row.cell.shape)},
               {"batch", row.cell.batch},
               {"precision", NameOf(row.cell.precision)},
               {"outcome", NameOf(row.outcome)}};
  if (row.implied) json["implied"] = true;
  if (row.outcome == CellOutcome::kOk) {
    json["batchtime_ms"] = Milliseconds(row.batch_us);
    json["p99_ms"] = Milliseconds(row.p99_us);
    json["ratio"] = std::round(row.ratio() * 1e3) / 1e3;
    json["items_per_s"] = std::round(row.items_per_s());
    if (row.major_faults > 0) json["major_faults"] = row.major_faults;
  } else if (!row.detail.empty()) {
    json["detail"] = row.detail;
  }
  if (row.peak_memory_bytes > 0) json["peak_memory_bytes"] = row.peak_memory_bytes;
  if (row.diff_max >= 0) json["difference_max"] = row.diff_max;
  return json;
}

Json CellJson(const Cell& cell) {
  return {{"shape", ShapeText(cell.shape)},
          {"batch", cell.batch},
          {"precision", NameOf(cell.precision)}};
}

Json StepsJson(const FormDecision& decision) {
  Json steps = Json::array();
  for (const ChoiceStep& step : decision.choice.steps) {
    Json dropped = Json::array();
    for (const size_t i : step.dropped) {
      const Cell& cell = decision.rows[i].cell;
      dropped.push_back(ShapeText(cell.shape) + " x" + std::to_string(cell.batch) +
                        (cell.precision == Precision::kBf16 ? " bf16" : ""));
    }
    steps.push_back({{"rule", step.rule}, {"kept", step.kept}, {"dropped", std::move(dropped)}});
  }
  return steps;
}

void AddDecision(const FormDecision& decision, bool details, Json* json) {
  Json& choice = (*json)["choice"];
  choice = {{"rule", decision.rule},      {"asked", decision.asked},
            {"met", decision.choice.met}, {"batch", decision.batch},
            {"why", decision.choice.why}, {"adoption", decision.adoption.why}};
  if (decision.choice.row) choice["row"] = RowJson(decision.rows[*decision.choice.row]);
  if (!decision.choice.row && decision.cell) choice["shape"] = ShapeText(decision.cell->shape);
  if (details) choice["steps"] = StepsJson(decision);
  (*json)["precision"] = {{"chosen", NameOf(decision.precision.precision)},
                          {"why", decision.precision.why}};
}

void AddChosen(const SelfProfile::View::Chosen& chosen, bool details, Json* json) {
  if (chosen.decision) AddDecision(*chosen.decision, details, json);
  if (chosen.adopted) {
    (*json)["adopted"] = CellJson(*chosen.adopted);
    (*json)["adopted"]["why"] = chosen.adopted_why;
  }
  if (!chosen.adoption_failure.empty()) (*json)["adoption_failure"] = chosen.adoption_failure;
}

Json ClassesJson(const HeldClasses& held) {
  Json classes = Json::array();
  if (held.cpu) classes.push_back("cpu");
  if (held.gpu) classes.push_back("gpu");
  return {{"holds", std::move(classes)}, {"why", held.why}};
}

}  // namespace

Json DescribeProfile(const SelfProfile::View& view, bool details) {
  Json json = {{"state", SelfProfile::NameOf(view.phase)},
               {"cells_run", view.cells_run},
               {"cells_expected", view.cells_expected},
               {"cells", view.cells},
               {"kept", view.on_disk ? "disk" : "memory"}};
  if (!view.why.empty()) json["why"] = view.why;
  if (!view.paused.empty()) json["paused"] = view.paused;
  if (!view.inputs.empty()) json["inputs"] = view.inputs;
  if (!view.advice.empty()) json["advice"] = view.advice;
  if (!view.left_out.empty()) json["left_out"] = view.left_out;
  AddChosen(view.chosen, details, &json);
  if (view.on_device) {
    Json device = Json::object();
    AddChosen(*view.on_device, details, &device);
    json["on_device"] = std::move(device);
  }
  if (view.held) json["class"] = ClassesJson(*view.held);
  json["drift"] = {{"ratio", std::round(view.chosen.drift_ratio * 1e3) / 1e3},
                   {"away_s", std::round(Seconds(view.chosen.away_for))},
                   {"times_measured", view.times_measured}};
  if (!details) return json;
  Json& table = json["table"] = Json::array();
  for (const LoadRow& row : view.table) table.push_back(RowJson(row));
  return json;
}

}  // namespace evenkeel
