#include "engines/openvino/variant_builder.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <openvino/openvino.hpp>
#include <utility>

#include "core/format.h"
#include "engines/openvino/model_file.h"

namespace evenkeel {
namespace {

constexpr int kNice = 10;  // about a tenth of a core that the serving thread keeps busy

// Bytes of the process that no file stands behind.
int64_t AnonymousMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::strtoll(line.c_str() + 8, nullptr, 10) * 1024;
  }
  return 0;
}

void RunOnZeros(ov::CompiledModel& model) {
  ov::InferRequest request = model.create_infer_request();
  for (const auto& port : model.inputs()) {
    ov::Tensor tensor(port.get_element_type(), port.get_shape());
    if (port.get_element_type() != ov::element::string) {
      std::memset(tensor.data(), 0, tensor.get_byte_size());
    }
    request.set_tensor(port, tensor);
  }
  request.start_async();
  request.wait();
}

}  // namespace

VariantBuilder::VariantBuilder(ov::Core& core, std::string path, std::string device,
                               ov::AnyMap properties, int64_t memory_limit)
    : core_(core),
      path_(std::move(path)),
      device_(std::move(device)),
      properties_(std::move(properties)),
      memory_limit_(memory_limit) {}

void VariantBuilder::Start(int64_t rows) {
  building_ = std::async(std::launch::async, [this, rows] {
    // Of this thread only; where it is forbidden, the build just costs more.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
    return Built{rows, Build(rows)};
  });
}

std::optional<VariantBuilder::Built> VariantBuilder::Take() {
  if (!building_.valid() ||
      building_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return std::nullopt;
  }
  return building_.get();
}

Result<ov::CompiledModel> VariantBuilder::Build(int64_t rows) {
  try {
    const int64_t before = AnonymousMemory();
    auto model = ReadModelFile(core_, path_);
    std::map<ov::Output<ov::Node>, ov::PartialShape> shapes;
    for (const auto& port : model->inputs()) {
      ov::PartialShape shape = port.get_partial_shape();
      shape[0] = rows;
      shapes[port] = shape;
    }
    model->reshape(shapes);
    ov::CompiledModel compiled = core_.compile_model(model, device_, properties_);
    model.reset();
    RunOnZeros(compiled);
    const int64_t takes = std::max<int64_t>(0, AnonymousMemory() - before);
    int64_t all = takes;
    for (const auto& [size, bytes] : memory_used_) all += bytes;
    if (all > memory_limit_) {
      return TooLarge("with it such forms take {} MiB, at most {} are allowed", all >> 20,
                      memory_limit_ >> 20);
    }
    memory_used_[rows] = takes;
    return compiled;
  } catch (const std::exception& e) {
    return Internal("{}", e.what());
  }
}

}  // namespace evenkeel
