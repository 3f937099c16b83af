// `evenkeel bench --llm`: prompts of the lengths that are asked for, for any OpenAI-compatible server.
#include "bench_options.h"
#include "core/format.h"
#include "core/parse.h"
#include "loadgen/prompts.h"

namespace evenkeel {
namespace {

using namespace loadgen;  // NOLINT: this file is a door to that room

constexpr int kDistinctPrompts = 1024;  // more than are sent twice while a server may remember them

// "" and "/v1" (as clients of OpenAI's API are given it) are both the server.
Result<std::string> PathOf(const std::string& base, TextApi api) {
  const char* name = api == TextApi::kChat ? "/chat/completions" : "/completions";
  std::string path = base;
  while (path.ends_with('/')) path.pop_back();
  if (path.find_first_of("?#") != std::string::npos)
    return InvalidArgument(
        "--url: expected http://HOST:PORT or one that ends in /v1, got path '{}'", base);
  if (!path.ends_with("/v1")) path += "/v1";
  return path + name;
}

Result<std::vector<TextLengths>> LengthsFromFlags(const BenchFlags& flags) {
  const TextFlags& text = flags.text;
  if (text.lengths.empty()) {
    if (text.context > 0)
      return InvalidArgument("--context cuts the lengths of a file: give one with --lengths");
    const int count = flags.distinct > 0 ? flags.distinct : kDistinctPrompts;
    return std::vector<TextLengths>(static_cast<size_t>(count),
                                    TextLengths{text.prompt_tokens, text.output_tokens});
  }
  auto rows = ReadLengthsFile(text.lengths, text.context);
  if (!rows.ok()) return rows.status().Annotate("--lengths");
  if (flags.distinct > 0 && rows->size() > static_cast<size_t>(flags.distinct))
    rows->resize(static_cast<size_t>(flags.distinct));
  return rows;
}

Status SetObjectives(const BenchFlags& flags, PreparedModel* model) {
  EK_RETURN_IF_ERROR(
      SetDurationFor(model->name, flags.objectives, "--objective", &model->objectives.whole));
  const TextFlags& text = flags.text;
  if (!text.first_token.empty())
    EK_RETURN_IF_ERROR(SetDurationFor(model->name, {text.first_token}, "--first-token",
                                      &model->objectives.first_token));
  if (!text.inter_token.empty())
    EK_RETURN_IF_ERROR(SetDurationFor(model->name, {text.inter_token}, "--inter-token",
                                      &model->objectives.inter_token));
  return Status::Ok();
}

}  // namespace

Status PrepareTextModels(const BenchFlags& flags, LoadPlan* plan) {
  if (flags.models.empty()) return InvalidArgument("name the model: evenkeel bench MODEL --llm");
  const TextApi api = flags.text.api == "chat" ? TextApi::kChat : TextApi::kCompletions;
  const Result<std::string> path = PathOf(plan->url.path, api);
  if (!path.ok()) return path.status();
  plan->url.path = *path;
  plan->streamed = true;
  const Result<std::vector<TextLengths>> lengths = LengthsFromFlags(flags);
  if (!lengths.ok()) return lengths.status();
  const Result<double> temperature = ParseNumber(flags.text.temperature, 0, 2);
  if (!temperature.ok()) return temperature.status().Annotate("--temperature");
  Rng rng(flags.seed);
  for (const std::string& text : flags.models) {
    auto named = ParseModelFlag(text);
    if (!named.ok()) return named.status();
    Result<RenderOptions> render = RenderFromFlags(flags, named->first);
    if (!render.ok()) return render.status();
    render->headers.emplace_back("Content-Type", "application/json");
    PreparedModel model;
    model.name = named->first;
    model.weight = named->second;
    EK_RETURN_IF_ERROR(SetObjectives(flags, &model));
    const TextRequest request{model.name, api, *temperature, flags.text.natural_end};
    for (const TextLengths& row : *lengths)
      model.requests.push_back(
          {RenderRaw(plan->url, TextBody(request, row, &rng), *render), 1, ""});
    plan->models.push_back(std::move(model));
  }
  return Status::Ok();
}

}  // namespace evenkeel
