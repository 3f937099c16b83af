// The API key that the verbs send to a server.
//
// Contract: from the file of `--api-key-file`, else that of the setting `api_key_file` (EVENKEEL_API_KEY_FILE); never the value of a flag or a variable, and never printed. A file that
//   cannot be read, or what cannot be a key, ends the program with kExitUsage (Fail of api.h) and a message that shows nothing of it.
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

// Before a key is sent: ends the program with kExitUsage where it would leave this machine unencrypted, unless the setting `insecure` says that the network is
// trusted. `host`: a name, or an address without brackets.
void CheckKeyStaysPrivate(const std::string& host, bool tls);

}  // namespace evenkeel
