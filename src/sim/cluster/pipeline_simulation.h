// A model cut between its layers over the nodes of a cluster, in virtual time: sequences fill the pipeline, nodes fail and become slow, and the plan is made anew.
//
// Model: the cut is that of `evenkeel plan` (cluster/policy/stages.h, stage_costs.h); a place that holds the model whole has it as its only stage. A sequence's prompt passes the stages in pieces of at
//   most `piece_tokens`; a piece enters when the one before it has left the first stage. The last piece gives the answer's first token, and every step of one token another; a step begins when the
//   token before it is back at the first stage. A stage works through its steps one after the other, in the order they came, at the roofline of its place for the step's tokens: prompts go by what the place computes, answers by how fast
//   it reads the weights. What a stage gives goes over a link of its own to the next one, at the link's bandwidth, one step after the other, while the stage goes on; it is there half a round trip later, and so is
//   the token on its way back.
//   A node that fails takes the model down, and its state with it: `detect_s` later the same policy cuts anew over what is up, every node reads what it lacks of its layers at
//   `load_bytes_per_s`, and the sequences go on from their tokens, which are computed again as a prompt. Where it does not fit any more, it stays down until a node returns. A node that returns is used by the next cut; a slow one computes as slowly from its next step on, and does not cause a cut.
// Left out: batching (a step is of one sequence), the growth of the cache, other work of the nodes, a return to a better cut. The plan reckons computing and sending one after the other, so that its period is never shorter than what is simulated.
// Contract: a sequence that arrived is answered with all its tokens, or counted as unanswered at the end. Deterministic by seed. Units: seconds, bytes.
// Errors: kUnavailable: the model does not fit at the beginning, with what is short. Thread-safety: pure. Source: requirements, rule 1.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/resource_vector.h"
#include "cluster/task.h"
#include "core/status.h"
#include "sim/arrivals.h"
#include "sim/cluster/cluster_simulation.h"
#include "sim/latency_counts.h"

namespace evenkeel::sim {

struct PipelineScenario {
  std::vector<NodeState> nodes;
  Link link;   // between any two
  Task model;  // `layers` >= 2; gflop, gbytes and boundary_bytes are those of a step of one token
  std::shared_ptr<const ArrivalProcess> arrivals;  // of sequences
  int prompt_tokens = 512, answer_tokens = 128;    // of each, >= 1
  int piece_tokens = 512;                          // of a prompt, in a step, >= 1
  int in_flight = 16;                              // sequences at once, >= 1; others wait
  double detect_s = 1;
  double load_bytes_per_s = 500e6;   // > 0
  std::vector<ClusterEvent> events;  // by time
};

struct PipelineOptions {
  double seconds = 60;
  double warm_up_s = 2;  // what happens before it is not counted
  double factor = 1;     // on the arrivals' rate
  uint64_t seed = 1;
};

struct StageOutcome {
  std::string place;
  int first = 0, layers = 0;
  int64_t bytes = 0;
  double seconds = 0;  // a step of one token, as planned
  double idle = 0;     // the bubble: share of the counted time that it did not compute
};

struct CutOutcome {
  double from_s = 0, until_s = 0;
  double period_s = 0, latency_s = 0;  // as planned: policy/stages.h
  std::vector<StageOutcome> stages;
};

struct PipelineOutcome {
  uint64_t arrived = 0, answered = 0, unanswered = 0;  // of sequences that are counted
  uint64_t answer_tokens = 0;                          // given in the counted time
  uint64_t again_tokens = 0;                           // computed again after a failure
  double down_s = 0;
  LatencyCounts first_token;  // from its arrival
  LatencyCounts inter_token;  // pauses of a failure among them
  std::vector<CutOutcome> cuts;
  std::string
      trouble;  // why the model is down at the end; empty: it is not, or will be up when it is loaded
};

Result<PipelineOutcome> SimulatePipeline(const PipelineScenario& scenario,
                                         const PipelineOptions& options);

}  // namespace evenkeel::sim
