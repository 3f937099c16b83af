// Warming: every size that a batch may have is run before requests use it.
//
// Required sizes (1, 2, 4 ... and the largest) come before the model is ready, within a second; then the others, while nothing waits.
#include <utility>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"
#include "batching/gather.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBeforeReady = 1s;  // compute spent on warming before the model counts as ready
constexpr Duration kInAll = 3s;
constexpr Duration kWorthRepeating =
    500ms;  // a first run longer than this is not repeated for its time

}  // namespace

void Dispatcher::PlanWarming(Instance& instance, Actions* actions) {
  WarmPlan& plan = instance.plan;
  const Signature& signature = options_.signature;
  if (!RowShapesFixed(signature)) {
    plan.exact = true;
    return MakeUsable(instance, actions);
  }
  const auto fits = [&](int rows) {
    const auto bytes = WarmBytes(signature, rows);
    return bytes && *bytes <= options_.input_capacity;
  };
  if (!signature.batched) {
    plan.required = {1};
  } else if (const int64_t fixed = signature.inputs.front().shape[0]; fixed != kDynamic) {
    plan.required = {static_cast<int>(fixed)};
  } else {
    for (int rows = 1; rows <= max_batch_ && fits(rows); ++rows) {
      const bool power = (rows & (rows - 1)) == 0;
      (power || rows == max_batch_ ? plan.required : plan.optional).push_back(rows);
    }
  }
  if (plan.required.empty() || !fits(plan.required.front())) {
    plan.required.clear();
    plan.exact = true;
    MakeUsable(instance, actions);
  }
}

void Dispatcher::MakeUsable(Instance& instance, Actions* actions) {
  if (instance.usable) return;
  instance.usable = was_usable_ = true;
  actions->calls.push_back([this, id = instance.id] {
    if (options_.on_warm) options_.on_warm(id, Status::Ok());
  });
}

void Dispatcher::FinishWarm(Instance& instance, const Batch& batch,
                            const ipc::Completion& completion, Actions* actions) {
  WarmPlan& plan = instance.plan;
  auto& sizes = plan.required.empty() ? plan.optional : plan.required;
  if (sizes.empty() || sizes.front() != batch.rows) return;  // being detached
  plan.spent += completion.compute;
  const auto scatter = Scatter::Create(options_.signature, completion.outputs, batch.run_rows);
  if (!completion.status.ok()) {
    LogWarning("model '{}': warming with {} rows failed: {}", options_.model, batch.rows,
               completion.status.ToString());
    plan.required.clear();
    plan.optional.clear();
    // Zeros may be no input for it at all; then sizes are taken as they come.
    if (plan.warm.empty()) plan.exact = true;
  } else if (!scatter.ok() && !was_usable_ && options_.signature.batched) {
    // Only before the first request: from then on the signature is read without the mutex.
    LogWarning("model '{}' is served without batching: {}", options_.model,
               scatter.status().message());
    options_.signature.batched = false;
    options_.signature.max_batch = 1;
    plan.required.clear();
    plan.optional.clear();
    plan.exact = true;
  } else {
    const bool first_run = plan.runs_of_first++ == 0;
    if (first_run && completion.compute < kWorthRepeating) return;
    plan.runs_of_first = 0;
    stats_.times.Record(batch.run_rows, completion.compute);
    plan.warm.insert(batch.rows);
    sizes.pop_front();
  }
  if (plan.spent > kInAll) plan.optional.clear();
  if (plan.required.empty() || plan.spent > kBeforeReady) MakeUsable(instance, actions);
}

}  // namespace evenkeel
