// Measures cells in real containers: one worker a shape, batches of sampled rows, sustained.
//
// How a cell of n rows is measured: a round is one batch of n rows, then its n items one by one; rounds follow each other without a
//   pause (two slots, so the next run lies ready when one ends) until the batches alone have run for `least_time` and at least
//   kLeastRuns times. A run's time is from the end of the run before it to its own end, by the worker's clock: what a quota
//   holds back between runs counts. Once the items one by one have run for `least_time` too, one of them a round is enough: it is
//   there because a change of batch size costs something (OpenVINO) and live traffic changes sizes all the time.
//   A cell that takes longer than `most_time` ends after kFewestRuns runs.
//   Warm-up runs before are not counted. A worker is kept from cell to cell of one shape and precision.
// Beside serving (`gate`): the same in stints of kStint or one run, whichever is longer; between them nothing of the cell runs, and the
//   gate says when the next may begin. The runs of a stint that it calls disturbed are not counted, and from those of the others what the worker waited for
//   a core is taken off (policy/own_time.h): serving goes first, and that is no part of T. Time spent waiting at the gate is no part of `least_time` or
//   `most_time`.
// On a rung that does not hold memory (none, process) a container that has more than its shape's memory after a cell counts as `oom`
//   (memory of its own and shared buffers; files that are mapped could be given back), and fractions of a core cannot be measured.
// Thread-safety: blocks; single-owner. Source: A4.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/model_config.h"
#include "profiling/cell_worker.h"
#include "profiling/stint_gate.h"
#include "profiling/sweep.h"

namespace evenkeel {

CellShape ToCellShape(const WorkerShape& shape);
WorkerShape ToWorkerShape(const CellShape& shape);

struct CellRunnerOptions {
  ModelConfig model;
  std::string libexec;    // absolute folder of the workers
  std::string cache;      // absolute folder for compiled models; empty: none
  std::vector<int> cpus;  // that workers may run on; empty: all
  std::string device = "CPU";
  std::optional<EmulatedGpu> emulated;                   // shapes with a GPU run on it
  std::string gpu_device = "GPU";                        // else on this one, as the engine names it
  Duration least_time = std::chrono::milliseconds(200);  // 20 periods of the quota
  Duration most_time = std::chrono::seconds(10);
  Duration run_timeout = std::chrono::seconds(30);  // one batch; more is a row `timeout`
  Duration load_timeout = std::chrono::seconds(120);
  int cancel_fd = -1;
  StintGate* gate = nullptr;  // outlives the cells
  bool background = false;    // workers give way to others; see WorkerSpec
};

class ContainerCells final : public CellRunner {
 public:
  static constexpr int kLeastRuns = 5, kFewestRuns = 3;
  static constexpr Duration kStint = std::chrono::milliseconds(20);

  ContainerCells(CellRunnerOptions options, Runtime& runtime);
  ~ContainerCells() override;

  // Loads the model once, without limits, and learns what it takes. Errors: the engine's refusal; kUnavailable when it dies or hangs.
  Result<Signature> Probe();
  // In place of Probe(), where a worker that serves the model has told as much.
  void Assume(Signature signature) { signature_ = std::move(signature); }
  // What the engine said of itself (JSON); after Probe().
  const std::string& engine() const { return engine_; }
  // The rows that batches are made of. REQUIRES: Probe() gave ok or Assume(); they fit its signature.
  void SetRows(RowPool pool) { pool_ = std::move(pool); }
  // Largest batch whose input fits into a slot's arena. REQUIRES: SetRows().
  int LargestBatch() const;

  // Ends the worker that is kept for the next cell, if there is one: what it holds of a device is free when this returns.
  void LetGo() { Retire(std::move(worker_)); }

  // REQUIRES: Probe() or Assume(), SetRows(). bf16 rows carry the output difference from f32.
  Result<LoadRow> Run(const Cell& cell) override;

 private:
  struct Times;
  struct StintEnd;
  class Rounds;
  CellWorkerOptions OptionsFor(const std::optional<CellShape>& shape, Precision precision) const;
  void PutOnDevice(const CellShape& shape, EngineOptions* engine) const;
  Status Prepare(const Cell& cell, std::optional<Fate>* fate);
  Status WarmUp(int batch);
  Status Measure(int batch, Times* times);
  Status RunStint(Rounds* rounds, Times* times);
  bool Enough(const Times& times, int batch) const;
  int RunRows(int rows) const;
  Status Once(int rows, bool blank);
  Result<std::vector<TensorView>> Place(uint32_t slot, size_t first, int rows);
  // A stint of work around `body`, as the gate allows; `end` may be null.
  template <typename Body>
  Status InStint(Body body, StintEnd* end);
  std::optional<double> HeldByQuota() const;
  double CoreSeconds() const;
  void Retire(std::unique_ptr<CellWorker> worker);
  Status CompareOutputs();
  Result<std::vector<std::vector<double>>> Outputs(CellWorker& worker);
  void Fill(const Times& times, LoadRow* row) const;
  void JudgeMemory(LoadRow* row) const;
  int64_t MemoryOf(const CellWorker& worker) const;

  const CellRunnerOptions options_;
  Runtime& runtime_;
  Signature signature_;
  std::string engine_;
  std::optional<RowPool> pool_;
  std::unique_ptr<CellWorker> worker_;
  CellShape worker_shape_;
  Precision worker_precision_ = Precision::kF32;
  double retired_core_s_ = 0;               // core time of workers that are gone
  size_t cursor_ = 0;                       // the next row of the pool
  std::array<size_t, ipc::kSlots> used_{};  // bytes of each slot's input arena that were written
  uint64_t next_batch_ = 1;
  std::optional<std::vector<std::vector<double>>> f32_outputs_;
  bool compared_ = false;                  // bf16 with f32
  double diff_max_ = -1, diff_mean_ = -1;  // then; below 0: no output can be compared
};

}  // namespace evenkeel
