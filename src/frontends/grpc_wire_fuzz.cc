// Any bytes, in any slices, as a ModelInferRequest. Two readings in different slices must agree, and typed contents of every input are
// decoded as every data type.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "frontends/grpc_wire.h"

namespace evenkeel {
namespace {

// Cuts `data` into slices, each an allocation of its own, so that AddressSanitizer sees a step past any of them.
std::vector<std::vector<std::byte>> Cut(ByteSpan data, size_t size) {
  std::vector<std::vector<std::byte>> slices;
  while (!data.empty()) {
    const ByteSpan part = data.first(std::min(size, data.size()));
    slices.emplace_back(part.begin(), part.end());
    data = data.subspan(part.size());
  }
  return slices;
}

struct Reading {
  explicit Reading(ByteSpan data, size_t slice) : storage(Cut(data, slice)) {
    for (const auto& s : storage) views.emplace_back(s);
    ok = ReadInferRequest(views, arena, &request).ok();
  }
  std::vector<std::vector<std::byte>> storage;
  std::vector<ByteSpan> views;
  CallArena arena;
  WireInferRequest request;
  bool ok = false;
};

void Require(bool condition) {
  if (!condition) std::abort();
}

void CompareContents(Reading& a, Reading& b, size_t input) {
  for (int type = 1; type < kDataTypeCount; ++type) {
    const auto x =
        DecodeContents(a.views, a.request.inputs[input], static_cast<DataType>(type), a.arena);
    const auto y =
        DecodeContents(b.views, b.request.inputs[input], static_cast<DataType>(type), b.arena);
    Require(x.ok() == y.ok());
    if (x.ok()) Require(std::ranges::equal(*x, *y));
  }
}

}  // namespace
}  // namespace evenkeel

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;
  if (size == 0) return 0;
  const ByteSpan bytes = std::as_bytes(std::span(data, size)).subspan(1);
  Reading whole(bytes, std::max<size_t>(bytes.size(), 1));
  Reading cut(bytes, 1 + data[0] % 61);
  Require(whole.ok == cut.ok);
  if (!whole.ok) return 0;
  Require(whole.request.model_name == cut.request.model_name && whole.request.id == cut.request.id);
  Require(whole.request.inputs.size() == cut.request.inputs.size() &&
          whole.request.raw.size() == cut.request.raw.size());
  for (size_t i = 0; i < whole.request.raw.size(); ++i)
    Require(std::ranges::equal(whole.request.raw[i], cut.request.raw[i]));
  for (size_t i = 0; i < std::min<size_t>(whole.request.inputs.size(), 8); ++i)
    CompareContents(whole, cut, i);
  return 0;
}
