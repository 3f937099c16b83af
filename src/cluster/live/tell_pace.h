// Whom a node tells its figures at a tick, and hears those of: everyone at each tick while there is work anywhere, each every kRestS where there is none.
//
// At rest most of what nodes send is figures that say what the last ones said. Each tells and is told, so that figures are kRestS old at most, and about half of it on the
//   average, well within ReplicaTable::kStale. A node whose link broke is told at the next tick all the same: its death shows as soon as ever. So is one that is suspect or
//   was never heard of, that it may be believed again, and one that what has changed here could not be told yet.
// Contract: pure. Units: seconds. Source: issue S4, "a cluster at rest".
#pragma once

namespace evenkeel {

struct TellPace {
  static constexpr double kRestS = 2.0;

  struct Peer {
    bool known = false;  // figures came
    bool suspect = false;
    bool connected = false;  // its link stands, as far as this end knows
    bool news = false;       // something has changed here since it was told
    double silent_s = 0;     // since its last answer was asked for
  };

  // `work`: something waits or runs on a node, or did lately. `tick_s`: until this is asked again.
  static bool Due(const Peer& peer, bool work, double tick_s) {
    if (work || !peer.known || peer.suspect || !peer.connected || peer.news) return true;
    // At the tick that is nearest, lest a late answer make it the one after.
    return peer.silent_s + tick_s / 2 >= kRestS;
  }
};

}  // namespace evenkeel
