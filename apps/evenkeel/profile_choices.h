// What the rules make of a load table: the method's (A5, A6), ours, and which class a model's batches go to (A2).
//
// Contract: `class: cpu` asks the rules for CPU rows, `gpu` those for GPU rows, `auto` both, and then SelectClass. Pure.
// Thread-safety: thread-safe.
#pragma once

#include "profile_options.h"
#include "profile_print.h"

namespace evenkeel {

// Fills `precision`, `choices` and `classes` from `table`. REQUIRES: the table is complete.
void ChooseAll(const ProfileOptions& options, const ModelConfig& model, const HostSize& host,
               ProfileReport* report);

}  // namespace evenkeel
