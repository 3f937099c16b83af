// An accelerator without one, for tests and simulation only: answers come from an engine on the processor, times and memory from the
// figures of core/emulated_gpu.h.
//
// Use for: every worker executable, around its own engine. Off (and out of the way) unless a load asks for it
//   (EngineOptions::emulated).
// Contract: with it, a batch of b rows ends T(b) = a + c b after it began: the worker sleeps for what the answer took less than that.
//   An answer that took longer is not hidden: its time is what the batch took. A batch of more than the share's memory fails with
//   kTooLarge and "out of memory ..." before it is run; a model whose single row needs more does not load.
//   Rows are those of the first input's first axis (1 where it has none).
// Thread-safety: as Engine. Source: A2, A3; "accelerators without one".
#pragma once

#include <memory>

#include "engines/engine.h"

namespace evenkeel {

std::unique_ptr<Engine> MakeEmulatable(std::unique_ptr<Engine> inner);

}  // namespace evenkeel
