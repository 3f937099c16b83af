// This server's part in a cluster, if it has one: from its settings (peers by hand, nothing encrypted) or from its cluster folder (cluster/home), where nodes know
// each other by certificates and the one with the authority lets new ones in.
//
// Thread-safety: made, drained and stopped on the main thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cluster/join/join_desk.h"
#include "cluster/link/node_credentials.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "server/cluster_node.h"
#include "server/serve_options.h"

namespace evenkeel {

class ClusterHost {
 public:
  // Null: the server is alone. Errors: as LoadClusterHome() but kNotFound, as NodeCertificate::Load(), as ClusterNode::Start(); kInvalidArgument: settings
  // that say another thing than the folder.
  static Result<std::unique_ptr<ClusterHost>> Start(const ServeOptions& options,
                                                    ModelRegistry& registry, IoLoop& loop,
                                                    const Clock& clock);
  ~ClusterHost();

  ClusterNode& node() { return *node_; }
  void Drain() { node_->Drain(); }
  void Stop();
  std::string Summary() const;  // "desk, 10.0.0.2:8010; new nodes join at 10.0.0.2:8011"

 private:
  ClusterHost() = default;
  Status OpenDesk(const std::string& folder);
  void Keep(const std::vector<NodeAddress>& nodes);

  std::string folder_;
  std::optional<ClusterHome> home_;
  std::optional<link::NodeCredentials> credentials_;
  std::string address_;
  std::unique_ptr<ClusterNode> node_;
  // Of the node that holds the authority.
  std::unique_ptr<IoLoop> desk_loop_;
  std::unique_ptr<JoinDesk> desk_;
  std::unique_ptr<HttpServer> desk_server_;
  std::string desk_address_;
};

// The port where new nodes ask to be let in: the one after the nodes' own.
inline int JoinPortOf(int node_port) { return node_port + 1; }

}  // namespace evenkeel
