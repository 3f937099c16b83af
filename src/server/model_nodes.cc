#include "server/model_nodes.h"

#include <algorithm>
#include <future>

#include "core/format.h"

namespace evenkeel {

using NodeView = ReplicaTable::NodeView;

bool NodeServes(const NodeView& node, std::string_view model) {
  return Serves(node.figures, model);
}

Status CheckOneKind(const std::vector<NodeView>& nodes, std::string_view model) {
  const auto one_with = [&](const std::vector<ModelFigures> NodeFigures::*kind) {
    return std::ranges::find_if(nodes, [&](const NodeView& node) {
      return NodeAnswers(node, &node == nodes.data()) &&
             std::ranges::find(node.figures.*kind, model, &ModelFigures::name) !=
                 (node.figures.*kind).end();
    });
  };
  const auto plain = one_with(&NodeFigures::models), graph = one_with(&NodeFigures::graphs);
  if (plain == nodes.end() || graph == nodes.end()) return Status::Ok();
  return Conflict("'{}' is a model on node '{}' and a graph of models on node '{}': rename one",
                  model, plain->name, graph->name);
}

bool NodeAnswers(const NodeView& node, bool own) {
  if (node.gone) return false;
  return own || (node.known &&
                 (!node.suspect || (node.figures.draining && node.age_s < ReplicaTable::kStale)));
}

std::vector<std::string> NodesThatServe(const std::vector<NodeView>& nodes,
                                        std::string_view model) {
  std::vector<std::string> serving;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (NodeAnswers(nodes[i], i == 0) && NodeServes(nodes[i], model))
      serving.push_back(nodes[i].name);
  }
  return serving;
}

const NodeView* FindNode(const std::vector<NodeView>& nodes, std::string_view name) {
  const auto at = std::ranges::find_if(
      nodes, [name](const NodeView& node) { return node.name == name && !node.gone; });
  return at == nodes.end() ? nullptr : &*at;
}

std::string NamesOf(const std::vector<std::string>& nodes) {
  std::string text;
  for (const std::string& name : nodes) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

std::optional<PlanStamp> StampOf(const OrderedBy& by) {
  if (!by.mark) return std::nullopt;
  return PlanStamp{{by.mark->history, by.mark->term}, by.mark->revision};
}

std::string ReasonOf(const std::string& why) { return why.empty() ? "it was asked for" : why; }

void ModelNodes::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const auto& [_, link] : links_) {
    if (link) link->Stop();  // null: the node had been removed when it was asked
  }
}

ModelPeer* ModelNodes::LinkTo(const std::string& node) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return nullptr;
  auto& link = links_[node];
  if (!link) link = make_link_(node);
  return link.get();
}

Result<std::vector<ModelNodes::Holder>> ModelNodes::Holders(const std::string& model) {
  const auto nodes = look_();
  std::vector<std::pair<std::string, std::future<Result<ModelListing>>>> asked;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string& name = nodes[i].name;
    if (!NodeAnswers(nodes[i], i == 0)) continue;
    if (i == 0) {
      auto promise = std::make_shared<std::promise<Result<ModelListing>>>();
      asked.emplace_back(name, promise->get_future());
      own_.ListModel(model, [promise](Result<ModelListing> listing) {
        promise->set_value(std::move(listing));
      });
    } else if (ModelPeer* link = LinkTo(name)) {
      asked.emplace_back(
          name, std::async(std::launch::async, [link, model] { return link->List(model); }));
    }
  }
  std::vector<Holder> holders;
  Status failed;
  for (auto& [name, answer] : asked) {
    auto listing = answer.get();
    if (listing.ok()) {
      if (Status checked = CheckListing(*listing, model); !checked.ok())
        listing = std::move(checked);
    }
    if (listing.ok()) {
      holders.push_back({name, *std::move(listing)});
    } else if (listing.status().code() != Code::kNotFound) {
      failed = listing.status().Annotate(fmt::format("node '{}'", name));
    }
  }
  if (holders.empty())
    return failed.ok() ? NotFound("no node that answers has files of a model '{}'", model) : failed;
  for (const Holder& holder : holders) {
    if (holder.listing.digest == holders[0].listing.digest) continue;
    return Conflict(
        "there are two models '{}': sha256:{} on node '{}', sha256:{} on node '{}'; give one of "
        "the two another name",
        model, holders[0].listing.digest, holders[0].node, holder.listing.digest, holder.node);
  }
  return holders;
}

}  // namespace evenkeel
