// evenkeel-worker-fake: serves an `x.fake` model on the channel it inherits. For tests.
#include "engines/emulated/emulated_engine.h"
#include "engines/fake/fake_engine.h"

int main(int argc, char** argv) {
  const auto engine = evenkeel::MakeEmulatable(evenkeel::MakeFakeEngine());
  return evenkeel::RunWorker(*engine, argc, argv);
}
