#include "server/store_keeper.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// While nothing changes: who leads, runs a member or may be to run one; and the others, all of whom ask the same member.
constexpr Duration kListEvery = 3s;
constexpr Duration kListSeldom = 10s;
constexpr Duration kListSoon = 1s;
constexpr Duration kStartAgain = 30s;
constexpr Duration kEndPatience = 3s;
constexpr int kMissingLists = 3;

std::string EndpointOf(const NodeAddress& node) {
  const auto address = ParseHostPort(node.address);
  return address.ok() ? FormatHostPort(address->host, StoreClientPortOf(address->port)) : "";
}

}  // namespace

StoreKeeper::StoreKeeper(StoreKeeperOptions options, const StoreAccess& access, EventLoop& loop,
                         const Clock& clock, EventLog& events)
    : options_(std::move(options)),
      access_(access),
      loop_(loop),
      clock_(clock),
      events_(events),
      own_peer_url_(StorePeerUrlOf(options_.own.address).ok()
                        ? StorePeerUrlOf(options_.own.address).value()
                        : ""),
      own_endpoint_(EndpointOf(options_.own)),
      endpoints_(std::make_shared<std::vector<std::string>>()),
      growth_(options_.growth) {}

StoreKeeper::~StoreKeeper() = default;

std::string StoreKeeper::DataFolder() const {
  return fmt::format("{}/etcd-{}", options_.folder, store_.generation);
}

void StoreKeeper::Changed() {
  // The own member first: it is nearest.
  *endpoints_ = store_.endpoints;
  const auto own = std::ranges::find(*endpoints_, own_endpoint_);
  if (own != endpoints_->end()) std::rotate(endpoints_->begin(), own, own + 1);
  if (options_.on_change) options_.on_change(store_);
}

void StoreKeeper::Use(StoreHome store, bool fresh) {
  store_ = std::move(store);
  members_.clear();
  members_client_.reset();
  listing_ = changing_ = false;
  missing_ = 0;
  trouble_.clear();
  list_at_ = start_again_ = clock_.Now();
  Changed();
  if (store_.kind != StoreHome::Kind::kMembers) return;
  std::error_code error;
  if (fresh) fs::remove_all(DataFolder(), error);
  auto client = access_.members(endpoints_);
  if (client.ok()) {
    members_client_ = std::move(*client);
  } else {
    trouble_ = client.status().message();
  }
  if (process_ == nullptr) {
    if (store_.member) StartKept();
    return;
  }
  // The next one listens on the same ports.
  ending_ = std::move(process_);
  start_again_ = kNever;
  ending_->Stop(kEndPatience, [this, alive = std::weak_ptr<const bool>(alive_)] {
    loop_.Post([this, alive] {
      if (alive.expired()) return;
      ending_.reset();
      start_again_ = clock_.Now();
      if (store_.member && process_ == nullptr) StartKept();
    });
  });
}

void StoreKeeper::Follow(const std::vector<std::string>& endpoints) {
  if (endpoints == store_.endpoints) return;
  store_.endpoints = endpoints;
  Changed();
}

EtcdProcessOptions StoreKeeper::ProcessOptions() const {
  EtcdProcessOptions options;
  options.data = DataFolder();
  options.name = options_.own.name;
  const auto address = ParseHostPort(options_.own.address);
  if (address.ok()) {
    options.address = address->host;
    options.client_port = StoreClientPortOf(address->port);
    options.peer_port = StorePeerPortOf(address->port);
  }
  // Members of two generations never take each other for their own.
  options.token = store_.generation == 0
                      ? options_.cluster
                      : fmt::format("{}-{}", options_.cluster.substr(0, 40), store_.generation);
  return options;
}

void StoreKeeper::Start(EtcdProcessOptions options) {
  start_again_ = clock_.Now() + kStartAgain;
  auto started = access_.start(std::move(options));
  if (!started.ok()) {
    trouble_ = fmt::format("this node's member of the store does not start: {}",
                           started.status().message());
    LogWarning("{}; tried again in {:.0f} s", trouble_, Seconds(kStartAgain));
    return;
  }
  process_ = std::move(*started);
  trouble_.clear();
  list_at_ = clock_.Now() + kListSoon;
  if (!store_.member) {
    store_.member = true;
    Changed();
  }
}

void StoreKeeper::StartKept() {
  std::error_code error;
  const bool data = fs::exists(DataFolder() + "/member", error);
  const bool alone = store_.endpoints.size() <= 1;
  if (data || (store_.origin == options_.own.name && alone)) return Start(ProcessOptions());
  // A new store beside the others' would be another one.
  trouble_ = fmt::format(
      "the data of this node's member of the store are gone ({}): evenkeel cluster member replace "
      "{}",
      DataFolder(), options_.own.name);
  start_again_ = clock_.Now() + kStartAgain;
}

void StoreKeeper::StartJoining() {
  SetAside();
  EtcdProcessOptions options = ProcessOptions();
  options.join_existing = true;
  for (const StoreMember& member : members_) {
    options.members.push_back(
        {member.peer_url == own_peer_url_ ? options_.own.name : member.name, member.peer_url});
  }
  events_.Note("this node runs a member of the cluster's store from now on",
               "the node that leads asked for one here");
  Start(std::move(options));
}

void StoreKeeper::SetAside() {
  std::error_code error;
  if (!fs::exists(DataFolder(), error)) return;
  const std::string aside = DataFolder() + ".removed";
  fs::remove_all(aside, error);
  fs::rename(DataFolder(), aside, error);
  if (error) LogWarning("{} cannot be set aside: {}", DataFolder(), error.message());
}

void StoreKeeper::Withdraw() {
  missing_ = 0;
  events_.Note("this node's member of the cluster's store ends", "it was taken out of the store");
  store_.member = false;
  Changed();
  if (process_ == nullptr) return SetAside();
  process_->Stop(kEndPatience, [this, alive = std::weak_ptr<const bool>(alive_)] {
    loop_.Post([this, alive] {
      if (alive.expired() || store_.member) return;
      process_.reset();
      SetAside();
    });
  });
}

void StoreKeeper::Look(bool connected, bool leading, const std::vector<NodeRecord>& nodes) {
  if (store_.kind != StoreHome::Kind::kMembers) return;
  leading_ = connected && leading;
  const Time now = clock_.Now();
  if (nodes.size() != nodes_.size()) list_at_ = std::min(list_at_, now);
  nodes_ = nodes;
  if (process_ == nullptr && ending_ == nullptr && store_.member && now >= start_again_)
    StartKept();
  if (!listing_ && now >= list_at_) List();
}

void StoreKeeper::List() {
  if (members_client_ == nullptr) return;
  listing_ = true;
  members_client_->List([this](Result<std::vector<StoreMember>> members) {
    listing_ = false;
    OnList(std::move(members));
  });
}

void StoreKeeper::OnList(Result<std::vector<StoreMember>> members) {
  list_at_ = clock_.Now() + kListSoon;
  if (!members.ok()) return;
  members_ = std::move(*members);
  FollowMembers();
  LookAtOwn();
  const bool learner = std::ranges::find(members_, true, &StoreMember::learner) != members_.end();
  if (!learner && missing_ == 0) {
    const bool concerned = leading_ || store_.member || members_.size() < options_.growth.members;
    list_at_ = clock_.Now() + (concerned ? kListEvery : kListSeldom);
  }
  if (leading_ && !changing_) Grow();
}

void StoreKeeper::FollowMembers() {
  std::vector<std::string> endpoints;
  for (const StoreMember& member : members_) {
    // A learner answers nobody.
    if (!member.learner && ParseHostPort(member.endpoint).ok())
      endpoints.push_back(member.endpoint);
  }
  std::ranges::sort(endpoints);
  if (endpoints.empty() || endpoints.size() > kMostStoreEndpoints) return;
  Follow(endpoints);
}

void StoreKeeper::LookAtOwn() {
  const auto own = std::ranges::find(members_, own_peer_url_, &StoreMember::peer_url);
  if (own == members_.end()) {
    if (store_.member && ending_ == nullptr && ++missing_ >= kMissingLists) Withdraw();
    return;
  }
  missing_ = 0;
  if (process_ != nullptr || ending_ != nullptr || clock_.Now() < start_again_) return;
  if (own->name.empty()) return StartJoining();
  if (!store_.member) {
    store_.member = true;
    Changed();
  }
  StartKept();
}

void StoreKeeper::Grow() {
  std::vector<StoreSite> sites;
  for (const NodeRecord& node : nodes_) {
    const auto url = StorePeerUrlOf(node.addresses.empty() ? "" : node.addresses.front());
    if (url.ok()) sites.push_back({node.id, *url});
  }
  const StoreStep step = growth_.Next(members_, sites, clock_.Now());
  if (step.what == StoreStep::What::kNothing) return;
  changing_ = true;
  const auto done = [this, step](const Status& status) {
    changing_ = false;
    list_at_ = clock_.Now();
    const bool waits = step.what == StoreStep::What::kPromote;  // until it has caught up
    if (!status.ok()) {
      if (!waits) LogWarning("the store's members: '{}': {}", step.node, status.message());
      list_at_ += kListSoon;
      return;
    }
    switch (step.what) {
      case StoreStep::What::kAdd:
        events_.Note(
            fmt::format("node '{}' is to run a member of the store", step.node),
            fmt::format("there are {} nodes and {} members", nodes_.size(), members_.size()));
        break;
      case StoreStep::What::kPromote:
        events_.Note(fmt::format("node '{}' has a vote in the store", step.node),
                     "its member has caught up");
        break;
      case StoreStep::What::kRemove:
        events_.Note(fmt::format("node '{}' runs no member of the store", step.node),
                     "it did not start in time");
        break;
      case StoreStep::What::kNothing: break;
    }
  };
  if (step.what == StoreStep::What::kAdd) {
    members_client_->AddLearner(step.peer_url, done);
  } else if (step.what == StoreStep::What::kPromote) {
    members_client_->Promote(step.member, done);
  } else {
    members_client_->Remove(step.member, done);
  }
}

void StoreKeeper::Replace(const std::string& node, StoreMembers::Done done) {
  if (store_.kind != StoreHome::Kind::kMembers || members_client_ == nullptr)
    return done(Conflict("the nodes run no members of a store: it is {}", NameOf(store_.kind)));
  members_client_->List(
      [this, node, done = std::move(done)](const Result<std::vector<StoreMember>>& members) {
        if (!members.ok()) return done(members.status());
        Remove(node, *members, done);
      });
}

void StoreKeeper::Remove(const std::string& node, const std::vector<StoreMember>& members,
                         const StoreMembers::Done& done) {
  const auto at = std::ranges::find(members, node, &StoreMember::name);
  if (at == members.end()) return done(NotFound("node '{}' runs no member of the store", node));
  if (members.size() == 1)
    return done(
        Conflict("node '{}' runs the only member of the store; where it is lost, another "
                 "node begins one anew: evenkeel cluster promote",
                 node));
  members_client_->Remove(at->id, [this, node, done](const Status& status) {
    list_at_ = clock_.Now();
    if (status.ok()) {
      events_.Note(fmt::format("the member of the store on node '{}' was taken out", node),
                   "it was asked for");
    }
    done(status);
  });
}

void StoreKeeper::Stop(std::function<void()> done) {
  start_again_ = list_at_ = kNever;
  MemberProcess* const last = process_ != nullptr ? process_.get() : ending_.get();
  if (last == nullptr) return loop_.Post(std::move(done));
  if (last == process_.get()) return last->Stop(kEndPatience, std::move(done));
  ending_.reset();
  loop_.Post(std::move(done));
}

nlohmann::json StoreKeeper::Describe() const {
  nlohmann::json members = nlohmann::json::array();
  for (const StoreMember& member : members_) {
    members.push_back({{"node", member.name},
                       {"endpoint", member.endpoint},
                       {"peer_url", member.peer_url},
                       {"state", member.name.empty() ? "starting"
                                 : member.learner    ? "learner"
                                                     : "voter"}});
  }
  nlohmann::json document = {{"kind", NameOf(store_.kind)},
                             {"endpoints", store_.endpoints},
                             {"generation", store_.generation},
                             {"members", std::move(members)}};
  if (store_.member) {
    document["own_member"] = {
        {"pid", process_ != nullptr ? static_cast<int>(process_->pid()) : 0},
        {"restarts", process_ != nullptr ? process_->restarts() : 0},
        {"last_end", process_ != nullptr ? process_->last_end() : std::string()}};
  }
  if (!trouble_.empty()) document["own_trouble"] = trouble_;
  return document;
}

}  // namespace evenkeel
