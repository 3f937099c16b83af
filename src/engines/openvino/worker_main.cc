// evenkeel-worker-openvino: serves one model with OpenVINO on the channel it inherits.
#include "engines/openvino/openvino_engine.h"

int main(int argc, char** argv) {
  const auto engine = evenkeel::MakeOpenVinoEngine();
  return evenkeel::RunWorker(*engine, argc, argv);
}
