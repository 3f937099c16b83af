// `evenkeel show MODEL`: inputs, outputs, settings, instances, what a batch costs, and the latest
// batches; of a language model what its file holds, and what it runs on.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "figures.h"
#include "output.h"
#include "show_language.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel show digits                        inputs, outputs, batch times, latest batches\n"
    "  evenkeel show digits -o json                the same for programs\n"
    "  evenkeel show digits --config               its configuration as Triton's clients see it";

constexpr size_t kBatchesShown = 10;

struct ShowOptions {
  Api api;
  Format format = Format::kTable;
  std::string model;
  bool config = false;
};

void PrintTensors(const char* title, const Json& tensors) {
  Listing listing;
  listing.columns = {{title}, {"TYPE"}, {"SHAPE"}};
  for (const Json& tensor : tensors) {
    const std::string shape = tensor.contains("shape") ? tensor["shape"].dump() : "";
    std::string type = TextAt(tensor, "datatype");
    if (tensor.contains("range") && tensor["range"].is_array())
      type += " in " + tensor["range"].dump();
    listing.rows.push_back({TextAt(tensor, "name"), type, shape});
  }
  std::printf("\n");
  Print(Format::kTable, listing, {});
}

void PrintFacts(const Json& model) {
  const std::pair<const char*, const char*> facts[] = {
      {"version", "Version"},        {"engine", "Engine"},       {"device", "Device"},
      {"precision", "Precision"},    {"max_batch", "Max batch"}, {"policy", "Policy"},
      {"queue_rows", "Queued"},      {"requests", "Requests"},   {"errors", "Errors"},
      {"settings_from", "Settings"},
  };
  std::printf("%s\n", Printable(TextAt(model, "name")).c_str());
  for (const auto& [key, label] : facts) {
    if (const std::string text = TextAt(model, key); !text.empty())
      std::printf("  %-10s %s\n", label, Printable(text).c_str());
  }
  if (const Json scale = model.value("scale", Json::object()); !scale.empty()) {
    std::printf("  %-10s %s up, %s wanted: %s\n", "Instances", TextAt(scale, "up").c_str(),
                TextAt(scale, "wanted").c_str(), Printable(TextAt(scale, "why")).c_str());
    const Json form = scale.value("form", Json::object());
    std::printf("  %-10s %s (%s)\n", "Shape", Printable(TextAt(form, "name")).c_str(),
                Printable(TextAt(form, "why")).c_str());
  }
  if (const std::string p99 = MillisecondsAt(model, "p99_ms"); !p99.empty()) {
    std::printf("  %-10s %s (objective %s)\n", "p99", p99.c_str(),
                MillisecondsAt(model, "objective_ms").c_str());
  }
}

// What it runs on, and why.
void PrintProfile(const Json& profile) {
  const std::string state = TextAt(profile, "state");
  if (state.empty()) return;
  std::string line = state;
  if (state == "sweeping" || state == "waiting")
    line += fmt::format(", {} of about {} cells", TextAt(profile, "cells_run"),
                        TextAt(profile, "cells_expected"));
  for (const char* key : {"paused", "why", "advice", "adoption_failure"}) {
    if (const std::string text = TextAt(profile, key); !text.empty()) line += ": " + text;
  }
  std::printf("  %-10s %s\n", "Profile", Printable(line).c_str());
  if (const auto adopted = profile.find("adopted"); adopted != profile.end()) {
    std::printf("  %-10s %s\n", "Runs on", Printable(TextAt(*adopted, "why")).c_str());
  }
  const Json device = profile.value("on_device", Json::object());
  // Until an instance has started on what was chosen, it is a choice only.
  for (const char* key : {device.contains("adopted") ? "adopted" : "choice", "adoption_failure"}) {
    const Json said = device.value(key, Json());
    const std::string text = said.is_object() ? TextAt(said, "why") : TextAt(device, key);
    if (!text.empty()) std::printf("  %-10s %s\n", "On device", Printable(text).c_str());
  }
  if (const auto held = profile.find("class"); held != profile.end()) {
    std::string classes;
    for (const Json& one : held->value("holds", Json::array()))
      classes += (classes.empty() ? "" : " and ") + one.get<std::string>();
    std::printf("  %-10s %s: %s\n", "Holds", classes.c_str(),
                Printable(TextAt(*held, "why")).c_str());
  }
  if (const std::string left = TextAt(profile, "left_out"); !left.empty())
    std::printf("  %-10s %s: the accelerator has no room for them now\n", "Left out",
                Printable(left).c_str());
  if (const auto precision = profile.find("precision"); precision != profile.end()) {
    std::printf("  %-10s %s: %s\n", "Chosen", Printable(TextAt(*precision, "chosen")).c_str(),
                Printable(TextAt(*precision, "why")).c_str());
  }
}

// Powers of two and the largest; -o json has every size.
void PrintBatchTimes(const Json& times) {
  std::map<uint64_t, double> sorted;
  for (const auto& [rows, ms] : times.items()) {
    if (ms.is_number()) sorted[std::strtoull(rows.c_str(), nullptr, 10)] = ms.get<double>();
  }
  Listing listing;
  listing.columns = {{"BATCH", true}, {"TIME", true}, {"A ROW", true}, {"ROWS/S", true}};
  for (const auto& [rows, ms] : sorted) {
    const bool shown = std::has_single_bit(rows) || rows == sorted.rbegin()->first;
    if (!shown || rows < 1 || ms <= 0) continue;
    const auto count = static_cast<double>(rows);
    listing.rows.push_back({std::to_string(rows), HumanMilliseconds(ms),
                            HumanMilliseconds(ms / count),
                            fmt::format("{:.0f}", count / ms * 1e3)});
  }
  if (listing.rows.empty()) return;
  std::printf("\n");
  Print(Format::kTable, listing, {});
}

void PrintRecent(const Json& batches) {
  if (batches.empty()) return;
  Listing listing;
  listing.columns = {{"LATEST ROWS", true}, {"REQUESTS", true}, {"CLOSED BY"},
                     {"WAITED", true},      {"COMPUTE", true},  {"OUTCOME"}};
  const size_t first = batches.size() > kBatchesShown ? batches.size() - kBatchesShown : 0;
  for (size_t i = first; i < batches.size(); ++i) {
    const Json& batch = batches[i];
    listing.rows.push_back({TextAt(batch, "rows"), TextAt(batch, "requests"),
                            TextAt(batch, "reason"), MillisecondsAt(batch, "oldest_wait_ms"),
                            MillisecondsAt(batch, "compute_ms"),
                            TextAt(batch, "failed") == "true" ? "failed" : "ok"});
  }
  std::printf("\n");
  Print(Format::kTable, listing, {});
}

void Show(const ShowOptions& options) {
  const std::string name = PathPart(options.model);
  if (options.config) {
    const Json config = options.api.Get("/v2/models/" + name + "/config");
    return Print(options.format == Format::kTable ? Format::kJson : options.format, {}, config);
  }
  const Json model = options.api.Get("/v2/evenkeel/models/" + name);
  if (options.format != Format::kTable) {
    Json document = {{"schema", "evenkeel.model/v1"}};
    document.update(model);
    return Print(options.format, {}, document);
  }
  PrintFacts(model);
  if (model.contains("language")) {
    PrintLanguage(model);
    return PrintStepTimes(options.api.Get("/v2/models/" + name + "/batching"));
  }
  PrintProfile(model.value("profile", Json::object()));
  PrintTensors("INPUT", model.value("inputs", Json::array()));
  PrintTensors("OUTPUT", model.value("outputs", Json::array()));
  PrintBatchTimes(model.value("batch_time_ms", Json::object()));
  PrintRecent(model.value("recent_batches", Json::array()));
}

}  // namespace

void RegisterShow(CLI::App& app) {
  CLI::App* show = app.add_subcommand("show", "Show everything about one model");
  show->footer(kExamples);
  auto options = std::make_shared<ShowOptions>();
  show->add_option("MODEL", options->model, "Name of the model")->required();
  options->api.AddFlags(*show);
  AddOutputFlag(*show, &options->format, /*listing=*/false);
  show->add_flag("--config", options->config, "Its configuration in the protocol's form");
  show->callback([options] { Show(*options); });
}

}  // namespace evenkeel
