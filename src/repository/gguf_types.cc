#include "repository/gguf_types.h"

#include <array>

namespace evenkeel {
namespace {

constexpr std::array<GgufTypeInfo, kGgufTypeCount> kValueTypes = {{
    {"UINT8", 1, true, false},
    {"INT8", 1, true, true},
    {"UINT16", 2, true, false},
    {"INT16", 2, true, true},
    {"UINT32", 4, true, false},
    {"INT32", 4, true, true},
    {"FLOAT32", 4, false, true},
    {"BOOL", 1, false, false},
    {"STRING", 0, false, false},
    {"ARRAY", 0, false, false},
    {"UINT64", 8, true, false},
    {"INT64", 8, true, true},
    {"FLOAT64", 8, false, true},
}};

// Indexed by number. Rows without a name are numbers that were taken out of the format or never given.
constexpr std::array<GgmlTypeInfo, 43> kTensorTypes = {{
    {"F32", 1, 4},         // 0
    {"F16", 1, 2},         // 1
    {"Q4_0", 32, 18},      // 2
    {"Q4_1", 32, 20},      // 3
    {},                    // 4
    {},                    // 5
    {"Q5_0", 32, 22},      // 6
    {"Q5_1", 32, 24},      // 7
    {"Q8_0", 32, 34},      // 8
    {"Q8_1", 32, 36},      // 9
    {"Q2_K", 256, 84},     // 10
    {"Q3_K", 256, 110},    // 11
    {"Q4_K", 256, 144},    // 12
    {"Q5_K", 256, 176},    // 13
    {"Q6_K", 256, 210},    // 14
    {"Q8_K", 256, 292},    // 15
    {"IQ2_XXS", 256, 66},  // 16
    {"IQ2_XS", 256, 74},   // 17
    {"IQ3_XXS", 256, 98},  // 18
    {"IQ1_S", 256, 50},    // 19
    {"IQ4_NL", 32, 18},    // 20
    {"IQ3_S", 256, 110},   // 21
    {"IQ2_S", 256, 82},    // 22
    {"IQ4_XS", 256, 136},  // 23
    {"I8", 1, 1},          // 24
    {"I16", 1, 2},         // 25
    {"I32", 1, 4},         // 26
    {"I64", 1, 8},         // 27
    {"F64", 1, 8},         // 28
    {"IQ1_M", 256, 56},    // 29
    {"BF16", 1, 2},        // 30
    {},                    // 31
    {},                    // 32
    {},                    // 33
    {"TQ1_0", 256, 54},    // 34
    {"TQ2_0", 256, 66},    // 35
    {},                    // 36
    {},                    // 37
    {},                    // 38
    {"MXFP4", 32, 17},     // 39
    {"NVFP4", 64, 36},     // 40
    {"Q1_0", 128, 18},     // 41
    {"Q2_0", 64, 18},      // 42
}};

constexpr std::array<std::string_view, 41> kFileTypes = {
    "F32",   "F16",     "Q4_0",   "Q4_1",   "",       "",        "",       "Q8_0",   "Q5_0",
    "Q5_1",  "Q2_K",    "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S",  "Q4_K_M", "Q5_K_S", "Q5_K_M",
    "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",
    "IQ3_M", "IQ2_S",   "IQ2_M",  "IQ4_XS", "IQ1_M",  "BF16",    "",       "",       "",
    "TQ1_0", "TQ2_0",   "MXFP4",  "NVFP4",  "Q1_0"};

constexpr uint64_t kGuessed = 1024;  // a bit of file types that a program inferred from the tensors

}  // namespace

const GgufTypeInfo& InfoOf(GgufType type) { return kValueTypes.at(static_cast<size_t>(type)); }

const GgmlTypeInfo* GgmlTypeOf(uint32_t number) {
  if (number >= kTensorTypes.size() || kTensorTypes[number].elements == 0) return nullptr;
  return &kTensorTypes[number];
}

std::string_view GgufFileTypeName(uint64_t number) {
  number &= ~kGuessed;
  return number < kFileTypes.size() ? kFileTypes[number] : "";
}

}  // namespace evenkeel
