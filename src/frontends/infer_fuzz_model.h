// The model that the request fuzzers ask: an input of every data type, none of them needed for the
// next.
// Thread-safety: values.
#pragma once

#include <cstdlib>
#include <string>

#include "frontends/kserve_json.h"
#include "frontends/kserve_json_write.h"

namespace evenkeel {

inline const Signature& FuzzSignature() {
  static const Signature signature = [] {
    Signature s;
    s.batched = true;
    s.max_batch = 8;
    for (const DataType type : {DataType::kFp32, DataType::kBytes, DataType::kInt64}) {
      TensorSpec spec;
      spec.name = std::string("x") + std::to_string(s.inputs.size());
      spec.dtype = type;
      spec.shape = {kDynamic, kDynamic};
      s.inputs.push_back(spec);
      s.outputs.push_back(spec);
    }
    return s;
  }();
  return signature;
}

// What was accepted has sizes that add up, and can be written back.
inline void CheckParsed(const InferRequest& request) {
  const Signature& signature = FuzzSignature();
  std::vector<TensorView> outputs(signature.outputs.size());
  bool same_types = true;
  for (const TensorView& view : request.inputs) {
    const auto count = view.shape.ElementCount();
    if (!count) std::abort();
    const Result<size_t> bytes = view.dtype == DataType::kBytes
                                     ? BytesElementsSize(view.data, *count)
                                     : DenseBytes(view.dtype, view.shape);
    if (!bytes.ok() || *bytes != view.data.size()) std::abort();
    same_types = same_types && view.dtype == signature.inputs[view.spec].dtype;
    outputs[view.spec] = view;
  }
  if (request.outputs.empty()) std::abort();
  // Models give what their signature says; the scheduler refuses inputs that differ from it.
  if (same_types) (void)WriteInferBody(request, "m", "1", signature, outputs);
}

}  // namespace evenkeel
