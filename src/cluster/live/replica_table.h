// What a gateway knows of the cluster's nodes, and which of them a call goes to.
//
// Use for: one a gateway. Not for: speaking to nodes (cluster/link), the call itself.
// How it goes: every node's figures come with their age; what was sent there since is added, what it has worked off since is taken off (Backlog). A node
//   is suspect, and gets no new work, from a failure of its link on until it answers with figures that were made after it; when its figures are older than
//   kStale; and while it drains. A language model's sequences run side by side: what one more costs there and takes from the others is told by policy/sequence_cost.h, if all that have measured anything tell what their steps take. A node that has measured nothing of a model is taken for the slowest of those that have. The own node (index 0) is never suspect but while it drains.
// Contract: Choose() names only nodes that serve the model in a version of that number (any, if "") and signature, and -1 where there is none left. What was chosen is booked
//   until Ended(). Deterministic by seed. Units: seconds on the caller's clock, which never goes back.
// Thread-safety: single-owner. Source: B6, with route.h's rules.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/node_figures.h"
#include "cluster/live/open_sequences.h"
#include "cluster/policy/route.h"

namespace evenkeel {

class ReplicaTable {
 public:
  static constexpr double kStale = 3.0;
  static constexpr size_t kRoundTrips = 8;

  // `nodes`: their names, the own one first.
  ReplicaTable(RouteRule rule, uint64_t seed, std::vector<std::string> nodes);

  // A node that came later; its index.
  int AddNode(std::string name);
  // Figures that were made at `made_s`. Those of an earlier incarnation's, or older ones than are known, say nothing. `answered`: they came
  // as an answer, so that there is a way to the node; what it tells by itself shows only the way back.
  void OnFigures(int node, NodeFigures figures, double made_s, double now_s, bool answered = true);
  // Of a small message. The least of the last kRoundTrips counts: what a busy node takes longer to answer is in its backlog already.
  void OnRoundTrip(int node, double seconds);
  void OnBandwidth(int node, double bytes_per_s);
  double bandwidth(int node) const { return nodes_[static_cast<size_t>(node)].bytes_per_s; }
  void OnLinkFailure(int node, double now_s);
  // Whether there is a doubt about the node that its figures don't show: it gets new work only where no other can take it.
  void OnDoubt(int node, bool doubt);
  // It was taken off the cluster: nothing goes there again.
  void OnGone(int node);

  struct Wanted {
    std::string_view model, version;
    uint64_t signature = 0;  // 0: any
    int64_t rows = 1;        // language: tokens that the answer may take
    int64_t prompt_tokens = 0;
    int choices = 1;     // language: sequences of the answer
    bool graph = false;  // a graph is meant, and no model of its name
  };
  struct Choice {
    int node = -1;
    double work_s = 0;    // booked there
    int sequences = 0;    // the same, of the language model `model`
    std::string model;    // empty: its calls are not counted apart
    std::string version;  // of the model there that is meant
  };
  // `not_these`: by node, true where it was tried before; may be empty.
  Choice Choose(const Wanted& wanted, const std::vector<bool>& not_these, double now_s);
  void Ended(const Choice& choice, double now_s);

  // Any node that serves the model, suspect or not: the figures of the first; null: nobody does.
  const ModelFigures* Known(std::string_view model, std::string_view version) const;
  struct NodeView {
    std::string name;
    bool suspect = false;
    bool known = false;   // figures came
    bool failed = false;  // its link has failed since
    bool gone = false;    // it was taken off the cluster: its place stays, nothing else does
    double age_s = 0;     // of the figures
    double silent_s = 0;  // since it answered last
    double backlog_s = 0, outstanding_s = 0, round_trip_s = 0, bytes_per_s = 0;
    int outstanding = 0;
    uint64_t sent = 0;  // calls, since the start
    NodeFigures figures;
  };
  std::vector<NodeView> Look(double now_s) const;
  size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    std::string name;
    std::optional<NodeFigures> figures;
    Backlog backlog{1};
    double made_s = 0;
    double answered_s = 0;  // when the latest figures that were an answer were made
    double failed_s = -1;   // the latest failure of its link; < 0: none
    bool doubt = false, gone = false;
    double round_trip_s = 0, bytes_per_s = 0;
    std::array<double, kRoundTrips> round_trips{};  // the last ones, in turn
    size_t tried = 0;                               // of those, since the start
    double outstanding_s = 0;
    int outstanding = 0;
    uint64_t sent = 0;
    std::map<std::string, OpenSequences, std::less<>>
        sequences;  // of this gateway, by language model
  };
  bool Failed(const Node& node) const {
    return node.failed_s >= 0 && node.answered_s <= node.failed_s;
  }
  bool Suspect(size_t node, double now_s) const;
  // The nodes that a call can go to, as the rules see them.
  struct Candidates;
  Candidates CandidatesFor(const Wanted& wanted, const std::vector<bool>& not_these,
                           double now_s) const;
  // Tokens that an answer is expected to have.
  static double AnswerTokens(const Wanted& wanted, const Candidates& candidates);
  void TellSequences(const Wanted& wanted, double answer_tokens, Candidates* candidates) const;

  std::vector<Node> nodes_;
  Router router_;
};

}  // namespace evenkeel
