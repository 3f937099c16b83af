// What a sequence costs on a node whose model steps all its sequences together: what it takes itself, and what it takes from those beside it.
//
// Work that queues (route.h) is done one after the other, so that a backlog is a wait. Sequences run side by side: a free slot is had at once, and each one more makes
//   every step a little longer, T(n + 1) - T(n), for all of them. With n of them running of `slots`, an answer of A tokens and a prompt of P:
//     service = A T(n + 1) + P p, p being the time of a prompt's token
//     wait    = 0 while a slot is free, else (open - slots + 1) C T(slots) / slots: a slot is free again after each answer's part of a full step, C being what a call takes there in tokens
//     beside  = kBeside n (A (T(n + 1) - T(n)) + P p): they are half through on the average. Its part of the utility makes the game one with a potential: what all of them wait.
// Contract: pure. Units: seconds, tokens, sequences. Thread-safety: thread-safe. Source: B6 with live figures; T(n) as the load table of each node has it (A4).
#pragma once

#include <span>

namespace evenkeel {

inline constexpr double kBeside = 0.5;

// Step times of 1, 2, 4, ... sequences; between two the line, beyond the last in proportion. 0: nothing is known. REQUIRES: sequences >= 0.
double StepTime(std::span<const double> steps, double sequences);

struct SequencesThere {
  std::span<const double> steps;  // of 1, 2, 4, ... sequences
  double prompt_s = 0;            // of a prompt's token
  int slots = 1;
  double open = 0;       // that run or wait there
  double call_rows = 1;  // tokens of a call there, its prompt in terms of those
};
struct SequenceCost {
  double wait_s = 0, service_s = 0, beside_s = 0;
  double total_s() const { return wait_s + service_s + beside_s; }
};
SequenceCost CostOfSequence(const SequencesThere& there, double answer_tokens,
                            double prompt_tokens);

}  // namespace evenkeel
