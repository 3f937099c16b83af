// A call for tests, whose rows' first values are marks and whose answer by a FakeChannel is twice its rows.
//
// Thread-safety: single-owner (the test's thread).
#pragma once

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "batching/dispatcher.h"
#include "core/infer.h"

namespace evenkeel {

struct FakeCall final : InferCall {
  static constexpr int kWidth = 2;

  FakeCall(std::vector<float> marks, Time now) {
    for (const float mark : marks) {
      values.push_back(mark);
      values.push_back(mark + 0.5f);
    }
    inputs.push_back({0, DataType::kFp32, Shape{static_cast<int64_t>(marks.size()), kWidth},
                      std::as_bytes(std::span<const float>(values))});
    arrived = now;
  }
  // The model that a FakeChannel plays.
  static Signature ModelSignature(int max_batch) {
    Signature signature;
    signature.inputs = {{"x", DataType::kFp32, Shape{kDynamic, kWidth}, {}, {}}};
    signature.outputs = {{"y", DataType::kFp32, Shape{kDynamic, kWidth}, {}, {}}};
    signature.batched = true;
    signature.max_batch = max_batch;
    return signature;
  }

  void Done(const Status& s, std::span<const TensorView> outputs, const Timings& /*t*/) override {
    ++answers;
    status = s;
    if (!s.ok()) return;
    got.resize(outputs[0].data.size() / sizeof(float));
    std::memcpy(got.data(), outputs[0].data.data(), outputs[0].data.size());
  }
  // Answered once, and with what it asked for.
  bool Right() const {
    if (answers != 1 || got.size() != values.size()) return false;
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] != 2 * values[i]) return false;
    }
    return true;
  }

  std::vector<float> values, got;
  int answers = 0;
  Status status;
};

}  // namespace evenkeel
