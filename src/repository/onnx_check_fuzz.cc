// Fuzzes the structural check of ONNX files, and that of IR's XML with the same bytes.
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "core/parse.h"
#include "repository/ir_check.h"
#include "repository/onnx_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  EK_CHECK(evenkeel::IsUtf8(evenkeel::CheckOnnxBytes(bytes).message()));
  EK_CHECK(evenkeel::IsUtf8(evenkeel::CheckIrText(bytes).message()));
  return 0;
}
