#include "show_language.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

void Line(const char* label, const std::string& text) {
  if (!text.empty()) std::printf("  %-10s %s\n", label, Printable(text).c_str());
}

double NumberAt(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<double>() : 0;
}

std::string Millions(double parameters) {
  if (parameters <= 0) return "";
  return parameters < 1e9 ? fmt::format("{:.0f} M", parameters / 1e6)
                          : fmt::format("{:.1f} B", parameters / 1e9);
}

// What the file holds.
void PrintFile(const Json& language, const Json& file) {
  Line("Architect.", TextAt(file, "architecture"));
  Line("Parameters", Millions(NumberAt(file, "parameters")));
  Line("Weights",
       fmt::format("{}, {}", TextAt(file, "quantisation"), BytesAt(file, "weight_bytes")));
  const std::string trained = TextAt(file, "trained_context");
  Line("Context", fmt::format("{} tokens{}", TextAt(language, "context"),
                              trained.empty() ? "" : fmt::format(" (made for {})", trained)));
  Line("Vocabulary", TextAt(language, "vocabulary") + " tokens");
  Line("Template", TextAt(language, "chat_template") == "true" ? "chat" : "none");
  const std::string licence = TextAt(file, "license");
  Line("Licence", licence.empty() ? "the file does not say" : licence);
}

}  // namespace

void PrintLanguage(const Json& model) {
  const Json language = model.value("language", Json::object());
  PrintFile(language, model.value("engine_info", Json::object()));
  const Json choice = model.value("choice", Json::object());
  Line("Threads", fmt::format("{} ({}); {} now", TextAt(choice, "threads"),
                              TextAt(choice, "threads_why"), TextAt(choice, "threads_granted")));
  Line("Sequences", fmt::format("{} ({}); {} run, {} wait", TextAt(choice, "sequences"),
                                TextAt(choice, "sequences_why"), TextAt(language, "running"),
                                TextAt(language, "waiting")));
  Line("Cells", fmt::format("{} ({}); {} now, {} booked", TextAt(choice, "cells"),
                            TextAt(choice, "cells_why"), TextAt(choice, "cells_now"),
                            TextAt(language, "cells_booked")));
  Line("Budget", fmt::format("{}; prompts have {:.2f} of their part", TextAt(choice, "budget_why"),
                             NumberAt(choice, "prompt_share")));
  const std::string measuring = TextAt(choice, "measuring");
  Line("Table", TextAt(choice, "table") + (measuring.empty() ? "" : ", measuring " + measuring));
}

void PrintStepTimes(const Json& batching) {
  Listing listing;
  listing.columns = {{"THREADS", true}, {"SEQUENCES", true}, {"TOKENS EACH", true},
                     {"STEP", true},    {"TOKENS/S", true},  {"STEPS", true}};
  for (const Json& row :
       batching.value("load_table", Json::object()).value("rows", Json::array())) {
    const double ms = NumberAt(row, "step_ms");
    const double sequences = NumberAt(row, "sequences");
    const bool prompt = sequences <= 0;
    const double tokens = prompt ? NumberAt(row, "prompt_tokens") : sequences;
    if (ms <= 0) continue;
    listing.rows.push_back({TextAt(row, "threads"), prompt ? "a prompt" : TextAt(row, "sequences"),
                            prompt ? TextAt(row, "prompt_tokens") : "to " + TextAt(row, "depth"),
                            HumanMilliseconds(ms), fmt::format("{:.0f}", tokens / ms * 1e3),
                            TextAt(row, "steps")});
  }
  if (listing.rows.empty()) return;
  std::printf("\n");
  Print(Format::kTable, listing, {});
}

}  // namespace evenkeel
