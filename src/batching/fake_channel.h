// A worker's channel in memory, for tests: the test plays the worker batch by batch.
//
// The model is y = 2 x row by row: input 0 and output 0 are FP32 [-1, width]. Thread-safety: single-owner.
#pragma once

#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/channel.h"

namespace evenkeel {

class FakeChannel final : public ipc::Channel {
 public:
  struct Submitted {
    uint32_t slot = 0;
    uint64_t id = 0;
    std::vector<TensorView> inputs;
    int64_t rows() const { return inputs.front().shape[0]; }
    float first(int64_t row) const {
      const size_t width = inputs.front().data.size() / static_cast<size_t>(rows());
      float value = 0;
      std::memcpy(&value, inputs.front().data.data() + static_cast<size_t>(row) * width,
                  sizeof value);
      return value;
    }
  };

  ipc::WorkerFds worker_fds() const override { return {}; }
  void CloseWorkerEnds() override {}
  int control_fd() const override { return -1; }
  int done_fd() const override { return -1; }
  Status SendControl(std::string_view) override { return Status::Ok(); }
  Result<std::optional<std::string>> ReceiveControl() override {
    return std::optional<std::string>();
  }

  int free_slots() const override { return static_cast<int>(ipc::kSlots) - in_use_; }
  uint32_t Reserve() override {
    ++in_use_;
    return next_slot_++ % ipc::kSlots;
  }
  void Abandon(uint32_t) override {
    --in_use_;
    --next_slot_;
  }
  std::span<std::byte> input_arena(uint32_t slot) override { return arenas_[slot]; }
  void Submit(uint32_t slot, uint64_t id, std::span<const TensorView> inputs) override {
    submitted.push_back({slot, id, {inputs.begin(), inputs.end()}});
  }
  void DrainDone() override {}
  std::optional<ipc::Completion> Poll() override {
    if (done_.empty()) return std::nullopt;
    auto completion = std::move(done_.front());
    done_.pop_front();
    return completion;
  }
  void Release(uint32_t) override { --in_use_; }

  // Finishes the oldest submitted batch: every value doubled.
  void Finish(Duration compute = std::chrono::milliseconds(1), Time started = {}) {
    Submitted batch = Take();
    ipc::Completion completion = Base(batch, compute, started);
    TensorView out = batch.inputs.front();
    auto& bytes = outputs_[batch.slot];
    bytes.assign(out.data.begin(), out.data.end());
    for (size_t i = 0; i + sizeof(float) <= bytes.size(); i += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, bytes.data() + i, sizeof value);
      value *= 2;
      std::memcpy(bytes.data() + i, &value, sizeof value);
    }
    out.data = bytes;
    completion.outputs = {out};
    done_.push_back(std::move(completion));
  }
  // Finishes the oldest submitted batch with one output of the test's making.
  void FinishWith(TensorView out, std::vector<std::byte> bytes) {
    Submitted batch = Take();
    ipc::Completion completion = Base(batch, std::chrono::milliseconds(1), {});
    outputs_[batch.slot] = std::move(bytes);
    out.data = outputs_[batch.slot];
    completion.outputs = {out};
    done_.push_back(std::move(completion));
  }
  void Fail(Status status) {
    const Submitted batch = Take();
    ipc::Completion completion = Base(batch, std::chrono::milliseconds(1), {});
    completion.status = std::move(status);
    done_.push_back(std::move(completion));
  }

  std::deque<Submitted> submitted;  // not finished yet, oldest first

 private:
  Submitted Take() {
    Submitted batch = submitted.front();
    submitted.pop_front();
    return batch;
  }
  static ipc::Completion Base(const Submitted& batch, Duration compute, Time started) {
    ipc::Completion completion;
    completion.slot = batch.slot;
    completion.batch_id = batch.id;
    completion.compute = compute;
    completion.started = started;
    return completion;
  }

  int in_use_ = 0;
  uint32_t next_slot_ = 0;
  std::vector<std::byte> arenas_[ipc::kSlots] = {std::vector<std::byte>(1 << 16),
                                                 std::vector<std::byte>(1 << 16)};
  std::vector<std::byte> outputs_[ipc::kSlots];
  std::deque<ipc::Completion> done_;
};

}  // namespace evenkeel
