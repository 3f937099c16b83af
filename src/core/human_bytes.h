// Sizes as people read them; what is read back is parse.h's.
#pragma once

#include <string>

namespace evenkeel {

// Rounded: "12.4 MiB", "512 B".
std::string HumanBytes(double bytes);

}  // namespace evenkeel
