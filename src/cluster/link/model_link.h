// This node's way to another one's models: their files, and what that node is to do with them. A source of copies.
//
// It has a connection of its own, so that the bytes of a copy are not in the way of figures and calls.
// Contract: as ModelPeer.
// Errors: the other node's own, and kUnavailable (no link), kDeadlineExceeded, kCancelled (stopped), kInvalidArgument (no node of ours answered).
// Thread-safety: thread-safe, but for destruction.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "cluster/link/link_client.h"
#include "cluster/models/model_peer.h"
#include "core/status.h"

namespace evenkeel {

class ModelLink final : public ModelPeer {
 public:
  explicit ModelLink(const LinkClientOptions& options);
  ~ModelLink() override;
  ModelLink(const ModelLink&) = delete;
  ModelLink& operator=(const ModelLink&) = delete;

  const std::string& node() const override { return node_; }
  Result<ModelListing> List(const std::string& model) override;
  Result<std::string> Read(const FilePiece& piece) override;
  Status Deploy(const DeployOrder& order) override;
  Result<DeployProgress> Progress(const std::string& model, const std::string& digest) override;
  Status Undeploy(const UndeployOrder& order) override;
  void Stop() override;

 private:
  struct Impl;
  const std::string node_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace evenkeel
