// Cuts a model that fits no place into ranges of its layers, one a place: a pipeline.
//
// The rule: as few stages as hold it, since each is one hop more; of those the ones of the least period,
//
//   max over stages of  load there + layers x seconds of a layer there + sending what the stage gives,
//
// after which the next batch can follow where as many are in flight as there are stages. A cut never makes one stream faster: that takes the sum of all. What the period
//   leaves open goes to the places that compute a layer fastest.
// Every hop costs the same here, also between two places of one node.
// Contract: every layer is in exactly one stage, in order; each stage has one at least; none takes more than its place's room. Cost: O(places^2) for each period that is tried, of some 60.
// Errors: kUnavailable: it does not fit, with what is short.
// Deterministic. Units: seconds, bytes. Thread-safety: pure. Source: requirements, rule 1; B2.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct LayeredModel {
  int layers = 0;                           // all alike
  int64_t layer_bytes = 0;                  // weights and cache of one
  int64_t first_bytes = 0, last_bytes = 0;  // beside its layers: of the first and of the last stage
};

struct StagePlace {
  int64_t room = 0;
  double layer_s = 0;    // a step of one layer; infinite: it can't run here
  double present_s = 0;  // load that is there already
};

struct Stage {
  int place = 0;
  int first = 0, layers = 0;
  int64_t bytes = 0;
  double seconds = 0;  // a step of its layers
};

struct StagePlan {
  std::vector<Stage> stages;  // in the order of the layers
  double period_s = 0;        // with as many batches in flight as stages
  double latency_s = 0;       // of one step alone
};

// `hop_s`: to send what a stage gives to the next. REQUIRES: layers >= 1, nothing negative.
Result<StagePlan> CutIntoStages(const LayeredModel& model, const std::vector<StagePlace>& places,
                                double hop_s);

}  // namespace evenkeel
