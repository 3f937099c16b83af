// What the verbs print: listings as table, wide table, JSON, YAML or names; single documents as
// JSON or YAML.
//
// Contract: data goes to stdout. Colour only on a terminal, without NO_COLOR, TERM=dumb and
//   --no-color. A table's columns are as wide as their texts; numbers stand right. JSON has
//   two-space indent and ends with a newline. YAML is such that any YAML reader gives the JSON's
//   values.
// Thread-safety: main thread only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace evenkeel {

struct Column {
  std::string title;
  bool number = false;  // stands right
  bool wide = false;    // only with -o wide
};

struct Listing {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;  // a text a column; "" prints as "-"
  std::vector<std::string> names;              // for -o name
};

enum class Format { kTable, kWide, kJson, kYaml, kName };

// Adds `-o, --output` with the formats of a listing (or, without `listing`, table|json|yaml) and
// stores the choice. `format` must outlive the app.
void AddOutputFlag(CLI::App& verb, Format* format, bool listing = true);

// Prints `listing` or, for -o json and -o yaml, `document`.
void Print(Format format, const Listing& listing, const nlohmann::ordered_json& document);

// `listing` as -o table (or wide) prints it, a line a row, each ended.
std::string TableText(const Listing& listing, bool wide);

std::string ToYaml(const nlohmann::ordered_json& document);

// `text` with every control character but line ends replaced: what servers and files say must not
// steer the terminal.
std::string Printable(const std::string& text);

// --no-color was given.
void ForbidColour();
bool ColourAllowed();
// Progress may be shown: stderr is a terminal, and neither NO_COLOR, TERM=dumb nor --no-color forbids it.
bool AnimationAllowed();
// `text` as a state: green for READY and pass, yellow for warn and what is under way, red for the
// rest, where colour is allowed.
std::string Painted(const std::string& text);

}  // namespace evenkeel
