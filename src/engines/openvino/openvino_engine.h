// The OpenVINO engine: ONNX, OpenVINO IR, TensorFlow Lite, TensorFlow (frozen graph, SavedModel) and Paddle models.
//
// Contract: as Engine. Results are those of f32 unless EngineOptions::bf16. Inputs are read where they lie; outputs whose shape can be told
//   before the run are written by the model itself into the sink's memory, others are copied there once.
//   64-bit and unsigned 32-bit integer inputs are computed with 32 bits by the CPU plugin: their range says so.
// Thread-safety: as Engine.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace evenkeel {

std::unique_ptr<Engine> MakeOpenVinoEngine();

}  // namespace evenkeel
