#include "batching/queue.h"

#include <algorithm>

#include "core/check.h"

namespace evenkeel {
namespace {

std::string ShapeKey(const InferCall& call, bool batched) {
  std::string key;
  for (const TensorView& view : call.inputs) {
    const auto dims = view.shape.dims().subspan(batched ? 1 : 0);
    key.append(reinterpret_cast<const char*>(dims.data()), dims.size_bytes());
  }
  return key;
}

}  // namespace

Lane& RowQueue::LaneFor(const Request& request, bool batched) {
  std::string key = shapes_vary_ ? ShapeKey(*request.call, batched) : std::string();
  auto& lane = lanes_[key];
  if (!lane) {
    lane = std::make_unique<Lane>();
    lane->key = std::move(key);
  }
  if (lane->used == 0) lane->place = active_.insert(active_.end(), lane.get());
  return *lane;
}

void RowQueue::Add(Request& request, bool batched) {
  Lane& lane = LaneFor(request, batched);
  const auto level = static_cast<size_t>(request.priority - 1);
  for (Part& part : request.parts) {
    Lane::List& list = lane.lists[level];
    part.state = Part::State::kWaiting;
    part.lane = &lane;
    part.previous = list.tail;
    part.next = nullptr;
    (list.tail ? list.tail->next : list.head) = &part;
    list.tail = &part;
    lane.used |= 1u << level;
    lane.waiting_rows += part.rows;
    waiting_rows_ += part.rows;
    rows_by_priority_[level] += part.rows;
    waiting_bytes_ += static_cast<int64_t>(part.bytes);
    if (request.answer_by != kNever) {
      lane.deadlines.insert(request.answer_by);
      deadlines_.insert({request.answer_by, &part});
    }
  }
}

void RowQueue::Remove(Part& part) {
  EK_CHECK(part.state == Part::State::kWaiting && part.lane != nullptr);
  Lane& lane = *part.lane;
  const auto level = static_cast<size_t>(part.request->priority - 1);
  Lane::List& list = lane.lists[level];
  (part.previous ? part.previous->next : list.head) = part.next;
  (part.next ? part.next->previous : list.tail) = part.previous;
  part.previous = part.next = nullptr;
  if (list.head == nullptr) lane.used &= ~(1u << level);
  lane.waiting_rows -= part.rows;
  waiting_rows_ -= part.rows;
  rows_by_priority_[level] -= part.rows;
  waiting_bytes_ -= static_cast<int64_t>(part.bytes);
  const Time deadline = part.request->answer_by;
  if (deadline != kNever) {
    lane.deadlines.erase(lane.deadlines.find(deadline));
    deadlines_.erase({deadline, &part});
  }
  part.state = Part::State::kEnded;
  part.lane = nullptr;
  if (lane.used != 0) {
    // Behind the others: with more lanes than one decision looks at, each has its turn.
    active_.splice(active_.end(), active_, lane.place);
    return;
  }
  active_.erase(lane.place);
  // Shapes come and go: an empty lane is kept only while it is the sole one a model can have.
  if (shapes_vary_) lanes_.erase(std::string(lane.key));
}

std::vector<Part*> RowQueue::LatestMovable(int64_t rows) const {
  std::vector<Part*> parts;
  for (int priority = kPriorities; priority >= 1; --priority) {
    for (const Lane* lane : active_) {
      Part* part = lane->lists[static_cast<size_t>(priority - 1)].tail;
      for (; part != nullptr && rows > 0; part = part->previous) {
        if (part->request->parts.size() != 1 || !part->request->call->movable) continue;
        parts.push_back(part);
        rows -= part->rows;
      }
    }
  }
  return parts;
}

int64_t RowQueue::RowsAhead(int priority) const {
  int64_t rows = 0;
  for (int p = 1; p <= priority; ++p) rows += rows_by_priority_[static_cast<size_t>(p - 1)];
  return rows;
}

policy::LaneView RowQueue::View(const Lane& lane) const {
  const Part* head = lane.head();
  policy::LaneView view;
  view.waiting_rows = lane.waiting_rows;
  view.head_rows = head->rows;
  view.oldest_arrival = head->request->call->arrived;
  for (uint32_t rest = lane.used; rest != 0; rest &= rest - 1) {
    const Part* last = lane.lists[static_cast<size_t>(__builtin_ctz(rest))].tail;
    view.newest_arrival = std::max(view.newest_arrival, last->request->call->arrived);
  }
  for (uint32_t rest = lane.used & (lane.used - 1); rest != 0; rest &= rest - 1) {
    const Part* other = lane.lists[static_cast<size_t>(__builtin_ctz(rest))].head;
    view.oldest_arrival = std::min(view.oldest_arrival, other->request->call->arrived);
  }
  view.earliest_deadline = lane.deadlines.empty() ? kNever : *lane.deadlines.begin();
  view.priority = lane.priority();
  return view;
}

}  // namespace evenkeel
