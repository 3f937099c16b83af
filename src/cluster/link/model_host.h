// What a node does with its models for other nodes: lists and reads their files, and serves or gives up a model when it is asked to.
//
// Contract: every `done` comes once, on any thread, also when the host stops; nothing blocks the caller.
// Errors: as ModelFiles for List and Read; kConflict (another content has the name, or the model is on its way in or out), kUnavailable (the node stops, too much waits).
// Thread-safety: thread-safe.
#pragma once

#include <functional>
#include <string>

#include "cluster/models/deploy_order.h"
#include "cluster/models/model_files.h"
#include "core/status.h"

namespace evenkeel {

class ModelHost {
 public:
  virtual ~ModelHost() = default;
  virtual void ListModel(std::string model, std::function<void(Result<ModelListing>)> done) = 0;
  virtual void ReadPiece(FilePiece piece, std::function<void(Result<std::string>)> done) = 0;
  // Ok: it will be done, or is done already; Progress() says how far it is.
  virtual Status Deploy(const DeployOrder& order) = 0;
  virtual DeployProgress Progress(const std::string& model, const std::string& digest) const = 0;
  // Other nodes are told first, so that they send nothing to it any more.
  virtual void Undeploy(UndeployOrder order, std::function<void(Status)> done) = 0;
};

}  // namespace evenkeel
