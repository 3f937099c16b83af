// A ready version of a model of tensors, as whoever calls it sees it: here, or on another node.
//
// Thread-safety: thread-safe.
#pragma once

#include <string>

#include "core/infer.h"
#include "core/tensor.h"

namespace evenkeel {

// A ready version of a model. Holding the pointer keeps it answering (through unload and reload).
class ServedModel {
 public:
  virtual ~ServedModel() = default;
  virtual const std::string& name() const = 0;
  virtual const std::string& version() const = 0;  // decimal
  virtual const Signature& signature() const = 0;
  // It calls other models by their names (an ensemble): no step of such a one, or calls could go in a circle.
  virtual bool calls_others() const { return false; }
  // Some node that answers for it is there at the moment.
  virtual bool reachable() const { return true; }
  // Starts `call`. call->Done() is called exactly once, perhaps before this returns.
  virtual void Infer(InferCall* call) = 0;
  // Asks that `call` end early; its Done() still comes (kCancelled, or the result if it won the race). No-op once Done() was
  // called *and* the caller knows it: the caller must not free `call` while Cancel() may run.
  virtual void Cancel(InferCall* call) = 0;
};

}  // namespace evenkeel
