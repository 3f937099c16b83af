// How the program reads its command line: help that starts with examples, and errors that suggest
// what was meant.
//
// Thread-safety: main thread only.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace evenkeel {

// Formatter and settings that every subcommand inherits. Call before subcommands are added.
void PrepareApp(CLI::App& app);

// The message for a command line that did not parse, with a suggestion where a verb or flag looks
// mistyped. `app` is in the state that the failed parse left it in.
std::string ExplainParseError(const CLI::App& app, const CLI::ParseError& error, int argc,
                              const char* const* argv);

}  // namespace evenkeel
