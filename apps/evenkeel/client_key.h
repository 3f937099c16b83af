// The API key that the verbs send to a server.
//
// Contract: from the file of `--api-key-file`, else the variable EVENKEEL_API_KEY, else the file of the setting `api_key_file`; never a
//   flag's value, and never printed. A file that cannot be read, or what cannot be a key, ends the program with kExitUsage (Fail of
//   api.h) and a message that shows nothing of it.
// Thread-safety: thread-safe, but for changes of the environment.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace evenkeel {

// Adds `--api-key-file`; `file` outlives the app.
void AddKeyFlag(CLI::App& verb, std::string* file);

// "" when there is none. `file_flag`: what --api-key-file gave, or "".
std::string ClientKey(const std::string& file_flag);

}  // namespace evenkeel
