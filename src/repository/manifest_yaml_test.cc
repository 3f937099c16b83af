#include "repository/manifest_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "repository/manifest_fit.h"
#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

ModelConfig Base() {
  ModelConfig base;
  base.name = "m";
  return base;
}

Result<Manifest> Parse(std::string_view text) { return ParseManifest(text, "m.yaml", Base()); }

Manifest Good(std::string_view text) {
  Result<Manifest> manifest = Parse(text);
  EXPECT_TRUE(manifest.ok()) << text << "\n" << manifest.status().ToString();
  return manifest.ok() ? *manifest : Manifest{};
}

std::string Bad(std::string_view text) {
  const Result<Manifest> manifest = Parse(text);
  EXPECT_FALSE(manifest.ok()) << text;
  return manifest.status().message();
}

TEST(ManifestTest, EveryKeyIsRead) {
  const Manifest m = Good(R"(
# comment
name: m
version: 7
engine: openvino
file: sub/net.onnx
max_batch: 32
batching:
  policy: fixed
  max_delay: 2ms
  preferred_sizes: [16, 8, 8]
  max_queue_rows: 500
  max_queue_bytes: 16MiB
objective: 25ms
precision: bf16
class: gpu
gpu_shape: 8c/2GiB
gpu_instances: 3
instances: 2
min_instances: 0
keep_alive: 90s
threads: 3
priority: 4
hang_timeout: 1.5s
hard_cores: true
inputs:
  - {name: ids, datatype: INT64, shape: [-1, 64], range: [0, 19999]}
outputs:
  - name: probs
    datatype: FP32
    shape: [-1, 2]
    labels: [cat, "dog"]
samples: disk
)");
  const ModelConfig& c = m.config;
  EXPECT_EQ(c.version, 7);
  EXPECT_EQ(m.version, 7);
  EXPECT_EQ(c.engine, "openvino");
  EXPECT_TRUE(m.engine_given);
  EXPECT_EQ(m.file, "sub/net.onnx");
  EXPECT_EQ(c.batching.max_batch, 32);
  EXPECT_TRUE(c.batch_axis_declared);
  EXPECT_FALSE(c.no_batch_axis);
  EXPECT_EQ(c.batching.policy, BatchingPolicy::kFixed);
  EXPECT_EQ(c.batching.max_delay, milliseconds(2));
  EXPECT_THAT(c.batching.preferred_sizes, ElementsAre(8, 16));
  EXPECT_EQ(c.batching.max_queue_rows, 500);
  EXPECT_EQ(c.batching.max_queue_bytes, 16 << 20);
  EXPECT_EQ(c.objective, milliseconds(25));
  EXPECT_EQ(c.precision, Precision::kBf16);
  EXPECT_EQ(c.device, DeviceClass::kGpu);
  EXPECT_EQ(c.gpu_shape, (DeviceSize{8, int64_t{2} << 30}));
  EXPECT_EQ(c.gpu_instances, 3);
  EXPECT_EQ(c.instances, 2);
  EXPECT_EQ(c.min_instances, 0);
  EXPECT_EQ(c.keep_alive, std::chrono::seconds(90));
  EXPECT_EQ(c.threads, 3);
  EXPECT_EQ(c.default_priority, 4);
  EXPECT_EQ(c.hang_timeout, milliseconds(1500));
  EXPECT_EQ(c.hard_cores, true);
  EXPECT_EQ(c.samples, SampleMode::kDisk);
  ASSERT_EQ(c.inputs.size(), 1u);
  EXPECT_EQ(c.inputs[0].name, "ids");
  EXPECT_EQ(c.inputs[0].dtype, DataType::kInt64);
  EXPECT_EQ(*c.inputs[0].shape, (Shape{-1, 64}));
  EXPECT_EQ(c.inputs[0].range->lo, 0);
  EXPECT_EQ(c.inputs[0].range->hi, 19999);
  EXPECT_THAT(c.outputs[0].labels, ElementsAre("cat", "dog"));
  EXPECT_EQ(c.source, "m.yaml");
}

TEST(ManifestTest, EmptyFileKeepsTheDefaults) {
  for (const char* text : {"", "\n", "# nothing\n", "---\n", "{}"}) {
    const Manifest m = Good(text);
    EXPECT_EQ(m.config.batching.policy, BatchingPolicy::kAuto);
    EXPECT_EQ(m.config.samples, std::nullopt);
    EXPECT_FALSE(m.config.batch_axis_declared);
  }
}

TEST(ManifestTest, MaxBatchZeroRulesABatchAxisOut) {
  EXPECT_TRUE(Good("max_batch: 0").config.no_batch_axis);
  EXPECT_FALSE(Good("max_batch: 0").config.batch_axis_declared);
  EXPECT_EQ(Good("batching: {max_batch: 5}").config.batching.max_batch, 5);
  EXPECT_THAT(Bad("max_batch: 4\nbatching: {max_batch: 5}"),
              HasSubstr("2:23: batching.max_batch: given twice"));
}

TEST(ManifestTest, ErrorsNameFileLineColumnKeyAndBothSides) {
  EXPECT_EQ(Bad("version: 1\nmax_batch: many"),
            "m.yaml:2:12: max_batch: expected a whole number from 0 to 65536, got 'many'");
  EXPECT_EQ(Bad("batching:\n  max_delay: [1]"),
            "m.yaml:2:14: batching.max_delay: expected a duration such as '2ms', got a list");
  EXPECT_EQ(Bad("threads:"),
            "m.yaml:1:1: threads: expected a whole number from 0 to 1024, got nothing");
  EXPECT_EQ(Bad("precision: fp16"),
            "m.yaml:1:12: precision: expected one of f32, bf16, auto, got 'fp16'");
}

TEST(ManifestTest, AutomaticPrecisionNeedsATolerance) {
  const ModelConfig c = Good("precision: auto\ntolerance: 0.02").config;
  EXPECT_TRUE(c.precision_auto);
  EXPECT_EQ(c.precision, Precision::kF32);
  EXPECT_DOUBLE_EQ(c.tolerance, 0.02);
  EXPECT_THAT(Bad("precision: auto"), HasSubstr("tolerance: 'precision: auto' needs it"));
  EXPECT_THAT(Bad("precision: bf16\ntolerance: 1"), HasSubstr("only with 'precision: auto'"));
  EXPECT_THAT(Bad("precision: auto\ntolerance: -1"),
              HasSubstr("2:12: tolerance: expected a number"));
  EXPECT_THAT(Bad("precision: auto\ntolerance: nan"), HasSubstr("tolerance: expected a number"));
}

TEST(ManifestTest, ProfilingCanBeForbidden) {
  EXPECT_TRUE(Good("").config.profile);
  EXPECT_FALSE(Good("profile: off").config.profile);
  EXPECT_THAT(Bad("profile: on"), HasSubstr("expected one of auto, off"));
}

TEST(ManifestTest, UnknownKeysSuggestTheClosest) {
  EXPECT_EQ(Bad("max_bacth: 3"), "m.yaml:1:1: max_bacth: unknown key; did you mean 'max_batch'?");
  EXPECT_EQ(Bad("batching: {max_dely: 1ms}"),
            "m.yaml:1:12: batching.max_dely: unknown key; did you mean 'max_delay'?");
  EXPECT_THAT(Bad("colour: red"),
              StartsWith("m.yaml:1:1: colour: unknown key; known are name, version"));
  EXPECT_EQ(Bad("hard_cores: maybe"),
            "m.yaml:1:13: hard_cores: expected one of true, false, got 'maybe'");
  EXPECT_THAT(Bad("inputs: [{name: a, labels: [x]}]"), HasSubstr("inputs[0].labels: unknown key"));
  EXPECT_THAT(Bad("outputs: [{name: a, range: [0, 1]}]"),
              HasSubstr("outputs[0].range: unknown key"));
}

TEST(ManifestTest, EveryNumberHasARange) {
  for (const char* text : {"version: 0",
                           "version: -1",
                           "version: 9223372036854775808",
                           "max_batch: -1",
                           "max_batch: 65537",
                           "instances: 0",
                           "instances: 65",
                           "min_instances: -1",
                           "min_instances: 65",
                           "min_instances: auto",
                           "keep_alive: -1s",
                           "keep_alive: 10000h",
                           "keep_alive: 5",
                           "threads: -1",
                           "threads: 1025",
                           "priority: 0",
                           "priority: 17",
                           "objective: 0s",
                           "objective: 1h",
                           "objective: -5ms",
                           "hang_timeout: 1ms",
                           "hang_timeout: 25h",
                           "batching: {policy: fixed, max_delay: 61s}",
                           "batching: {max_queue_rows: 0}",
                           "batching: {max_queue_rows: 10000001}",
                           "batching: {max_queue_bytes: 1B}",
                           "batching: {max_queue_bytes: 2TiB}",
                           "batching: {preferred_sizes: [0]}",
                           "batching: {preferred_sizes: [65537]}",
                           "inputs: [{name: a, shape: [0]}]",
                           "inputs: [{name: a, shape: [-2]}]",
                           "inputs: [{name: a, shape: [2147483648]}]",
                           "inputs: [{name: a, shape: [1,1,1,1,1,1,1,1,1]}]",
                           "inputs: [{name: a, range: [2, 1]}]",
                           "inputs: [{name: a, range: [1]}]",
                           "inputs: [{name: a, range: [0, 9223372036854775808]}]",
                           "instances: 1.5",
                           "instances: 1e1",
                           "instances: 0x1",
                           "instances: ''",
                           "instances: true"}) {
    EXPECT_THAT(Bad(text), StartsWith("m.yaml:1:")) << text;
  }
}

TEST(ManifestTest, InstancesAreLeftToTheForecastOrFixed) {
  EXPECT_EQ(Good("{}").config.instances, 0);
  EXPECT_EQ(Good("instances: auto").config.instances, 0);
  EXPECT_EQ(Good("instances: 3").config.instances, 3);
  EXPECT_EQ(Bad("threads: 1\ninstances: many"),
            "m.yaml:2:12: instances: expected auto or 1 to 64, got 'many'");
}

TEST(ManifestTest, SettingsThatContradictAreRefused) {
  EXPECT_EQ(Bad("min_instances: 3\ninstances: 2"),
            "m.yaml:2:12: instances: min_instances, 3, is above instances, 2");
  EXPECT_EQ(Bad("instances: 2\nmin_instances: 3"),
            "m.yaml:2:16: min_instances: min_instances, 3, is above instances, 2");
  EXPECT_THAT(Bad("max_batch: 4\nbatching: {preferred_sizes: [8]}"),
              HasSubstr("8 is above max_batch, 4"));
  EXPECT_THAT(Bad("batching: {max_delay: 2ms}"), HasSubstr("'max_delay' needs 'policy: fixed'"));
  EXPECT_THAT(Bad("name: other"), HasSubstr("expected 'm', as the folder is named, got 'other'"));
  EXPECT_THAT(Bad("name: ../m"), HasSubstr("expected a letter or digit"));
  EXPECT_THAT(Bad("inputs: [{name: a}, {name: a}]"), HasSubstr("inputs[1]: 'a' is listed twice"));
  EXPECT_THAT(Bad("inputs: [{datatype: FP32}]"), HasSubstr("inputs[0]: 'name' is missing"));
  EXPECT_THAT(Bad("inputs: [{name: a, datatype: float}]"),
              HasSubstr("expected one of BOOL, UINT8"));
  EXPECT_THAT(Bad("engine: triton"), HasSubstr("expected one of openvino, llamacpp, fake"));
}

TEST(ManifestTest, LanguageModelsHaveASectionOfTheirOwn) {
  const Manifest m = Good(R"(
engine: llamacpp
language:
  context: 4096
  sequences: 8
  cache_tokens: 32768
  time_to_first_token: 500ms
  inter_token: 40ms
  pooling: cls
)");
  EXPECT_EQ(m.config.engine, "llamacpp");
  ASSERT_TRUE(m.config.language.has_value());
  EXPECT_EQ(m.config.language->context_tokens, 4096);
  EXPECT_EQ(m.config.language->sequences, 8);
  EXPECT_EQ(m.config.language->cache_tokens, 32'768);
  EXPECT_EQ(m.config.language->time_to_first_token, milliseconds(500));
  EXPECT_EQ(m.config.language->inter_token, milliseconds(40));
  EXPECT_EQ(m.config.language->pooling, Pooling::kCls);
  EXPECT_FALSE(Good("threads: 1").config.language.has_value());
  const ModelConfig chosen = Good("language: {sequences: 0, cache_tokens: 0}").config;
  ASSERT_TRUE(chosen.language.has_value());
  EXPECT_EQ(chosen.language->context_tokens, 0);
  EXPECT_EQ(chosen.language->time_to_first_token, std::nullopt);
  EXPECT_EQ(chosen.language->pooling, std::nullopt);
  for (const std::string_view name : kPoolingNames) {
    const ModelConfig config = Good("language: {pooling: " + std::string(name) + "}").config;
    EXPECT_EQ(config.language->pooling, PoolingOf(name));
  }
}

TEST(ManifestTest, LanguageSettingsHaveRanges) {
  for (const char* text :
       {"language: {context: 15}", "language: {context: 0}", "language: {context: 16777217}",
        "language: {context: -1}", "language: {context: 4k}", "language: {sequences: -1}",
        "language: {sequences: 257}", "language: {cache_tokens: -1}",
        "language: {cache_tokens: 2147483648}", "language: {time_to_first_token: 0s}",
        "language: {time_to_first_token: 11m}", "language: {inter_token: 5}",
        "language: {inter_token: -1ms}", "language: {pooling: max}", "language: {pooling: 1}",
        "language: 3", "language: []"}) {
    EXPECT_THAT(Bad(text), StartsWith("m.yaml:1:")) << text;
  }
  EXPECT_EQ(
      Bad("language: {context: many}"),
      "m.yaml:1:21: language.context: expected a whole number from 16 to 16777216, got 'many'");
  EXPECT_EQ(Bad("language: {sequencs: 1}"),
            "m.yaml:1:12: language.sequencs: unknown key; did you mean 'sequences'?");
  EXPECT_EQ(
      Bad("language: {context: 4096, cache_tokens: 4095}"),
      "m.yaml:1:11: language: 'cache_tokens', 4095, is below 'context', 4096: not one sequence "
      "would fit");
}

TEST(ManifestTest, SettingsOfTheOtherKindOfModelAreRefused) {
  const auto fits = [](const std::string& text, bool is_language) {
    return CheckKeysFit(Good(text), is_language);
  };
  for (const char* text : {"max_batch: 4", "batching: {policy: none}", "objective: 5ms",
                           "precision: bf16", "inputs: [{name: a}]", "outputs: [{name: a}]",
                           "samples: off", "precision: auto\ntolerance: 1"}) {
    EXPECT_TRUE(fits(text, false).ok()) << text;
    const std::string message = fits(std::string("threads: 1\n") + text, true).message();
    EXPECT_THAT(message, StartsWith("m.yaml:2:1: " + std::string(text, strcspn(text, ":"))))
        << text;
    EXPECT_THAT(message, HasSubstr("means nothing for a language model: "));
  }
  EXPECT_TRUE(fits("threads: 2\nlanguage: {sequences: 4}\nkeep_alive: 1m", true).ok());
  EXPECT_EQ(fits("threads: 2\nlanguage: {sequences: 4}", false).message(),
            "m.yaml:2:1: language: has a meaning only for language models (.gguf)");
}

TEST(ManifestTest, SameTensorNameMayBeInputAndOutput) {
  const Manifest m = Good("inputs: [{name: a}]\noutputs: [{name: a}]");
  EXPECT_EQ(m.config.inputs.size(), 1u);
  EXPECT_EQ(m.config.outputs.size(), 1u);
}

TEST(ManifestTest, DuplicateKeysAreRefusedWithBothLines) {
  EXPECT_EQ(Bad("threads: 1\nthreads: 2"), "m.yaml:2:1: 'threads': given twice, first in line 1");
  EXPECT_THAT(Bad("batching:\n  policy: none\n  policy: greedy"),
              HasSubstr("m.yaml:3:3: 'policy': given twice"));
}

TEST(ManifestTest, HostileYamlIsRefused) {
  EXPECT_THAT(Bad("a: &x [1]\nb: *x"), HasSubstr("anchors"));
  EXPECT_THAT(Bad("name: *x"), StartsWith("m.yaml:1:"));
  EXPECT_THAT(Bad("name: !!binary aGk="), HasSubstr("tag"));
  EXPECT_THAT(Bad("--- {}\n--- {}\n"), HasSubstr("second document"));
  EXPECT_THAT(Bad("? [a]\n: 1"), HasSubstr("a key must be a plain word"));
  EXPECT_THAT(Bad("? {a: 1}\n: 1"), HasSubstr("a key must be a plain word"));
  EXPECT_THAT(Bad("inputs: " + std::string(20, '[') + std::string(20, ']')),
              HasSubstr("m.yaml:1:24: nested more than 16 deep"));
  EXPECT_THAT(Bad(std::string(200'000, '[')), StartsWith("m.yaml:1:"));
  EXPECT_THAT(Bad("name: \xff"), HasSubstr("m.yaml:1:1: the line is not UTF-8"));
  EXPECT_THAT(Bad(std::string("name: m\nfile: a\0b", 17)),
              HasSubstr("m.yaml:2:1: the line has a NUL byte"));
  EXPECT_THAT(Bad("- a\n- b"), HasSubstr("expected 'key: value' lines, got a list"));
  EXPECT_THAT(Bad("just text"), HasSubstr("got 'just text'"));
  EXPECT_THAT(Bad("name: [unclosed"), StartsWith("m.yaml:"));
  EXPECT_THAT(Bad("\tname: m"), StartsWith("m.yaml:"));
  std::string many = "inputs: [";
  for (int i = 0; i < 60'000; ++i) many += "a,b,";
  EXPECT_THAT(Bad(many + "]"), HasSubstr("more than 100000 values"));
}

TEST(ManifestTest, LargeFilesAreRefused) {
  const Result<Manifest> manifest = Parse(std::string((1 << 20) + 1, ' '));
  EXPECT_EQ(manifest.status().code(), Code::kTooLarge);
}

TEST(ManifestTest, LabelsComeFromAFileInTheModelsFolder) {
  TestFolder folder;
  folder.Write("names.txt", "cat\r\ndog  \n\nbird\n\n\n");
  folder.Write("latin.txt", "caf\xe9");
  ModelConfig base = Base();
  base.folder = folder.path();
  const auto parse = [&](const std::string& file) {
    return ParseManifest("outputs: [{name: y, labels: " + file + "}]", "m.yaml", base);
  };
  EXPECT_THAT(parse("names.txt")->config.outputs[0].labels, ElementsAre("cat", "dog", "", "bird"));
  EXPECT_THAT(parse("latin.txt").status().message(), HasSubstr("is not UTF-8"));
  EXPECT_THAT(parse("../names.txt").status().message(),
              HasSubstr("outputs[0].labels: path '../names.txt' has '..'"));
  EXPECT_THAT(parse("/etc/passwd").status().message(), HasSubstr("absolute"));
  EXPECT_THAT(parse("none.txt").status().message(), HasSubstr("does not exist"));
}

TEST(ManifestTest, TensorsMergeWithWhatTheBaseSays) {
  ModelConfig base = Base();
  TensorOverride ids;
  ids.name = "ids";
  ids.dtype = DataType::kInt64;
  base.inputs = {ids};
  const Result<Manifest> m =
      ParseManifest("inputs: [{name: ids, range: [0, 5]}, {name: more}]", "m.yaml", base);
  ASSERT_TRUE(m.ok());
  ASSERT_EQ(m->config.inputs.size(), 2u);
  EXPECT_EQ(m->config.inputs[0].dtype, DataType::kInt64);
  EXPECT_EQ(m->config.inputs[0].range->hi, 5);
}

}  // namespace
}  // namespace evenkeel
