#include "server/policy/plan_instances.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr double kBusy = 0.8;  // share of the time that an instance is planned to be busy
constexpr Duration kLeastHorizon = 500ms;  // what steers instances uses 0.5 s and longer
constexpr double kWorthAStart = 0.5;       // rows expected within the horizon
constexpr Duration kRest = 1s;             // without a request, and a start-up more: at rest
constexpr int64_t kLeastHeadroom = int64_t{256} << 20;
constexpr double kMiB = 1 << 20;

int RoundUp(double instances) {
  // A hair above a whole number is that number: what is counted is noisy anyway.
  return static_cast<int>(std::ceil(std::min(instances, 1e6) - 1e-9));
}

// One model while the plan is made.
struct Draft {
  const InstancesView* model = nullptr;
  InstancesPlan* plan = nullptr;
  int current = 0, need = 0, least = 0;
  bool at_rest = false;
  double value = 0;

  int taken() const { return std::max(0, current - plan->wanted); }
  int missing() const { return std::max(0, plan->wanted - current); }
  // May one more of its instances be ended for another model, or for the headroom?
  bool Gives() const {
    if (model->waits && plan->wanted <= std::max(1, need)) return false;
    if (missing() > 0 || plan->wanted <= least || model->memory_bytes <= 0) return false;
    return plan->wanted > need || at_rest;
  }
  bool IsSurplus() const { return plan->wanted > need; }
};

bool IsActive(const InstancesView& m, Time now) {
  const Time last = m.last_request == Time{} ? m.since : m.last_request;
  const double horizon = Seconds(std::max(m.start_up, kLeastHorizon));
  return m.waits || now - last < m.keep_alive || m.rate_rps * horizon >= kWorthAStart;
}

double ValueOf(const InstancesView& m, Time now) {
  if (m.last_request == Time{}) return m.rate_rps;
  const double silence = std::max(1e-3, Seconds(now - m.last_request));
  return std::max(m.rate_rps, 1 / silence);
}

std::string Load(const InstancesView& m, double rows_per_s) {
  return fmt::format("{:.3g} rows/s need {:.2g} instances ({} rows in {:.3g} ms)", rows_per_s,
                     InstancesNeeded(m, rows_per_s), m.batch_rows, Seconds(m.batch_time) * 1e3);
}

// What the model would have if memory were no object.
void PlanOne(Draft& d, const NodeRoom& room, Time now) {
  const InstancesView& m = *d.model;
  InstancesPlan& plan = *d.plan;
  const bool active = IsActive(m, now);
  if (active && !m.waits && m.min_instances < d.current) {
    const Time last = m.last_request == Time{} ? m.since : m.last_request;
    if (const Time end = last + m.keep_alive; end > now) plan.next = end;
  }
  if (!active) {
    plan.wanted = m.min_instances;
    plan.why = fmt::format("no request for {}", FormatDuration(m.keep_alive));
    return;
  }
  if (m.fixed) {
    plan.wanted = *m.fixed;
    plan.why = "as the settings say";
    d.need = plan.wanted;
    return;
  }
  const int most = MostInstances(m, room.cores);
  const int up_to = std::max(1, RoundUp(InstancesNeeded(m, m.rate_rps)));
  const int down_to =
      std::max(up_to, RoundUp(InstancesNeeded(m, std::max(m.rate_rps, m.peak_rps))));
  const int kept = std::clamp(d.current, up_to, down_to);
  plan.wanted = std::clamp(kept, std::max(1, m.min_instances), most);
  d.need = std::clamp(up_to, std::max(1, m.min_instances), most);
  plan.why = Load(m, kept > up_to ? std::max(m.rate_rps, m.peak_rps) : m.rate_rps);
  if (kept > up_to) plan.why += ", as came lately";
  if (kept > most) plan.why += fmt::format("; {} fit {:.3g} cores", most, room.cores);
  if (plan.wanted > kept) plan.why += fmt::format("; at least {}", plan.wanted);
}

// Shares out the memory among drafts that know what they would have.
class Memory {
 public:
  Memory(std::vector<Draft>& drafts, const NodeRoom& room) : drafts_(drafts), room_(room) {
    now_ = room.free_bytes - room.headroom_bytes;
    for (const Draft& d : drafts) {
      coming_ += (d.taken() + d.model->ending) * d.model->memory_bytes;
      starting_ += d.model->starting * d.model->memory_bytes;
    }
  }

  // What is missing below the headroom is made good, by whoever gives most cheaply.
  void RestoreHeadroom() {
    while (now_ + coming_ < 0) {
      Draft* const victim = Victim(nullptr);
      if (victim == nullptr) return;
      Take(*victim, "the headroom of memory is short");
    }
  }

  // Starts that there is room for stay; others wait for it, or are left out.
  void Admit(Draft& d) {
    const int64_t bytes = d.model->memory_bytes;
    const int64_t margin = d.model->waits ? 0 : room_.headroom_bytes / 4;
    int granted = 0;
    for (; granted < d.plan->wanted - d.current; ++granted) {
      if (bytes + margin > Free()) break;
      now_ -= bytes;
    }
    const int asked = d.plan->wanted;
    const int short_of = asked - d.current - granted;
    if (short_of <= 0) return;
    d.plan->wanted = d.current + granted;
    const bool comes = MakeRoom(d, bytes + margin);
    if (comes) coming_ -= bytes;
    d.plan->no_room = !comes && d.model->waits && d.plan->wanted == 0;
    d.plan->why += fmt::format(
        "; {} more {} memory: {:.0f} MiB each, {:.0f} MiB free beside {:.0f} "
        "MiB of headroom",
        short_of, comes ? "when others have given up their" : "have no",
        static_cast<double>(bytes) / kMiB,
        static_cast<double>(std::max<int64_t>(0, now_ - starting_)) / kMiB,
        static_cast<double>(room_.headroom_bytes) / kMiB);
  }

 private:
  // What a start may take now: not what a model that comes before it in this plan waits for.
  int64_t Free() const { return now_ - starting_ + std::min<int64_t>(0, coming_); }
  Draft* Victim(const Draft* for_whom) {
    Draft* best = nullptr;
    const auto rank = [](const Draft& d) { return std::pair(!d.IsSurplus(), d.value); };
    for (Draft& d : drafts_) {
      if (&d == for_whom || !d.Gives()) continue;
      const bool may = for_whom == nullptr || for_whom->model->waits || d.IsSurplus() ||
                       d.value < for_whom->value;
      if (may && (best == nullptr || rank(d) < rank(*best))) best = &d;
    }
    return best;
  }
  // Room for one instance: others may need it more than a second one does. Nobody gives where all that they can give is too little.
  bool MakeRoom(const Draft& d, int64_t bytes) {
    std::vector<std::pair<Draft*, InstancesPlan>> before;
    while (now_ - starting_ + coming_ < bytes) {
      Draft* const victim = Victim(&d);
      if (victim == nullptr) {
        for (auto given = before.rbegin(); given != before.rend(); ++given) {
          *given->first->plan = std::move(given->second);
          coming_ -= given->first->model->memory_bytes;
        }
        return false;
      }
      before.emplace_back(victim, *victim->plan);
      Take(*victim, "a model that is worth more needs the memory");
    }
    return true;
  }
  void Take(Draft& victim, const char* why) {
    --victim.plan->wanted;
    coming_ += victim.model->memory_bytes;
    victim.plan->why = why;
    victim.plan->next = kNever;
  }

  std::vector<Draft>& drafts_;
  const NodeRoom room_;
  int64_t now_ = 0;       // above the headroom
  int64_t coming_ = 0;    // will be free when what goes has gone
  int64_t starting_ = 0;  // will be taken by what is on its way
};

}  // namespace

int64_t DefaultHeadroom(int64_t memory_bytes) {
  return std::max(memory_bytes / 20, kLeastHeadroom);
}

double InstancesNeeded(const InstancesView& model, double rows_per_s) {
  return rows_per_s * Seconds(model.batch_time) / (kBusy * std::max(1, model.batch_rows));
}

int MostInstances(const InstancesView& model, double cores) {
  if (model.fixed) return *model.fixed;
  const double fit = std::floor(cores / std::max(model.cores, 1e-3) + 1e-9);
  const int by_cores = static_cast<int>(std::clamp(fit, 1.0, 1e6));
  return std::max({1, model.min_instances, std::min(model.max_instances, by_cores)});
}

std::vector<InstancesPlan> PlanInstances(std::span<const InstancesView> models,
                                         const NodeRoom& room, Time now) {
  std::vector<InstancesPlan> plans(models.size());
  std::vector<Draft> drafts(models.size());
  for (size_t i = 0; i < models.size(); ++i) {
    const InstancesView& m = models[i];
    Draft& d = drafts[i];
    d.model = &m;
    d.plan = &plans[i];
    d.current = m.up + m.starting - m.successors;
    d.least = m.min_pinned ? m.min_instances : 0;
    d.at_rest =
        !m.waits && (m.last_request == Time{} || now - m.last_request >= kRest + m.start_up);
    d.value = ValueOf(m, now);
    PlanOne(d, room, now);
  }
  Memory memory(drafts, room);
  memory.RestoreHeadroom();
  std::vector<size_t> order(drafts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return std::pair(drafts[a].model->waits, drafts[a].value) >
           std::pair(drafts[b].model->waits, drafts[b].value);
  });
  for (const size_t i : order) memory.Admit(drafts[i]);
  return plans;
}

}  // namespace evenkeel::policy
