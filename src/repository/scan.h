// Finds the models in a models folder and reads their settings.
//
// A model is: a bare file `x.onnx`, `x.xml`, `x.tflite`, `x.pb`, `x.pdmodel`, `x.gguf` or `x.fake`; a folder
// `x` with an evenkeel.yaml, a model file or a saved model; a Triton model folder (config.pbtxt,
// numeric version folders). Its name is x. Contract: one broken model never hides the others: its
// FoundModel has the reason as status and no versions. Hidden and unknown files are passed over.
// Nothing outside the folder is opened. The model files themselves are not read (see
// CheckModelFile); settings are.
// Thread-safety: thread-safe. Blocks on the file system.
#pragma once

#include <string>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

struct FoundModel {
  std::string name;  // matches IsModelName(), unless status says that it does not
  std::vector<ModelConfig>
      versions;   // to load by the version policy, ascending; empty iff !status.ok()
  Status status;  // why it can't be loaded
};

// By name, ascending. A folder that cannot be read has no models: call CheckModelsFolder() first to
// tell the difference.
std::vector<FoundModel> ScanModels(const std::string& folder);

// Error kNotFound or kInvalidArgument when `folder` is no folder that can be read.
Status CheckModelsFolder(const std::string& folder);

// The model of that name in a fresh listing of `folder`. Error kNotFound when there is none.
Result<FoundModel> FindModel(const std::string& folder, const std::string& name);

}  // namespace evenkeel
