// The part of ClusterNode that knows which models the others serve, and says which node a call goes to.
#include <algorithm>
#include <utility>

#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "server/cluster_node.h"
#include "server/model_nodes.h"
#include "server/own_figures.h"

namespace evenkeel {
namespace {

// Else its figures are the last that it told and nobody knows whether it is there, or it wants no calls.
bool MayAnswer(const ReplicaTable::NodeView& view) {
  return !view.gone && !view.figures.draining && view.silent_s <= ReplicaTable::kStale;
}

// Where one version of a model is kept among the known ones; no name has that character.
std::string VersionKey(std::string_view model, std::string_view version) {
  return fmt::format("{}\n{}", model, version);
}

}  // namespace

void ClusterNode::DescribeUnknown(int node, const NodeFigures& figures) {
  const auto describe = [&](const ModelFigures& model) {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_.load() || described_.contains(model.signature) ||
          clock_.Now() < asked_[model.signature])
        return;
      asked_[model.signature] = kNever;  // an answer is awaited
    }
    link(node).Describe(model.name, model.version, std::chrono::seconds(5),
                        [this, digest = model.signature](Result<DescribedModel> told) {
                          Described(digest, std::move(told));
                        });
  };
  std::ranges::for_each(figures.models, describe);
  std::ranges::for_each(figures.graphs, describe);
}

void ClusterNode::Described(uint64_t digest, Result<DescribedModel> model) {
  const std::lock_guard lock(mutex_);
  constexpr size_t kMostKept = 4096;
  // What another version means by it, or what there is no place for, would be the same with the next figures.
  constexpr Duration kAskAgain = std::chrono::seconds(10);
  if (asked_.size() > kMostKept) asked_.clear();
  asked_.erase(digest);  // a failure: asked again with the next figures
  if (!model.ok()) return;
  const uint64_t theirs = model->language ? DigestOf(model->info) : DigestOf(model->signature);
  if (theirs != digest) {
    LogWarning("the description of model {} is not that of the figures: it is passed over",
               Excerpt(model->name, 128));
    asked_[digest] = clock_.Now() + kAskAgain;
    return;
  }
  if (described_.size() < kMostKept) {
    described_.emplace(digest, std::make_shared<DescribedModel>(std::move(*model)));
  } else {
    asked_[digest] = clock_.Now() + kAskAgain;
  }
  Rebuild();
}

void ClusterNode::Rebuild() {
  auto known = std::make_shared<KnownModels>();
  const auto views = table_.Look(Now());
  // The own ones first: where signatures differ, the own one is what callers of this node see.
  const auto note = [&](size_t i, const ModelFigures& model, bool graph, const std::string& asked) {
    auto& entry = (*known)[asked.empty() ? model.name : VersionKey(model.name, asked)];
    if (entry && (i == 0 || entry->digest != model.signature || entry->graph != graph)) return;
    auto one = entry ? std::make_shared<Known>(*entry) : std::make_shared<Known>();
    if (!entry) {
      one->version = model.version;
      one->asked = asked;
      one->digest = model.signature;
      one->graph = graph;
      const auto described = described_.find(model.signature);
      if (described != described_.end()) {
        one->info = described->second->info;
        one->info.name = model.name;
        if (!described->second->language)
          one->signature =
              std::shared_ptr<const Signature>(described->second, &described->second->signature);
      } else if (i > 0) {
        one->digest = 0;  // not described yet
      }
    }
    one->elsewhere = one->elsewhere || i > 0;
    // Callers know themselves whether the own one can be called.
    one->reachable = one->reachable || (i > 0 && MayAnswer(views[i]));
    entry = std::move(one);
  };
  for (size_t i = 0; i < views.size(); ++i) {
    // Versions ascend: the newest comes first, for it is what a call without one means.
    const auto& models = views[i].figures.models;
    for (auto model = models.rbegin(); model != models.rend(); ++model) {
      note(i, *model, /*graph=*/false, "");
      if (!model->version.empty()) note(i, *model, /*graph=*/false, model->version);
    }
  }
  // A name that is both is the model's to those who have neither.
  for (size_t i = 0; i < views.size(); ++i) {
    for (const ModelFigures& graph : views[i].figures.graphs) {
      note(i, graph, /*graph=*/true, "");
      note(i, graph, /*graph=*/true, graph.version);
    }
  }
  std::erase_if(*known, [](const auto& item) { return item.second->digest == 0; });
  known_ = std::move(known);
}

std::shared_ptr<const ClusterNode::Known> ClusterNode::Find(std::string_view model,
                                                            std::string_view version) const {
  std::shared_ptr<const KnownModels> known;
  {
    const std::lock_guard lock(mutex_);
    known = known_;
  }
  const auto at = version.empty() ? known->find(model) : known->find(VersionKey(model, version));
  if (at == known->end() || !at->second->elsewhere) return nullptr;
  return at->second;
}

bool ClusterNode::MayStillCome(std::string_view model) const {
  constexpr Duration kFirst = std::chrono::seconds(10);
  if (Find(model, {})) return false;  // it is the version that nobody has
  const bool young = clock_.Now() < started_ + kFirst;
  const auto views = Look();
  return std::any_of(views.begin() + 1, views.end(), [&](const ReplicaTable::NodeView& view) {
    if (view.gone) return false;
    return view.known ? NodeServes(view, model) : young;
  });
}

std::vector<std::shared_ptr<const ClusterNode::Known>> ClusterNode::Languages() const {
  std::shared_ptr<const KnownModels> known;
  {
    const std::lock_guard lock(mutex_);
    known = known_;
  }
  std::vector<std::shared_ptr<const Known>> languages;
  for (const auto& [name, one] : *known) {
    if (one->elsewhere && one->asked.empty() && !one->signature && !one->info.name.empty())
      languages.push_back(one);
  }
  return languages;
}

ReplicaTable::Choice ClusterNode::Choose(const ReplicaTable::Wanted& wanted,
                                         const std::vector<bool>& not_these) {
  calls_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (stopped_.load()) return {};
  if (std::exchange(resting_, false)) {
    // What others tell is up to kRestS old: they are asked now, and not at the end of the rest.
    loop_.Post([this] {
      if (!stopped_.load() && tick_) tick_->Set(clock_.Now());
    });
  }
  if (std::ranges::count(not_these, true) == 0) retries_.OnCall();
  return table_.Choose(wanted, not_these, Now());
}

void ClusterNode::Ended(const ReplicaTable::Choice& choice) {
  const std::lock_guard lock(mutex_);
  table_.Ended(choice, Now());
  if (stopped_.load()) ended_.notify_all();
}

int ClusterNode::CallsElsewhere() const {
  int calls = 0;
  const auto views = Look();
  for (size_t i = 1; i < views.size(); ++i) calls += views[i].outstanding;
  return calls;
}

void ClusterNode::OnLinkFailure(int node) {
  const std::lock_guard lock(mutex_);
  health_.OnLinkFailure(NameOf(node), clock_.Now());
  table_.OnLinkFailure(node, Now());
}

bool ClusterNode::TakeRetry() {
  const std::lock_guard lock(mutex_);
  return retries_.Take();
}

ClusterNode::Counts ClusterNode::counts() const {
  const std::lock_guard lock(mutex_);
  return {balance_.moved(), std::max(0, moving_.load()), retries_.taken(), retries_.refused()};
}

}  // namespace evenkeel
