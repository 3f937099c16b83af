// Runs a compiled model on inputs where they lie, outputs straight into the sink's memory where that is safe.
//
// Two ways to run:
//   direct: infer() of a request that was given the sink's memory for every output. No copy, no other thread.
//   plain:  start_async() of a request that keeps its outputs itself; they are copied once. 15 to 30 us slower.
// The direct way needs guarding, all seen with OpenVINO 2026.4.1:
//   - with one thread, infer() swallows what is thrown inside and returns as if all were well (shapes that do not fit each other; a given output that is too
//     small). So both ends of every output are marked before the run; where a mark is left, the plain way runs again, and reports. Worse, the failed task
//     stays at the head of a queue in the calling thread, and every later infer() runs it first. So the failed request is run on inputs that are known to
//     work, which empties the queue; if that fails too, the model is barred from the direct way. The request lives as long as the runner.
//   - an output that is an input passed through, or one value under two names, is not written where told, and the input may be overwritten.
//     So the first direct run of a model is a rehearsal on a copy of the inputs: what differs from the plain run bars the model from the direct way.
//   - an output whose shape follows from the values cannot be guessed: the first wrong guess bars the model too.
// One request serves all batch sizes: the cost of a change of shape lies in the graph that all requests of a model share (measured: a request a size
// gains nothing; a graph a size does, see size_runner.h).
// Thread-safety: single-owner, always from the same thread.
#pragma once

#include <memory>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/infer_request.hpp>
#include <span>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "engines/engine.h"
#include "engines/openvino/output_shapes.h"

namespace evenkeel {

class ModelRunner {
 public:
  // `signature` must be that of `model`.
  ModelRunner(ov::CompiledModel model, const Signature& signature);
  ~ModelRunner();

  // Error: kTooLarge when the sink has no room. The vendor's exceptions pass through; the runner stays usable.
  Status Run(std::span<const TensorView> inputs, OutputSink& sink);

  // Whether the model still may run the direct way.
  bool direct() const { return may_run_direct_; }

 private:
  struct Rehearsal;

  void SetInputs(std::span<const TensorView> inputs, ov::InferRequest& request) const;
  Status RunPlain(std::span<const TensorView> inputs, OutputSink& sink);
  // *written: every output was written, in the shape that was guessed. Otherwise the plain way must follow.
  Status RunDirect(std::span<const TensorView> inputs, const OutputShapes::Guess& guess,
                   OutputSink& sink, bool* written);
  // Places, marks and sets every output. Fills targets_.
  Status SetOutputs(const OutputShapes::Guess& guess, OutputSink& sink);
  bool AllWritten(const OutputShapes::Guess& guess);
  // Direct on copies of the inputs; compares with what plain_ has just computed. False: something differs.
  bool Rehearse(std::span<const TensorView> inputs);
  // Empties the queue that a swallowed failure has left. False: it could not.
  bool Heal();

  ov::CompiledModel model_;
  std::vector<DataType> output_dtypes_;
  std::vector<ov::element::Type> input_types_, output_types_;
  OutputShapes shapes_;
  ov::InferRequest plain_, direct_;
  std::vector<std::span<std::byte>> targets_;  // of the current direct run
  bool may_run_direct_ = true;
  std::unique_ptr<Rehearsal> rehearsal_;  // null before the first direct run
};

}  // namespace evenkeel
