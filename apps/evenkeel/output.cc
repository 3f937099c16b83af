#include "output.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/parse.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;
bool colour_forbidden = false;

bool CapableTerminal(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  if (colour_forbidden || (no_colour != nullptr && no_colour[0] != '\0')) return false;
  return ::isatty(fd) == 1 && (terminal == nullptr || std::string_view(terminal) != "dumb");
}

// Columns on a terminal: bytes of UTF-8 that begin a character.
size_t WidthOf(const std::string& text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string OneLine(const std::string& text) {
  std::string line = Printable(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

// Plain only where no YAML reader could take it for something else.
std::string YamlText(const std::string& text) {
  const bool plain = !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) != 0 &&
                     text.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") ==
                         std::string::npos;
  for (const std::string_view word :
       {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}) {
    if (text.size() == word.size() && ::strcasecmp(text.c_str(), word.data()) == 0)
      return Json(text).dump();
  }
  return plain ? text : Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string YamlScalar(const Json& value) {
  if (value.is_string()) return YamlText(value.get<std::string>());
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void AppendYaml(const Json& value, size_t indent, std::string* out) {
  const std::string blanks(indent, ' ');
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, child] : value.items()) {
      const bool nested = child.is_structured() && !child.empty();
      *out += blanks + YamlText(key) + ":" + (nested ? "\n" : " " + YamlScalar(child) + "\n");
      if (nested) AppendYaml(child, indent + 2, out);
    }
  } else if (value.is_array() && !value.empty()) {
    for (const Json& child : value) {
      if (child.is_structured() && !child.empty()) {
        std::string below;
        AppendYaml(child, indent + 2, &below);
        below.replace(indent, 2, "- ");
        *out += below;
      } else {
        *out += blanks + "- " + YamlScalar(child) + "\n";
      }
    }
  } else {
    *out += blanks + YamlScalar(value) + "\n";
  }
}

}  // namespace

std::string TableText(const Listing& listing, bool wide) {
  std::vector<size_t> shown;
  for (size_t i = 0; i < listing.columns.size(); ++i) {
    if (wide || !listing.columns[i].wide) shown.push_back(i);
  }
  std::vector<std::vector<std::string>> cells(1);
  for (const Column& column : listing.columns) cells[0].push_back(column.title);
  for (const auto& row : listing.rows) {
    auto& line = cells.emplace_back();
    for (const std::string& text : row) line.push_back(text.empty() ? "-" : OneLine(text));
  }
  std::map<size_t, size_t> widths;
  for (const auto& line : cells) {
    for (const size_t i : shown) widths[i] = std::max(widths[i], WidthOf(line[i]));
  }
  std::string table;
  for (size_t r = 0; r < cells.size(); ++r) {
    std::string text;
    for (const size_t i : shown) {
      const std::string& cell = cells[r][i];
      const std::string blanks(widths[i] - WidthOf(cell), ' ');
      const std::string painted = r > 0 ? Painted(cell) : cell;
      text += listing.columns[i].number ? blanks + painted : painted + blanks;
      text += "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    table += text + "\n";
  }
  return table;
}

std::string Printable(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f;
    safe += control ? '?' : c;
  }
  return safe;
}

void AddOutputFlag(CLI::App& verb, Format* format, bool listing) {
  std::map<std::string, Format> formats{
      {"table", Format::kTable}, {"json", Format::kJson}, {"yaml", Format::kYaml}};
  std::string words = "table|json|yaml";
  if (listing) {
    formats.insert({{"wide", Format::kWide}, {"name", Format::kName}});
    words = "table|wide|json|yaml|name";
  }
  verb.add_option_function<std::string>(
          "-o,--output", [formats, format](const std::string& text) { *format = formats.at(text); },
          "How to print: " + words + " [table]")
      ->type_name("")
      ->check([formats, words](const std::string& text) -> std::string {
        if (formats.contains(text)) return {};
        return "expected one of " + words + ", got " + Excerpt(text);
      });
}

void Print(Format format, const Listing& listing, const Json& document) {
  switch (format) {
    case Format::kTable:
    case Format::kWide:
      std::fputs(TableText(listing, format == Format::kWide).c_str(), stdout);
      return;
    case Format::kJson:
      std::printf("%s\n", document.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
      return;
    case Format::kYaml: std::printf("%s", ToYaml(document).c_str()); return;
    case Format::kName:
      for (const std::string& name : listing.names) std::printf("%s\n", OneLine(name).c_str());
      return;
  }
}

std::string ToYaml(const Json& document) {
  std::string text;
  AppendYaml(document, 0, &text);
  return text;
}

void ForbidColour() { colour_forbidden = true; }

bool ColourAllowed() { return CapableTerminal(STDOUT_FILENO); }

bool AnimationAllowed() { return CapableTerminal(STDERR_FILENO); }

std::string Painted(const std::string& text) {
  static const std::map<std::string, const char*> kColours{
      {"READY", "32"},       {"ready", "32"},     {"pass", "32"},
      {"LOADING", "33"},     {"UNLOADING", "33"}, {"warn", "33"},
      {"UNAVAILABLE", "31"}, {"fail", "31"},      {"RESTARTING", "33"},
  };
  const auto found = kColours.find(text);
  if (found == kColours.end() || !ColourAllowed()) return text;
  return std::string("\033[") + found->second + "m" + text + "\033[0m";
}

}  // namespace evenkeel
