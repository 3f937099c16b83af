#include "engines/openvino/error_text.h"

#include <algorithm>
#include <filesystem>
#include <regex>
#include <vector>

namespace evenkeel {
namespace {

constexpr size_t kMaxText = 400;

void ReplaceAll(std::string* text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (size_t at = 0; (at = text->find(from, at)) != std::string::npos; at += to.size()) {
    text->replace(at, from.size(), to);
  }
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r:;,";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

bool IsShapeError(std::string_view what) {
  constexpr std::string_view kSigns[] = {"hape infer",  "shape_infer",       "shape inference",
                                         "get_shape()", "ncompatible shape", "broadcast_merge_into",
                                         "dimension"};
  return std::ranges::any_of(kSigns,
                             [&](std::string_view sign) { return what.find(sign) != what.npos; });
}

std::string CleanEngineError(std::string_view what, std::string_view model_path) {
  std::string text(what);
  const std::filesystem::path path(model_path);
  ReplaceAll(&text, path.string(), path.filename().string());
  if (path.has_parent_path()) ReplaceAll(&text, path.parent_path().string() + "/", "");
  // "Exception from src/x.cpp:12:", "Check 'a == b' failed at src/x.cpp:12:", "[ GENERAL_ERROR ]", "src/x.hpp:3".
  static const std::regex noise(
      R"((Exception (caught|from)[^\n]*?\.[ch]pp:\d+:?)|(Check '[^\n]*' failed at [^\n]*?\.[ch]pp:\d+:?))"
      R"(|(\[ ?[A-Z_]+ ?\])|(\S*\.[ch]pp:\d+:?)|(\S*/(build|jenkins|agent)/\S*))");
  text = std::regex_replace(text, noise, "");
  // The reader of models ends by listing its plugins.
  text = text.substr(0, text.find("Available frontends"));
  std::vector<std::string_view> lines;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = Trim(std::string_view(text).substr(at, end - at));
    if (!line.empty() && std::ranges::find(lines, line) == lines.end()) lines.push_back(line);
    at = end + 1;
  }
  std::string joined;
  for (const std::string_view line : lines) {
    if (!joined.empty()) joined += joined.back() == '.' ? " " : ": ";
    joined += line;
  }
  if (joined.empty()) joined = "the engine gave no reason";
  if (joined.size() > kMaxText) joined = joined.substr(0, kMaxText - 3) + "...";
  return joined;
}

}  // namespace evenkeel
