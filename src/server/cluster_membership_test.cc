// Membership over stores in memory, on a manual clock: what a node does when the store comes, goes, grows, is lost and is begun anew.
#include "server/cluster_membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "cluster/memory_store.h"
#include "core/fake_event_loop.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// What the nodes of a test share: stores by generation, and who their members are.
class World {
 public:
  class Members final : public StoreMembers {
   public:
    explicit Members(World& world) : world_(world) {}
    void List(Listed done) override {
      ++world_.lists;
      world_.loop.Post([this, done = std::move(done)] {
        if (!world_.up) return done(Status(Code::kUnavailable, "no agreement"));
        done(world_.members);
      });
    }
    void AddLearner(const std::string& peer_url, Done done) override {
      StoreMember member;
      member.id = ++world_.last_id;
      member.peer_url = peer_url;
      member.learner = true;
      world_.members.push_back(member);
      world_.loop.Post([done = std::move(done)] { done(Status::Ok()); });
    }
    void Promote(uint64_t id, Done done) override {
      for (StoreMember& member : world_.members) {
        if (member.id == id) member.learner = false;
      }
      world_.loop.Post([done = std::move(done)] { done(Status::Ok()); });
    }
    void Remove(uint64_t id, Done done) override {
      std::erase_if(world_.members, [&](const StoreMember& one) { return one.id == id; });
      world_.loop.Post([done = std::move(done)] { done(Status::Ok()); });
    }

   private:
    World& world_;
  };

  class Process final : public MemberProcess {
   public:
    Process(World& world, std::string name) : world_(world), name_(std::move(name)) {
      world_.running.insert(name_);
    }
    ~Process() override { world_.running.erase(name_); }
    void Stop(Duration, std::function<void()> done) override { world_.loop.Post(std::move(done)); }
    pid_t pid() const override { return 7; }
    int restarts() const override { return 0; }
    std::string last_end() const override { return ""; }

   private:
    World& world_;
    const std::string name_;
  };

  StoreAccess AccessOf(const std::string& node) {
    StoreAccess access;
    access.connect = [this, node](const StoreHome& store, StoreAccess::Endpoints) {
      auto& one = stores[store.generation];
      if (one == nullptr) one = std::make_unique<MemoryStore>(loop, clock);
      return Result<std::unique_ptr<KvStore>>(one->Connect(node));
    };
    access.members = [this](StoreAccess::Endpoints) {
      return Result<std::unique_ptr<StoreMembers>>(std::make_unique<Members>(*this));
    };
    access.start = [this, node](const EtcdProcessOptions& options) {
      started[node] = options;
      std::filesystem::create_directories(options.data + "/member");
      if (!options.join_existing && members.empty()) AddMember(options);
      for (StoreMember& member : members) {
        if (member.peer_url == PeerUrl(options)) {
          member.name = node;
          member.endpoint = fmt::format("{}:{}", options.address, options.client_port);
        }
      }
      return Result<std::unique_ptr<MemberProcess>>(std::make_unique<Process>(*this, node));
    };
    return access;
  }
  static std::string PeerUrl(const EtcdProcessOptions& options) {
    return fmt::format("https://{}:{}", options.address, options.peer_port);
  }
  void AddMember(const EtcdProcessOptions& options) {
    StoreMember member;
    member.id = ++last_id;
    member.peer_url = PeerUrl(options);
    members.push_back(member);
  }
  MemoryStore& store(int64_t generation = 0) { return *stores[generation]; }

  ManualClock clock;
  FakeEventLoop loop{clock};
  std::map<int64_t, std::unique_ptr<MemoryStore>> stores;
  std::vector<StoreMember> members;
  uint64_t last_id = 0;
  bool up = true;  // the members answer
  int lists = 0;   // asked for
  std::set<std::string> running;
  std::map<std::string, EtcdProcessOptions> started;
};

class Node {
 public:
  Node(World& world, const std::string& root, int number)
      : world_(world), name_(fmt::format("n{}", number)), access_(world.AccessOf(name_)) {
    options_.folder = root + "/" + name_;
    std::filesystem::create_directories(options_.folder);
    options_.home.cluster = "test";
    options_.home.own = {name_, fmt::format("10.0.0.{}:8010", number)};
    options_.home.store.kind = StoreHome::Kind::kMembers;
    options_.home.store.origin = "n1";
    options_.home.store.endpoints = {"10.0.0.1:8012"};
    options_.home.store.member = number == 1;
    options_.record.id = options_.record.name = name_;
    options_.record.addresses = {options_.home.own.address};
    options_.record.version = "1";
    options_.on_store = [this](const StoreHome& store) { options_.home.store = store; };
    Start();
  }
  void Start() {
    options_.record.incarnation = RandomId();
    auto options = options_;
    options.on_store = [this](const StoreHome& store) { options_.home.store = store; };
    membership_ = std::make_unique<ClusterMembership>(std::move(options), access_, world_.loop,
                                                      world_.clock, events_);
    membership_->set_on_plan(
        [this](const std::shared_ptr<const StoredPlan>& plan) { plans.push_back(plan->plan); });
    membership_->Start();
  }
  void Crash() { membership_.reset(); }
  ClusterMembership* operator->() { return membership_.get(); }
  const StoreHome& kept() const { return options_.home.store; }
  const std::string& name() const { return name_; }
  const std::string& folder() const { return options_.folder; }
  std::string Event(const std::string& what) const {
    for (const auto& event : events_.Last()) {
      if (event.what.find(what) != std::string::npos) return event.what + ": " + event.why;
    }
    return "";
  }
  // What this node would tell the others.
  NodeFigures Figures() {
    NodeFigures figures;
    figures.node = name_;
    figures.store = membership_->Store();
    figures.store_connected = membership_->View()->connected;
    return figures;
  }

  std::vector<std::string> plans;

 private:
  World& world_;
  const std::string name_;
  const StoreAccess access_;
  EventLog events_;
  ClusterMembershipOptions options_;
  std::unique_ptr<ClusterMembership> membership_;
};

class ClusterMembershipTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fmt::format("{}/ek_cluster_membership_{}", testing::TempDir(), getpid());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Pass(Duration time) {
    const Time end = world_.clock.Now() + time;
    world_.loop.RunPosted();
    for (Time next = world_.loop.NextAlarm(); next <= end; next = world_.loop.NextAlarm()) {
      world_.clock.Advance(std::max(next - world_.clock.Now(), Duration{}));
      world_.loop.RunPosted();
    }
    world_.clock.Advance(std::max(end - world_.clock.Now(), Duration{}));
    world_.loop.RunPosted();
  }
  std::unique_ptr<Node> Make(int number) {
    auto node = std::make_unique<Node>(world_, root_, number);
    Pass(3s);
    return node;
  }
  Result<PlanStamp> Publish(Node& node, const std::string& plan) {
    std::optional<Result<PlanStamp>> answer;
    node->Publish(plan, [&](Result<PlanStamp> stored) { answer = std::move(stored); });
    Pass(5s);
    EXPECT_TRUE(answer.has_value());
    return answer.value_or(Status(Code::kInternal, "never answered"));
  }
  template <typename Start>
  Status Ask(const Start& start, Duration within = 40s) {
    std::optional<Status> answer;
    start([&](const Status& status) { answer = status; });
    Pass(within);
    EXPECT_TRUE(answer.has_value());
    return answer.value_or(Status(Code::kInternal, "never answered"));
  }

  std::string root_;
  World world_;
};

TEST_F(ClusterMembershipTest, ANodeAloneLeadsAndItsPlanIsOnTheDisk) {
  auto node = Make(1);
  const auto view = (*node)->View();
  EXPECT_TRUE(view->connected);
  EXPECT_TRUE(view->joined);
  EXPECT_TRUE(view->leading);
  ASSERT_TRUE(Publish(*node, "one").ok());
  EXPECT_EQ(node->plans, std::vector<std::string>{"one"});
  EXPECT_EQ((*node)->View()->plan->plan, "one");
  node->Crash();
  node->plans.clear();
  world_.store().Stop();
  node->Start();
  EXPECT_EQ(node->plans, std::vector<std::string>{"one"});  // from the disk: there is no store
  Pass(3s);
  EXPECT_FALSE((*node)->View()->connected);
}

TEST_F(ClusterMembershipTest, APlanFileThatIsDamagedIsSaidAndKeepsNothingFromWorking) {
  auto node = Make(1);
  ASSERT_TRUE(Publish(*node, "one").ok());
  node->Crash();
  std::ofstream(node->folder() + "/plan.json") << "{";
  node->Start();
  Pass(15s);  // the earlier run's lease lapses
  EXPECT_TRUE((*node)->View()->leading);
  EXPECT_EQ((*node)->View()->plan->plan, "one");
  EXPECT_TRUE(Publish(*node, "two").ok());
}

TEST_F(ClusterMembershipTest, WithoutTheStoreChangesAreRefusedWithSinceWhenAndItComesBackByItself) {
  auto node = Make(1);
  world_.store().Stop();
  Pass(20s);
  EXPECT_FALSE((*node)->View()->connected);
  const Status refused = Publish(*node, "no").status();
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr("away for"));
  const auto document = (*node)->Describe();
  EXPECT_FALSE(document["store"]["connected"].get<bool>());
  EXPECT_GT(document["store"]["since_s"].get<double>(), 15);
  EXPECT_NE(document["store"]["trouble"].get<std::string>(), "");
  world_.store().Start();
  Pass(10s);
  EXPECT_TRUE(Publish(*node, "yes").ok());
  EXPECT_NE(node->Event("store is away"), "");
}

TEST_F(ClusterMembershipTest, LeasesAreSettledOnceTheStoreWasThereForALeasesTime) {
  auto node = Make(1);
  auto other = Make(2);
  const auto held = [&] { return (*node)->Leases()->nodes.size(); };
  EXPECT_EQ(held(), 2U);
  EXPECT_FALSE((*node)->Leases()->settled);
  Pass(10s);
  EXPECT_EQ(held(), 2U);
  EXPECT_TRUE((*node)->Leases()->settled);
  world_.store().Stop();
  Pass(5s);
  EXPECT_FALSE((*node)->Leases().has_value());
  world_.store().Start();
  Pass(8s);
  ASSERT_TRUE((*node)->View()->connected);
  EXPECT_FALSE((*node)->Leases()->settled);
  Pass(20s);
  EXPECT_TRUE((*node)->Leases()->settled);
  EXPECT_EQ(held(), 2U);
}

TEST_F(ClusterMembershipTest, TheThirdNodeMakesThreeMembersAndTheyAreKept) {
  auto one = Make(1), two = Make(2);
  EXPECT_EQ(world_.running, (std::set<std::string>{"n1"}));
  auto three = Make(3);
  Pass(30s);
  EXPECT_EQ(world_.running, (std::set<std::string>{"n1", "n2", "n3"}));
  ASSERT_EQ(world_.members.size(), 3U);
  for (const StoreMember& member : world_.members) EXPECT_FALSE(member.learner);
  const EtcdProcessOptions& joined = world_.started["n3"];
  EXPECT_TRUE(joined.join_existing);
  EXPECT_EQ(joined.members.size(), 3U);
  EXPECT_EQ(joined.peer_port, 8013);
  EXPECT_TRUE(CheckEtcdOptions(joined).ok()) << CheckEtcdOptions(joined).ToString();
  EXPECT_TRUE(three->kept().member);
  EXPECT_EQ(three->kept().endpoints.size(), 3U);
  EXPECT_EQ(one->kept().endpoints, three->kept().endpoints);
  // All at once again: each runs its member without being told.
  for (Node* node : {one.get(), two.get(), three.get()}) node->Crash();
  EXPECT_TRUE(world_.running.empty());
  world_.up = false;
  for (Node* node : {one.get(), two.get(), three.get()}) node->Start();
  Pass(1s);
  EXPECT_EQ(world_.running.size(), 3U);
}

// All nodes without a member ask the same one, which would send more lists than all else.
TEST_F(ClusterMembershipTest, OnceThereAreThreeMembersTheOthersAskForThemSeldom) {
  auto one = Make(1), two = Make(2), three = Make(3);
  Pass(30s);
  ASSERT_EQ(world_.running.size(), 3U);
  const auto lists_a_minute = [this] {
    const int before = world_.lists;
    Pass(60s);
    return world_.lists - before;
  };
  const int members = lists_a_minute();
  EXPECT_GE(members, 45);
  auto four = Make(4), five = Make(5);
  Pass(30s);
  EXPECT_LE(lists_a_minute() - members, 20);  // not 40
}

TEST_F(ClusterMembershipTest, AMemberThatIsReplacedEndsAndItsDataAreSetAside) {
  auto one = Make(1), two = Make(2), three = Make(3), four = Make(4);
  Pass(30s);
  ASSERT_EQ(world_.running, (std::set<std::string>{"n1", "n2", "n3"}));
  two->Crash();
  Pass(15s);
  EXPECT_TRUE(Ask([&](auto done) { (*one)->ReplaceMember("n2", done); }, 20s).ok());
  EXPECT_EQ(world_.running, (std::set<std::string>{"n1", "n3", "n4"}));
  EXPECT_EQ(Ask([&](auto done) { (*one)->ReplaceMember("n2", done); }).code(), Code::kNotFound);
  two->Start();
  Pass(10s);
  EXPECT_EQ(world_.running, (std::set<std::string>{"n1", "n3", "n4"}));
  EXPECT_FALSE(two->kept().member);
  EXPECT_TRUE(std::filesystem::exists(two->folder() + "/etcd-0.removed"));
  EXPECT_FALSE(std::filesystem::exists(two->folder() + "/etcd-0"));
}

TEST_F(ClusterMembershipTest, TheOnlyMemberIsNotTakenOut) {
  auto one = Make(1);
  const Status refused = Ask([&](auto done) { (*one)->ReplaceMember("n1", done); });
  EXPECT_EQ(refused.code(), Code::kConflict);
  EXPECT_THAT(refused.message(), HasSubstr("promote"));
}

TEST_F(ClusterMembershipTest, AMemberWithoutItsDataDoesNotBeginAnotherStore) {
  auto one = Make(1), two = Make(2), three = Make(3);
  Pass(30s);
  one->Crash();
  std::filesystem::remove_all(one->folder() + "/etcd-0");
  world_.up = false;
  one->Start();
  Pass(5s);
  EXPECT_FALSE(world_.running.contains("n1"));
  EXPECT_THAT((*one)->Describe()["store"]["own_trouble"].get<std::string>(),
              HasSubstr("member replace n1"));
}

TEST_F(ClusterMembershipTest, ANodeThatWasTakenOffLeavesAndMayComeAgain) {
  auto one = Make(1), two = Make(2);
  EXPECT_EQ(Ask([&](auto done) { (*one)->SetRemoved("n1", true, done); }).code(),
            Code::kConflict);  // its member is the only one
  ASSERT_TRUE(Ask([&](auto done) { (*one)->SetRemoved("n2", true, done); }, 5s).ok());
  EXPECT_EQ((*one)->View()->removed, std::vector<std::string>{"n2"});
  EXPECT_EQ((*one)->View()->nodes.size(), 1U);
  EXPECT_FALSE((*two)->View()->joined);
  EXPECT_NE(two->Event("taken off"), "");
  ASSERT_TRUE(Ask([&](auto done) { (*one)->SetRemoved("n2", false, done); }, 5s).ok());
  EXPECT_EQ((*one)->View()->nodes.size(), 2U);
}

TEST_F(ClusterMembershipTest, AStoreThatIsLostIsBegunAnewAndTheOthersFollow) {
  auto one = Make(1), two = Make(2), three_less = Make(5);
  ASSERT_TRUE(Publish(*one, "plan").ok());
  EXPECT_EQ(Ask([&](auto done) { (*two)->Promote(done); }).code(), Code::kConflict);  // it is there
  one->Crash();
  world_.store().Stop();
  world_.members.clear();
  Pass(10s);
  const Status begun = Ask([&](auto done) { (*two)->Promote(done); });
  ASSERT_TRUE(begun.ok()) << begun.ToString();
  EXPECT_EQ(world_.started["n2"].data, two->folder() + "/etcd-1");
  EXPECT_FALSE(world_.started["n2"].join_existing);
  EXPECT_EQ(two->kept().generation, 1);
  EXPECT_EQ(two->kept().origin, "n2");
  EXPECT_TRUE(two->kept().member);
  auto view = (*two)->View();
  EXPECT_TRUE(view->leading);
  EXPECT_EQ(view->history, 1);
  // The last plan holds, under a term that is greater than every old one.
  ASSERT_NE(view->plan, nullptr);
  EXPECT_EQ(view->plan->plan, "plan");
  EXPECT_EQ(view->plan->stamp.term.history, 1);
  EXPECT_FALSE((*three_less)->View()->connected);
  (*three_less)->HearFigures(two->Figures());
  Pass(5s);
  EXPECT_TRUE((*three_less)->View()->connected);
  EXPECT_EQ(three_less->kept().generation, 1);
  EXPECT_EQ((*three_less)->View()->plan->stamp, view->plan->stamp);
  // The lost one comes back with the old store, and gives it up.
  world_.store().Start();
  one->Start();
  Pass(3s);
  (*one)->HearFigures(two->Figures());
  Pass(10s);
  EXPECT_EQ((*one)->View()->leader->node, "n2");
  EXPECT_EQ(one->kept().generation, 1);
  // There are three nodes again, so it runs a member: of the new store, and told by it.
  EXPECT_TRUE(world_.started["n1"].join_existing);
  EXPECT_EQ(world_.started["n1"].data, one->folder() + "/etcd-1");
  // An old one's words change nothing.
  NodeFigures old = two->Figures();
  old.store.generation = 0;
  old.store.origin = "n1";
  (*two)->HearFigures(old);
  Pass(1s);
  EXPECT_EQ((*two)->Store().generation, 1);
}

TEST_F(ClusterMembershipTest, APromotionThatFailsLeavesTheOldStore) {
  auto one = Make(1), two = Make(2);
  one->Crash();
  world_.store().Stop();
  Pass(5s);
  world_.stores[1] = std::make_unique<MemoryStore>(world_.loop, world_.clock);
  world_.stores[1]->Stop();  // the new one never answers
  std::optional<Status> answer;
  (*two)->Promote([&](const Status& status) { answer = status; });
  Pass(1s);
  EXPECT_EQ((*two)->Store().generation, 0);  // not told before it is there
  EXPECT_EQ(Publish(*two, "no").status().code(), Code::kUnavailable);
  Pass(60s);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->code(), Code::kUnavailable);
  EXPECT_EQ(two->kept().generation, 0);
  world_.store().Start();
  Pass(10s);
  EXPECT_TRUE((*two)->View()->connected);
}

TEST_F(ClusterMembershipTest, WhatIsAskedIsAnsweredAlsoWhenItStops) {
  auto one = Make(1), two = Make(2);
  world_.store().Cut("n1");
  std::optional<Result<PlanStamp>> answer;
  (*one)->Publish("late", [&](Result<PlanStamp> stored) { answer = std::move(stored); });
  one->Crash();
  Pass(5s);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status().code(), Code::kUnavailable);
}

TEST_F(ClusterMembershipTest, StoppingGivesTheLeaseBackAtOnce) {
  auto one = Make(1), two = Make(2);
  bool stopped = false;
  (*two)->Stop([&] { stopped = true; });
  Pass(100ms);
  EXPECT_TRUE(stopped);
  EXPECT_EQ((*one)->View()->nodes.size(), 1U);
}

}  // namespace
}  // namespace evenkeel
