// What is computed of answers that move, between this node and the others: given from here, and fetched to here where that takes less than computing it (B8).
//
// How it goes: Prepare() has the files of language models digested that other nodes serve too, when the node has nothing else to do: until then, and where a file was changed since
//   it was loaded, none of the model's states are sent. A listing that failed is asked for again after kFirstAgain, then after twice as long each time, kLastAgain at most; what one says
//   holds until the model is loaded anew. Take() weighs (cluster/policy/state_move.h) by the link from the one that has the state, as that one has
//   measured it, and this node's own speed with prompts, fetches, and hands the state to the model's worker. Whatever fails: the answer is computed from its tokens by who asked.
// Contract: every `done` comes once, on any thread, also inside. At most kMostReads are given at once, and kMostTakes fetched; kMostWaiting more takes wait.
// Ownership: events, and what the functions stand on, outlive it, or Stop(); the clock outlives Stop() too, until the last `done` of a listing: it is asked when that comes.
// Thread-safety: thread-safe. Source: B8, issue S4.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/link/state_message.h"
#include "cluster/models/model_listing.h"
#include "core/clock.h"
#include "core/sequence_state.h"
#include "core/status.h"
#include "llm/state_model.h"
#include "server/event_log.h"

namespace evenkeel {

class StateExchange final : public std::enable_shared_from_this<StateExchange> {
 public:
  static constexpr int kMostReads = 4, kMostTakes = 2;
  static constexpr size_t kMostWaiting = 32;
  // Of a fetch: so many times what it is expected to take, but at least the second, and at most the third: who ordered it waits no longer, and its place is wanted.
  static constexpr double kPatience = 4;
  static constexpr double kLeastPatienceS = 5, kMostPatienceS = 120;
  static constexpr Duration kFirstAgain = std::chrono::seconds(30);
  static constexpr Duration kLastAgain = std::chrono::hours(1);

  // The way to another node: round trip as this one has measured it, speed as the other one has, from there to here.
  struct Link {
    double round_trip_s = 0, bytes_per_s = 0;
    // As LinkClient::ReadState().
    std::function<void(const StateRequest& request, Duration timeout,
                       std::function<void(Result<SequenceState>)> done)>
        read;
  };
  struct Node {
    // This server's language models that serve.
    std::function<std::vector<std::shared_ptr<StateModel>>()> models;
    // nullopt: no other node is called so.
    std::function<std::optional<Link>(std::string_view node)> link;
    // The files of a model of the models folder; `done` once, on any thread.
    std::function<void(std::string model, std::function<void(Result<ModelListing>)> done)> list;
    // Another node serves the model.
    std::function<bool(std::string_view model)> elsewhere;
  };

  StateExchange(EventLog& events, Node node, const Clock& clock = SteadyClock::Instance())
      : events_(events), node_(std::move(node)), clock_(clock) {}
  // Nothing is begun any more; what waits is refused.
  void Stop();

  // To be called now and then, while nothing is under way. On the loop.
  void Prepare();
  void Read(const StateRequest& request, std::function<void(Result<BoundState>)> done);
  void Take(const StateOrder& order, std::function<void(Result<StateTaken>)> done);

  // Since the start.
  struct Counts {
    uint64_t given = 0;     // that another node took all of, or is about to
    uint64_t taken = 0;     // that were fetched, and that a worker holds
    uint64_t computed = 0;  // that were not: it takes less, or a speed is not known
    uint64_t failed = 0;    // that were to be fetched, and were not
    uint64_t bytes = 0;     // of those that were taken
    int models = 0;         // now: whose states can be sent
  };
  Counts counts() const;

 private:
  using Taken = std::function<void(Result<StateTaken>)>;
  struct Digest {
    std::weak_ptr<StateModel> of;
    std::string binding;  // empty: not known yet, or there is none
    int failures = 0;     // of listing its files, one after the other
    Time again = kNever;  // when that is asked for next; kNever: it is under way, or has ended
  };
  struct Fetch {
    StateOrder order;
    std::shared_ptr<StateModel> model;
    std::string binding;
    double expected_s = 0, computing_s = 0;
    Taken done;
  };

  std::shared_ptr<StateModel> Find(std::string_view model) const;  // that serves
  // With that binding, also while it is being unloaded: its answers move most of all. Else the one that serves.
  std::shared_ptr<StateModel> Answering(std::string_view model, std::string_view binding) const;
  // "sha256:DIGEST KIND"; empty: its states are not sent.
  std::string BindingOf(const std::shared_ptr<StateModel>& model) const;
  void Digested(const std::shared_ptr<StateModel>& model, const Result<ModelListing>& listing);
  // For how long it is not asked for again; the first failure is 1.
  static Duration AgainAfter(int failures);
  Result<StateTaken> Weigh(Fetch* fetch);
  void Start(std::shared_ptr<Fetch> fetch);
  void Restore(const std::shared_ptr<Fetch>& fetch, SequenceState state);
  void Ended(const std::shared_ptr<Fetch>& fetch, Result<StateTaken> result);
  bool stopped() const;

  EventLog& events_;
  const Node node_;
  const Clock& clock_;

  mutable std::mutex mutex_;  // guards what follows; not held while anything is called
  bool stopped_ = false;
  std::map<const StateModel*, Digest> digests_;
  int reads_ = 0, takes_ = 0;
  std::deque<std::shared_ptr<Fetch>> waiting_;
  Counts counts_;
};

}  // namespace evenkeel
