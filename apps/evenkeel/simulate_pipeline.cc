#include "simulate_pipeline.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "figures.h"
#include "output.h"
#include "sim/cluster/pipeline_file.h"
#include "sim/cluster/pipeline_report.h"
#include "sim/cluster/pipeline_simulation.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

std::string Milliseconds(const Json& seconds) {
  return HumanMilliseconds(seconds.get<double>() * 1e3);
}

// A row a stage, of each cut.
Listing TableOf(const Json& document) {
  Listing listing;
  listing.columns = {{"FROM", true}, {"UNTIL", true},        {"LAYERS"},
                     {"NODE"},       {"MEMORY", true},       {"STEP", true},
                     {"IDLE", true}, {"PERIOD", true, true}, {"LATENCY", true, true}};
  for (const Json& cut : document["cuts"]) {
    for (const Json& stage : cut["stages"]) {
      listing.rows.push_back(
          {fmt::format("{:.1f} s", cut["from_s"].get<double>()),
           fmt::format("{:.1f} s", cut["until_s"].get<double>()),
           fmt::format("{}-{}", stage["first"].get<int>(), stage["last"].get<int>()), stage["node"],
           BytesAt(stage, "memory_bytes"), Milliseconds(stage["seconds"]),
           fmt::format("{:.1f} %", stage["idle"].get<double>() * 100),
           Milliseconds(cut["period_s"]), Milliseconds(cut["latency_s"])});
      listing.names.push_back(stage["name"]);
    }
  }
  return listing;
}

std::string SummaryOf(const Json& document) {
  const auto ms = [&](const char* what, const char* which) {
    return HumanMilliseconds(document[what][which].get<double>());
  };
  const Json& sequences = document["sequences"];
  std::string text = fmt::format(
      "\n{}: {:.2f} tokens/s; between tokens {} (p99 {}), first token {} (p99 {}); of {} sequences "
      "{} answered\n",
      TextAt(document, "model"), document["tokens_per_s"].get<double>(),
      ms("inter_token_ms", "mean"), ms("inter_token_ms", "p99"), ms("first_token_ms", "mean"),
      ms("first_token_ms", "p99"), TextAt(sequences, "arrived"), TextAt(sequences, "answered"));
  if (document["down_s"].get<double>() > 0)
    text += fmt::format("down for {:.1f} s; {} tokens computed again\n",
                        document["down_s"].get<double>(), TextAt(document, "again_tokens"));
  if (!document["trouble"].get<std::string>().empty())
    text += fmt::format("down at the end: {}\n", TextAt(document, "trouble"));
  return text;
}

}  // namespace

void SimulatePipelineAndPrint(const ClusterFlags& flags, const std::string& text,
                              const sim::ReadFile& read) {
  if (!flags.rules.empty() || !flags.html.empty())
    Fail(kExitUsage,
         fmt::format("{}: '{}' has a pipeline, which nothing is routed in and no page shows",
                     flags.rules.empty() ? "--html" : "--rules", flags.file));
  const auto scenario = sim::ParsePipeline(text, read);
  if (!scenario.ok()) Fail(kExitUsage, flags.file + ": " + scenario.status().message());
  sim::PipelineOptions options;
  options.seconds = flags.seconds;
  options.warm_up_s = flags.warm_up;
  options.factor = flags.factor;
  options.seed = flags.seed;
  const auto outcome = sim::SimulatePipeline(*scenario, options);
  if (!outcome.ok())
    Fail(kExitFailed, fmt::format("task '{}' fits no node, nor cut over all: {}",
                                  scenario->model.name, outcome.status().message()));
  const Json document = sim::ToJson(*scenario, options, *outcome);
  Print(flags.format, TableOf(document), document);
  if (flags.format == Format::kTable || flags.format == Format::kWide)
    std::fputs(Printable(SummaryOf(document)).c_str(), stdout);
}

}  // namespace evenkeel
