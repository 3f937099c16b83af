// `evenkeel cluster status|member|promote`: what a cluster that runs is asked.
//
// Thread-safety: main thread only.
#pragma once

namespace CLI {
class App;
}

namespace evenkeel {

void AddClusterStatusVerbs(CLI::App& cluster, const char* examples);

}  // namespace evenkeel
