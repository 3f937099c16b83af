#include "frontends/kserve_raw.h"

#include <cstring>
#include <limits>

#include "core/format.h"

namespace evenkeel {
namespace {

// Fills the axes that the model leaves free; the one that the size decides, if there is one, is
// left kDynamic and given back.
Result<int> KnownAxes(const Signature& signature, Shape* shape) {
  const TensorSpec& spec = signature.inputs[0];
  int free_axis = -1;
  for (int i = 0; i < spec.shape.rank(); ++i) {
    const int64_t dim = i == 0 && signature.batched ? 1 : spec.shape[i];
    if (dim == kDynamic && free_axis >= 0) {
      return InvalidArgument(
          "the shape of a raw binary request cannot be inferred: {} has several free axes",
          spec.shape.ToString());
    }
    if (dim == kDynamic) free_axis = i;
    shape->push_back(dim);
  }
  return free_axis;
}

Status ReadBytes(std::span<const std::byte> body, int free_axis, TensorView* view,
                 InferRequest* out) {
  if (free_axis >= 0 || view->shape.ElementCount() != 1) {
    return InvalidArgument("a raw binary request is one BYTES element, expected more: {}",
                           view->shape.ToString());
  }
  if (body.size() > std::numeric_limits<uint32_t>::max())
    return InvalidArgument("{} bytes are too many for one BYTES element", body.size());
  const auto length = static_cast<uint32_t>(body.size());
  const size_t total = sizeof length + body.size();
  auto memory = std::make_unique_for_overwrite<std::byte[]>(total);
  std::memcpy(memory.get(), &length, sizeof length);
  if (!body.empty()) std::memcpy(memory.get() + sizeof length, body.data(), body.size());
  view->data = {memory.get(), total};
  out->storage.push_back(std::move(memory));
  return {};
}

Status ReadDense(std::span<const std::byte> body, int free_axis, TensorView* view) {
  if (free_axis >= 0) {
    view->shape[free_axis] = 1;
    const Result<size_t> step = DenseBytes(view->dtype, view->shape);
    if (!step.ok()) return step.status();
    view->shape[free_axis] = *step == 0 ? 0 : static_cast<int64_t>(body.size() / *step);
  }
  const Result<size_t> bytes = DenseBytes(view->dtype, view->shape);
  if (!bytes.ok()) return bytes.status();
  if (*bytes != body.size()) {
    return InvalidArgument("a raw binary request of {} bytes does not fit: {} {} takes {}",
                           body.size(), NameOf(view->dtype), view->shape.ToString(), *bytes);
  }
  view->data = body;
  return {};
}

}  // namespace

Status ReadRawRequest(std::span<const std::byte> body, const Signature& signature,
                      InferRequest* out) {
  if (signature.inputs.size() != 1) {
    return InvalidArgument(
        "Inference-Header-Content-Length is 0: a raw binary request needs a model with one input, "
        "this one has {}",
        signature.inputs.size());
  }
  TensorView view;
  view.dtype = signature.inputs[0].dtype;
  const Result<int> free_axis = KnownAxes(signature, &view.shape);
  const Status status = !free_axis.ok()                  ? free_axis.status()
                        : view.dtype == DataType::kBytes ? ReadBytes(body, *free_axis, &view, out)
                                                         : ReadDense(body, *free_axis, &view);
  if (!status.ok()) return status.Annotate(fmt::format("input '{}'", signature.inputs[0].name));
  out->inputs.push_back(view);
  for (size_t i = 0; i < signature.outputs.size(); ++i)
    out->outputs.push_back({static_cast<uint32_t>(i), true, 0});
  return {};
}

}  // namespace evenkeel
