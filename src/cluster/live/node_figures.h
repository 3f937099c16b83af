// What a node tells the others about itself: what it has to do, and how fast it does what (B3, B8).
//
// Work is seconds of one core of that node's own, so that figures of unequal nodes are compared only after they were divided by what the node
//   does side by side. Units: seconds. Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "cluster/policy/sequence_cost.h"
#include "cluster/resource_vector.h"

namespace evenkeel {

struct ModelFigures {
  std::string name, version;
  bool language = false;
  double row_s = 0;  // work of a row in the batches aimed at; language: of a token, all slots taken
  double alone_s = 0;      // from start to answer of a row that finds the node idle; 0: not known
  uint64_t signature = 0;  // digest of what it takes and gives; equal ones answer alike
  double prompt_token_s = 0;  // language: work of a prompt's token
  int slots = 0;              // language: sequences side by side
  int open = 0;               // language: sequences, and calls for texts, that run or wait
  double rate_rps = 0;        // rows a second that are expected; language: sequences
  int64_t memory_bytes = 0;   // that its workers hold
  // Rows that one of `rate_rps` takes: 1; language: tokens of an answer, and its prompt in terms of those.
  double call_rows = 1;
  uint64_t done = 0;      // rows or tokens computed since it was loaded; 0: none, or not told
  double start_up_s = 0;  // until an instance is up, as measured; 0: not known
  int waiting = 0;        // rows or sequences
  // As `row_s`, in the batches or steps that ran lately, however full they were: what routing goes by. Plans go by `row_s`, which load doesn't change. 0: not told.
  double late_row_s = 0;
  // Language, as it runs lately on the threads that the model has: seconds of a step of 1, 2, 4, ... answers, up to all slots (none: not known), and of a prompt's token.
  std::vector<double> step_s = {};
  double prompt_s = 0;
  double answer_tokens = 0;  // language: of an answer, mean; 0: not known
};

// Seconds of a core that a call takes there. 0: not known.
double WorkOf(const ModelFigures& model, double rows, double prompt_tokens = 0);

// Of a language model where nothing was counted yet, tokens.
inline constexpr double kAnswerTokens = 128;
// Work of a language model's sequences that run, half through on the average, or wait, as it is in its node's backlog.
double BacklogOf(const ModelFigures& model);
// What one more costs there where `open` sequences run or wait. REQUIRES: its steps are told.
SequenceCost CostOfSequence(const ModelFigures& model, double open, double answer_tokens,
                            double prompt_tokens);

// What people asked for, see replica_wishes.h.
struct ReplicaWish {
  std::string model;
  int replicas = 0;     // 0: nothing any more
  int64_t unix_ms = 0;  // when
  bool operator==(const ReplicaWish&) const = default;
};

// A model that is to be unloaded, and is not among the others any more.
struct LeavingModel {
  std::string model;
  bool certain = false;  // nothing stops it now, or it is not served there
};

struct NodeFigures {
  std::string node;
  uint64_t incarnation = 0;  // another one after each start
  uint64_t sequence = 0;     // grows within an incarnation
  double cores = 1;          // that work side by side, > 0
  double backlog_s = 0;      // work that waits or runs
  std::vector<ModelFigures> models;
  // Graphs of models whose calls it answers: name, version and signature, nothing else. Their work is that of the models.
  std::vector<ModelFigures> graphs;
  std::string software;
  bool draining = false;     // wants no new work
  ResourceVector resources;  // of this server, measured; no gflops: not yet
  int64_t free_memory_bytes =
      0;  // for models: less what the node is to leave free and what is mapped of those that it serves; 0: not known
  uint64_t nodes_digest = 0;       // of all nodes of the cluster that it knows
  std::vector<NodeAddress> nodes;  // those; told to who has another digest
  StoreHome store;                 // that the nodes run, as this one has it; kNone: it says nothing
  bool store_connected = false;
  bool holds_authority = false;       // it certifies nodes
  double busy_cores = 0;              // that work, mean of the last seconds
  int moving = 0;                     // answers that its gateway is moving to other nodes
  int moved_lately = 0;               // calls given on or moved in the last minute
  std::vector<ReplicaWish> wishes;    // all that it knows
  std::vector<LeavingModel> leaving;  // of its own
  double link_bytes_s = 0;            // from here to who is told; 0: not measured
  // Incarnation of who is told whose software and resources this node has; 0: none. Where the other has this node's, they are not told: `as_before`.
  uint64_t knows = 0;
  bool as_before = false;
};

// Whether the node answers calls of a model, or graph, of that name.
bool Serves(const NodeFigures& figures, std::string_view model);

// What a node remembers of another's figures, so that neither tells the other again what does not change within an incarnation.
class ToldBefore {
 public:
  // Figures that came, into which goes what was left out of them. Where that was never told it stays empty until it is.
  void Complete(NodeFigures* figures);
  // Figures that are about to go there, of this node, whose incarnation they have: says what is known of the other, and whether it has this node's.
  void Mark(NodeFigures* own) const;
  // The same of an answer to `theirs`, who say themselves what they know: a node that started anew is answered whole, also before its figures are taken for the other's.
  void MarkAnswer(const NodeFigures& theirs, NodeFigures* own) const;

 private:
  uint64_t of_ = 0;  // incarnation that the next two are of; 0: none was told
  std::string software_;
  ResourceVector resources_;
  uint64_t has_ = 0;  // the other's word: which incarnation of this node's it knows
};

// The same for the same nodes in any order.
uint64_t DigestOf(std::vector<NodeAddress> nodes);

}  // namespace evenkeel
