// Another node, as one that has models' files and can be told what to do with its models.
//
// Contract: calls block until they are answered, their time limit passed, or Stop() was called, by which they fail from then on.
// Implementations: ModelLink (cluster/link); nodes in one process, in tests.
// Thread-safety: thread-safe, but for destruction.
#pragma once

#include <string>

#include "cluster/models/deploy_order.h"
#include "cluster/models/model_copy.h"
#include "core/status.h"

namespace evenkeel {

class ModelPeer : public ModelSource {
 public:
  virtual Status Deploy(const DeployOrder& order) = 0;
  virtual Result<DeployProgress> Progress(const std::string& model, const std::string& digest) = 0;
  // Once it is unloaded there, and its files are gone if that was asked for.
  virtual Status Undeploy(const UndeployOrder& order) = 0;
  // Ends what is under way.
  virtual void Stop() = 0;
};

}  // namespace evenkeel
