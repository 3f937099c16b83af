#include "engines/openvino/model_file.h"

#include <openvino/frontend/manager.hpp>

namespace evenkeel {
namespace {

bool NameIsUnknown(const std::string& path) { return path.ends_with(".graphdef"); }

}  // namespace

bool IsTensorFlowGraph(const std::string& path) {
  return path.ends_with(".pb") || NameIsUnknown(path);
}

std::shared_ptr<ov::Model> ReadModelFile(ov::Core& core, const std::string& path) {
  if (!NameIsUnknown(path)) return core.read_model(path);
  ov::frontend::FrontEndManager manager;
  const auto frontend = manager.load_by_framework("tf");
  return frontend->convert(frontend->load(path));
}

ov::CompiledModel CompileModelFile(ov::Core& core, const std::string& path,
                                   const std::string& device, const ov::AnyMap& properties) {
  if (!NameIsUnknown(path)) return core.compile_model(path, device, properties);
  return core.compile_model(ReadModelFile(core, path), device, properties);
}

}  // namespace evenkeel
