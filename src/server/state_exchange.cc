#include "server/state_exchange.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cluster/policy/state_move.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

// Of the weights alone: settings that lie beside them differ from node to node. Equal for a file that stands alone and one in a folder. Empty: there are none.
std::string WeightsDigest(const ModelListing& listing) {
  ModelListing weights;
  for (const ListedFile& file : listing.files) {
    if (file.path.ends_with(".gguf")) weights.files.push_back(file);
  }
  weights.folder = weights.files.size() > 1;
  return weights.files.empty() ? "" : ContentDigest(weights);
}

Status Stopping() { return Unavailable("this node is stopping"); }

}  // namespace

void StateExchange::Stop() {
  std::deque<std::shared_ptr<Fetch>> waiting;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    waiting = std::exchange(waiting_, {});
  }
  for (const auto& fetch : waiting) fetch->done(Stopping());
}

std::shared_ptr<StateModel> StateExchange::Find(std::string_view model) const {
  const auto models = node_.models();
  const auto at =
      std::ranges::find_if(models, [&](const auto& one) { return one->model_name() == model; });
  return at == models.end() ? nullptr : *at;
}

std::shared_ptr<StateModel> StateExchange::Answering(std::string_view model,
                                                     std::string_view binding) const {
  {
    std::vector<std::shared_ptr<StateModel>> held;  // let go without the mutex
    const std::lock_guard lock(mutex_);
    for (const auto& [_, digest] : digests_) {
      if (digest.binding.empty() || digest.binding != binding) continue;
      const auto& one = held.emplace_back(digest.of.lock());
      if (one != nullptr && one->model_name() == model) return one;
    }
  }
  return Find(model);
}

std::string StateExchange::BindingOf(const std::shared_ptr<StateModel>& model) const {
  const std::lock_guard lock(mutex_);
  const auto at = digests_.find(model.get());
  return at != digests_.end() && at->second.of.lock() == model ? at->second.binding : "";
}

void StateExchange::Prepare() {
  auto models = node_.models();
  std::erase_if(models, [this](const auto& model) {
    return model->state_kind().empty() || !node_.elsewhere(model->model_name());
  });
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    std::erase_if(digests_, [](const auto& one) { return one.second.of.expired(); });
    const Time now = clock_.Now();
    std::erase_if(models, [&](const auto& model) {
      const auto at = digests_.find(model.get());
      return at != digests_.end() && now < at->second.again;
    });
    for (const auto& model : models) {
      Digest& digest = digests_[model.get()];
      digest.of = model;
      digest.again = kNever;
    }
  }
  for (const auto& model : models) {
    node_.list(model->model_name(), [self = shared_from_this(), of = std::weak_ptr(model)](
                                        const Result<ModelListing>& listing) {
      if (const auto digested = of.lock()) self->Digested(digested, listing);
    });
  }
}

Duration StateExchange::AgainAfter(int failures) {
  Duration after = kFirstAgain;
  for (int i = 1; i < failures && after < kLastAgain; ++i) after *= 2;
  return std::min(after, kLastAgain);
}

void StateExchange::Digested(const std::shared_ptr<StateModel>& model,
                             const Result<ModelListing>& listing) {
  if (!listing.ok()) {
    const bool overloaded = listing.status().code() == Code::kOverloaded;
    Duration after{};  // 0: the next time
    {
      const std::lock_guard lock(mutex_);
      Digest& digest = digests_[model.get()];
      digest.of = model;
      // What was too much says nothing of the model.
      if (!overloaded) after = AgainAfter(++digest.failures);
      digest.again = clock_.Now() + after;
    }
    if (overloaded) return;
    return LogInfo(
        "model '{}': its answers move by their tokens, it is asked again in {:.0f} s: {}",
        model->model_name(), Seconds(after), listing.status().message());
  }
  const std::string weights = WeightsDigest(*listing);
  if (weights.empty() || !model->FileUnchanged()) {
    LogInfo(
        "model '{}': its answers move by their tokens: its file has changed since it was loaded, "
        "or is none of the folder's",
        model->model_name());
    return;
  }
  Digest digest;
  digest.of = model;
  digest.binding = fmt::format("sha256:{} {}", weights, model->state_kind());
  const std::lock_guard lock(mutex_);
  digests_[model.get()] = std::move(digest);
}

void StateExchange::Read(const StateRequest& request,
                         std::function<void(Result<BoundState>)> done) {
  const auto model = Answering(request.model, request.binding);
  if (model == nullptr) return done(NotFound("model '{}' is not served here", request.model));
  const std::string binding = BindingOf(model);
  if (binding.empty() || binding != request.binding)
    return done(Conflict("model '{}': a state of {} is asked for, and the ones here are of {}",
                         request.model, Excerpt(request.binding, kLongestBinding),
                         binding.empty() ? "what is not known yet" : binding));
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return done(Stopping());
    if (reads_ >= kMostReads)
      return done(Overloaded("{} states are being sent already", kMostReads));
    ++reads_;
  }
  // Its place is free again when the state itself is.
  std::shared_ptr<const void> hold(nullptr, [self = shared_from_this()](const void*) {
    const std::lock_guard lock(self->mutex_);
    --self->reads_;
  });
  model->ReadState(request.answer, [self = shared_from_this(), binding, hold,
                                    done = std::move(done)](Result<SequenceState> state) {
    if (!state.ok()) return done(state.status());
    {
      const std::lock_guard lock(self->mutex_);
      ++self->counts_.given;
    }
    done(BoundState{binding, std::move(*state), hold});
  });
}

// What it would take, or why it can't be. Ok and `taken`: it is worth it.
Result<StateTaken> StateExchange::Weigh(Fetch* fetch) {
  const StateOrder& order = fetch->order;
  fetch->model = Find(order.model);
  if (fetch->model == nullptr) return NotFound("model '{}' is not served here", order.model);
  fetch->binding = BindingOf(fetch->model);
  if (fetch->binding.empty())
    return Unsupported("model '{}': it is not known yet what its states are of", order.model);
  const auto link = node_.link(order.from);
  if (!link) return NotFound("node '{}', which is to send a state, is not known here", order.from);
  StateMove move;
  move.bytes = order.bytes;
  move.tokens = order.tokens;
  move.round_trip_s = link->round_trip_s;
  move.bytes_per_s = link->bytes_per_s;
  move.prompt_token_s = fetch->model->prompt_token_s();
  const StateMoveChoice choice = ChooseStateMove(move);
  fetch->expected_s = choice.state_s;
  fetch->computing_s = choice.tokens_s;
  StateTaken taken;
  taken.taken = choice.send_state;
  if (!taken.taken)
    taken.why =
        fmt::format("computing {} tokens takes {:.3f} s, fetching {} {:.3f} s", order.tokens,
                    choice.tokens_s, FormatBytes(order.bytes), choice.state_s);
  return taken;
}

void StateExchange::Take(const StateOrder& order, Taken done) {
  auto fetch = std::make_shared<Fetch>();
  fetch->order = order;
  fetch->done = std::move(done);
  auto worth = Weigh(fetch.get());
  if (!worth.ok() || !worth->taken) {
    {
      const std::lock_guard lock(mutex_);
      ++(worth.ok() ? counts_.computed : counts_.failed);
    }
    return fetch->done(std::move(worth));
  }
  Status refused = Status::Ok();
  bool begin = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) {
      refused = Stopping();
    } else if (takes_ < kMostTakes) {
      ++takes_;
      begin = true;
    } else if (waiting_.size() < kMostWaiting) {
      waiting_.push_back(fetch);
    } else {
      refused = Overloaded("{} states wait to be fetched already", kMostWaiting);
      ++counts_.failed;
    }
  }
  if (!refused.ok()) return fetch->done(refused);
  if (begin) Start(std::move(fetch));
}

void StateExchange::Start(std::shared_ptr<Fetch> fetch) {
  const auto link = node_.link(fetch->order.from);
  if (!link) return Ended(fetch, NotFound("node '{}' is gone", fetch->order.from));
  const double patience_s =
      std::clamp(kPatience * fetch->expected_s, kLeastPatienceS, kMostPatienceS);
  const auto timeout =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(patience_s));
  link->read({fetch->order.model, fetch->order.answer, fetch->binding}, timeout,
             [self = shared_from_this(), fetch](Result<SequenceState> state) {
               if (!state.ok()) return self->Ended(fetch, state.status());
               self->Restore(fetch, std::move(*state));
             });
}

void StateExchange::Restore(const std::shared_ptr<Fetch>& fetch, SequenceState state) {
  StateTaken taken;
  taken.taken = true;
  taken.bytes = static_cast<int64_t>(state.bytes.size());
  const size_t tokens = state.tokens.size();
  fetch->model->RestoreState(
      std::move(state), [self = shared_from_this(), fetch, taken, tokens](const Status& restored) {
        if (!restored.ok()) return self->Ended(fetch, restored);
        // On the loop, where who owns the log waits for what runs before it goes.
        if (!self->stopped())
          self->events_.Note(
              fmt::format("what is computed of an answer of '{}' came from '{}': {} tokens, {}",
                          fetch->order.model, fetch->order.from, tokens, FormatBytes(taken.bytes)),
              fmt::format("computing it takes {:.0f} ms", fetch->computing_s * 1e3));
        self->Ended(fetch, taken);
      });
}

void StateExchange::Ended(const std::shared_ptr<Fetch>& fetch, Result<StateTaken> result) {
  if (!result.ok())
    LogInfo("model '{}': an answer moves here by its tokens, its state did not come from '{}': {}",
            fetch->order.model, fetch->order.from, result.status().message());
  std::shared_ptr<Fetch> next;
  {
    const std::lock_guard lock(mutex_);
    if (result.ok()) {
      ++counts_.taken;
      counts_.bytes += static_cast<uint64_t>(result->bytes);
    } else {
      ++counts_.failed;
    }
    if (waiting_.empty()) {
      --takes_;
    } else {
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
  }
  fetch->done(std::move(result));
  if (next != nullptr) Start(std::move(next));
}

bool StateExchange::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

StateExchange::Counts StateExchange::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.models = static_cast<int>(
      std::ranges::count_if(digests_, [](const auto& one) { return !one.second.binding.empty(); }));
  return counts;
}

}  // namespace evenkeel
