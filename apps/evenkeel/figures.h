// Figures out of the server's JSON, as people read them. A missing or strange value is an empty
// text, never an error: an older or newer server may say less.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/human_bytes.h"

namespace evenkeel {

std::string TextAt(const nlohmann::ordered_json& object,
                   const std::string& key);  // text, number or truth as text
std::string MillisecondsAt(const nlohmann::ordered_json& object,
                           const std::string& key);                                 // "0.31 ms"
std::string BytesAt(const nlohmann::ordered_json& object, const std::string& key);  // "12.4 MiB"
std::string HumanMilliseconds(double ms);  // "31.4 µs" below a tenth, "1.75 s" from 1,000

// The entry of `described["models"]` with that name (and version, unless it is ""); an empty object
// when there is none.
nlohmann::ordered_json ModelNamed(const nlohmann::ordered_json& described, const std::string& name,
                                  const std::string& version);

}  // namespace evenkeel
