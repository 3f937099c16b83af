// Reads and compiles a model's file, also one that the engine would not know by its name.
//
// Contract: throws as the engine does. A frozen TensorFlow graph may be called `.graphdef`, as Triton has it; the engine by itself takes only `.pb`.
// Thread-safety: as ov::Core.
#pragma once

#include <memory>
#include <openvino/runtime/core.hpp>
#include <string>

namespace evenkeel {

// A frozen graph, by its name.
bool IsTensorFlowGraph(const std::string& path);

std::shared_ptr<ov::Model> ReadModelFile(ov::Core& core, const std::string& path);

// By path where the engine knows the name: with a warm cache the file is then not parsed at all.
ov::CompiledModel CompileModelFile(ov::Core& core, const std::string& path,
                                   const std::string& device, const ov::AnyMap& properties);

}  // namespace evenkeel
