#include "loadgen/prompts.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "loadgen/trace_file.h"

namespace evenkeel::loadgen {
namespace {

constexpr size_t kMaxLengthsBytes = size_t{256} << 20;
constexpr size_t kMostRows = 1'000'000;

constexpr std::array<std::string_view, 120> kWords = {
    "time",  "people", "year",   "way",    "day",    "man",   "thing",  "woman",  "life",   "child",
    "world", "school", "state",  "family", "group",  "hand",  "part",   "place",  "case",   "week",
    "work",  "night",  "point",  "home",   "water",  "room",  "mother", "area",   "money",  "story",
    "fact",  "month",  "lot",    "right",  "study",  "book",  "eye",    "job",    "word",   "side",
    "kind",  "head",   "house",  "friend", "father", "power", "hour",   "game",   "line",   "end",
    "law",   "car",    "city",   "name",   "team",   "idea",  "body",   "back",   "face",   "level",
    "door",  "health", "person", "art",    "war",    "party", "change", "reason", "girl",   "air",
    "force", "foot",   "boy",    "age",    "music",  "sense", "food",   "field",  "death",  "use",
    "class", "road",   "form",   "land",   "light",  "voice", "paper",  "space",  "ground", "table",
    "court", "street", "image",  "phone",  "data",   "color", "film",   "tree",   "fire",   "cup",
    "wall",  "east",   "west",   "north",  "south",  "red",   "green",  "blue",   "black",  "white",
    "one",   "two",    "three",  "four",   "five",   "six",   "seven",  "eight",  "nine",   "ten"};

std::vector<std::string_view> Fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t end = std::min(line.find(','), line.size());
    std::string_view field = line.substr(0, end);
    while (!field.empty() && (field.front() == ' ' || field.front() == '"')) field.remove_prefix(1);
    while (!field.empty() && (field.back() == ' ' || field.back() == '"' || field.back() == '\r'))
      field.remove_suffix(1);
    fields.push_back(field);
    if (end == line.size()) return fields;
    line.remove_prefix(end + 1);
  }
}

struct Columns {
  size_t prompt = 0, output = 0;
};

Result<Columns> FindColumns(const std::vector<std::string_view>& head) {
  Columns columns;
  for (const auto& [name, place] :
       {std::pair{"prompt_tokens", &columns.prompt}, std::pair{"output_tokens", &columns.output}}) {
    const auto at = std::ranges::find(head, name);
    if (at == head.end())
      return InvalidArgument("expected a column '{}' in the first line, got '{}'", name,
                             Excerpt(fmt::format("{}", fmt::join(head, ",")), 200));
    *place = static_cast<size_t>(at - head.begin());
  }
  return columns;
}

Result<int> LengthIn(const std::vector<std::string_view>& fields, size_t column, int least) {
  if (column >= fields.size())
    return InvalidArgument("expected at least {} columns, got {}", column + 1, fields.size());
  const auto value = ParseInt(fields[column], 0, kMostPromptTokens);
  if (!value.ok()) return value.status().Annotate("tokens");
  return std::max(static_cast<int>(*value), least);
}

Result<TextLengths> LengthsIn(const std::vector<std::string_view>& fields, const Columns& columns,
                              int context) {
  const auto prompt = LengthIn(fields, columns.prompt, 1);
  if (!prompt.ok()) return prompt.status();
  const auto output = LengthIn(fields, columns.output, 1);
  if (!output.ok()) return output.status();
  TextLengths lengths{*prompt, *output};
  if (context > 0) {
    lengths.output_tokens = std::min(lengths.output_tokens, std::max(context / 2, 1));
    lengths.prompt_tokens =
        std::clamp(lengths.prompt_tokens, 1, std::max(context - lengths.output_tokens, 1));
  }
  return lengths;
}

}  // namespace

Result<std::vector<TextLengths>> ParseLengths(std::string_view text, std::string_view name,
                                              int context) {
  std::vector<TextLengths> rows;
  std::optional<Columns> columns;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty() || line == "\r" || line.front() == '#') continue;
    const auto where = [&] { return fmt::format("{}:{}", name, number); };
    const std::vector<std::string_view> fields = Fields(line);
    if (!columns) {
      const auto found = FindColumns(fields);
      if (!found.ok()) return found.status().Annotate(where());
      columns = *found;
      continue;
    }
    const auto lengths = LengthsIn(fields, *columns, context);
    if (!lengths.ok()) return lengths.status().Annotate(where());
    if (rows.size() == kMostRows) return TooLarge("{}: more than {} rows", name, kMostRows);
    rows.push_back(*lengths);
  }
  if (rows.empty()) return InvalidArgument("{}: no lengths", name);
  return rows;
}

Result<std::vector<TextLengths>> ReadLengthsFile(const std::string& path, int context) {
  const auto text = ReadFileMaybeGzip(path, kMaxLengthsBytes);
  if (!text.ok()) return text.status();
  return ParseLengths(*text, path, context);
}

std::string MakePrompt(int tokens, Rng* rng) {
  std::string prompt;
  for (int i = 0; i < tokens; ++i) {
    if (i > 0) prompt += ' ';
    prompt += kWords[rng->Below(kWords.size())];
  }
  return prompt;
}

std::string TextBody(const TextRequest& request, const TextLengths& lengths, Rng* rng) {
  nlohmann::json body = {{"model", request.model},
                         {"max_tokens", lengths.output_tokens},
                         {"temperature", request.temperature},
                         {"stream", true},
                         {"stream_options", {{"include_usage", true}}}};
  if (!request.natural_end) body["ignore_eos"] = true;
  std::string prompt = MakePrompt(lengths.prompt_tokens, rng);
  if (request.api == TextApi::kChat) {
    body["messages"] = nlohmann::json::array({{{"role", "user"}, {"content", std::move(prompt)}}});
  } else {
    body["prompt"] = std::move(prompt);
  }
  return body.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace evenkeel::loadgen
