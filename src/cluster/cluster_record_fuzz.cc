// Fuzzes what is read from the store and from disk: node records and stored plans. What is accepted is written again as the same.
#include <cstdint>
#include <string_view>

#include "cluster/node_record.h"
#include "cluster/stored_plan.h"
#include "core/check.h"
#include "core/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto node = evenkeel::ParseNodeRecord(text); node.ok()) {
    EK_CHECK(evenkeel::CheckNodeRecord(*node).ok());
    const auto again = evenkeel::ParseNodeRecord(evenkeel::WriteNodeRecord(*node));
    EK_CHECK(again.ok() && *again == *node);
  } else {
    EK_CHECK(evenkeel::IsUtf8(node.status().message()));
  }
  if (const auto plan = evenkeel::ParseStoredPlan(text); plan.ok()) {
    const auto written = evenkeel::WriteStoredPlan(*plan);
    if (!written.ok()) return 0;  // at the bound, written with more escapes than it was read with
    const auto again = evenkeel::ParseStoredPlan(*written);
    EK_CHECK(again.ok() && *again == *plan);
  } else {
    EK_CHECK(evenkeel::IsUtf8(plan.status().message()));
  }
  return 0;
}
