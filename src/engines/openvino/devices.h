// The accelerators that OpenVINO sees here: Intel GPUs and NPUs whose drivers are installed.
//
// Thread-safety: thread-safe. Errors: none; a device that does not answer is listed without its figures.
#pragma once

#include <vector>

#include "engines/device_list.h"

namespace evenkeel {

std::vector<EngineDevice> OpenVinoDevices();

}  // namespace evenkeel
