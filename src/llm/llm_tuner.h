// The loop of measuring, forecasting and choosing around one language model: what its worker runs with is what its load table, the forecast and
// the objectives say (policy/llm_choice.h), and the cores that the node lends it.
//
// How it goes: steps fill the load table. Half a second at a time it is asked again for threads, slots, cells and the share of prompts, and the
//   worker is told. What others have not asked of the model is measured once nobody has asked it anything for a while: sequences of the house
//   (policy/llm_sweep_plan.h), which go as soon as a call comes, for kMeasureTime of steps in all a load. The table is kept, and begun with at
//   the next start. Steps that have left it (DriftDetector) have what they did not tell measured again.
// The node's cores: claimed while there are sequences, taken by the worker from its next step on.
// The worker's container, on the rungs that have one: the cores of the threads that steps may take, and memory for the cells, for texts, and
//   for what else the worker was seen to use. It grows before the cache does, and never below what is in use.
// Contract: Begin() first; OnX() as things happen. Thread-safety: single-owner (the loop), but for Look(). Source: issue S3 (A4, A7 to A10).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "batching/node_scheduler.h"
#include "batching/policy/late_cost.h"
#include "llm/llm_context.h"
#include "llm/llm_table_json.h"
#include "llm/llm_traffic.h"
#include "llm/policy/llm_choice.h"
#include "llm/policy/llm_sweep_plan.h"
#include "llm/policy/prompt_share.h"
#include "llm/sequence_engine.h"
#include "profiling/policy/drift.h"

namespace evenkeel {

class LlmTuner final : private NodeScheduler::StandingMember {
 public:
  static constexpr Duration kLook = std::chrono::milliseconds(500);
  static constexpr Duration kQuietLook = std::chrono::seconds(2);
  static constexpr Duration kKeepEvery = std::chrono::seconds(60);
  static constexpr Duration kMeasureTime = std::chrono::seconds(2);  // of steps

  // `new_id` gives ids for sequences of the house.
  LlmTuner(LlmContext& context, const LlmOptions& options, SequenceEngine& engine,
           std::function<uint64_t()> new_id);
  ~LlmTuner() override;

  // `ready` is called once, on the loop: the first worker may be started. `engine`: its name and build.
  void Begin(const std::string& engine, std::function<void()> ready);
  void End();

  void OnWorker(const LlmLoaded* up);
  void OnBusy(bool busy);
  void OnStep(const StepReport& step);
  void OnSteered(const LlmSteered& steered);
  // True: the sequence is one of the house.
  bool OnEnd(uint64_t id);
  // A call has come: what is measured goes.
  void OnCall(int choices);
  // The same, of texts: they are not forecast.
  void OnTexts();
  LlmTraffic& traffic() { return traffic_; }
  const LlmTraffic& traffic() const { return traffic_; }
  // Seconds of a choice's first token from its call's arrival, and between two tokens.
  void OnToken(bool first, double seconds);

  // Sequences side by side at most.
  int running() const;
  // Of a step of so many answers; nullopt: nothing is known.
  std::optional<double> StepSeconds(int sequences) const;
  double PromptTokenSeconds() const;

  struct View {
    bool tuned = false;
    policy::LlmChoice choice;
    policy::LlmForecast forecast;
    KeptLlmTable kept;
    std::string table_from;  // "kept", "measured", "live steps", ""
    std::string measuring;   // what the sweep does
    double prompt_share = 1;
    int threads = 0;  // granted
    int held = 0;     // in the node's books
    int slots = 0;    // of the context
    int64_t cells = 0;
    double first_token_late = 0, inter_token_late = 0;  // over the objectives, last seen; 0: none
    double drift_ratio = 1;
    double late_token_s = 0;  // of an answer's token in the steps that ran lately; 0: none did
    // As they run lately: a step of 1, 2, 4, ... answers, up to the first number that is not below all slots (none: not known), and a prompt's token.
    std::vector<double> step_s;
    double prompt_s = 0;
    int running = 1;        // sequences side by side at most
    std::string container;  // what the worker has, "2c/512MiB"; empty: no limit
  };
  View Look() const;  // on any thread

 private:
  void CoresChanged() override;
  void Leave();
  void Publish();
  void PublishCores();
  void NoteLateCost(const StepReport& step);
  // What steps take lately over what the table has of them.
  double LateRatio() const;
  std::vector<double> StepTimes() const;
  void Tick();
  void TickAt(Time at);
  void Choose();
  void ShareOfPrompts();
  void LookForDrift(Time now);
  void WantShape();
  void LookAtMemory();
  // The worker's container is one for so many cells. False: it can't be had.
  bool Contain(int64_t cells);
  // Cells that the worker has, or is about to make.
  int64_t CellsToCome() const { return std::max(cells_, coming_cells_); }
  void Measure(Time now);
  void MeasureNext();
  void StopMeasuring();
  void Keep(Time now, bool at_once);
  void Claim();
  void SendSteer();
  policy::LlmLimits Limits() const;
  int MostThreads() const;

  LlmContext& context_;
  const LlmOptions& options_;
  SequenceEngine& engine_;
  const std::function<uint64_t()> new_id_;
  const std::shared_ptr<LlmTuner*> self_;  // null inside once this is gone
  std::unique_ptr<Alarm> tick_;
  Time next_tick_ = kNever;
  int node_id_ = -1;

  policy::LlmLoadTable table_;
  policy::LlmChoice choice_;
  policy::PromptShare prompt_share_;
  policy::LateCost late_;       // in answers' tokens
  policy::LateCost late_step_;  // in seconds that the table has for the same steps
  LlmTraffic traffic_;
  LlmTableKey key_;
  LlmChosenShape chosen_;
  DriftDetector drift_;
  uint64_t expected_mark_ = 0;  // of the table, when drift was last told what to expect
  std::string table_from_;

  bool up_ = false, ended_ = false, busy_ = false;
  LlmSteer steer_;         // as last told, but for threads
  bool generates_ = true;  // else there is nothing to choose but threads
  int slots_ = 0;          // of the context
  int64_t cells_ = 0;
  int context_tokens_ = 0;
  int vocabulary_ = 0;
  int64_t coming_cells_ = 0;                         // asked for, and not answered yet; 0: none
  int64_t text_bytes_ = 0;                           // that the worker's context for texts may take
  std::optional<WorkerShape> refused_;               // by the kernel or the host, last
  LlmChosenShape asked_;                             // of the worker, last
  double depth_ = 0;                                 // tokens of a sequence that answers, lately
  double step_s_ = 0;                                // lately
  std::vector<double> first_tokens_, inter_tokens_;  // seconds, since the last look
  double first_late_ = 0, inter_late_ = 0;
  Time last_call_{}, kept_at_{};
  int64_t kept_steps_ = 0, steps_ = 0;

  // What is measured now.
  std::unordered_set<uint64_t> house_;
  int measure_threads_ = 0;  // 0: nothing is measured
  Duration measured_{};      // steps so far, of this worker
  int cells_tried_ = 0;

  mutable std::mutex mutex_;  // guards view_
  View view_;
};

}  // namespace evenkeel
