// evenkeel-worker-openvino: serves one model with OpenVINO on the channel it inherits. With --devices it lists accelerators instead.
#include <cstdio>
#include <string_view>

#include "engines/emulated/emulated_engine.h"
#include "engines/openvino/devices.h"
#include "engines/openvino/openvino_engine.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--devices") {
    std::puts(evenkeel::EncodeDevices(evenkeel::OpenVinoDevices()).c_str());
    return 0;
  }
  const auto engine = evenkeel::MakeEmulatable(evenkeel::MakeOpenVinoEngine());
  return evenkeel::RunWorker(*engine, argc, argv);
}
