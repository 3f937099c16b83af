// Whether a node that is to unload a model may do so: by what all nodes tell at that moment, so that two that are asked at once by different coordinators do not both take the last replicas.
//
// How it goes: a node that is asked tells first that the model is leaving, waits until every other node has heard of it, and asks here. It goes where another node serves the model and does not
//   tell that it is leaving there. Where all that are left are leaving, the first of them by name stays, and the others go; who goes tells that it is certain, since then it counts no more.
// Contract: of n nodes that are asked at once at least one keeps the model, if each hears of another within an n-th of the wait (they tell at once, and wait 2.5 s). A node that is suspect or wants no new work does not count as serving: then the model stays.
// Errors: kConflict, with who is in the way. Thread-safety: pure.
#pragma once

#include <span>
#include <string_view>

#include "cluster/live/replica_table.h"
#include "core/status.h"

namespace evenkeel {

// `nodes`: the own one first, whose models are not looked at. `served`: the model is served here until now; if not, only its files are to go, and nobody else's figures say who has those:
//   they may if no other node takes the model away meanwhile.
Status MayLeave(std::string_view model, bool served, std::span<const ReplicaTable::NodeView> nodes);

}  // namespace evenkeel
