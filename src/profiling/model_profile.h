// What `evenkeel profile` and the daemon's own profiling have in common: which cells a model is measured on, with which inputs, under which
// key its table is kept, and what can be read out of it.
//
// Use for: everything between "this model" and ContainerCells, SweepPlan, LoadTableStore. Not for: when to sweep (server/self_profile.h) or
//   printing.
// Thread-safety: thread-safe. Source: A4, A7.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "containers/runtime.h"
#include "core/model_config.h"
#include "core/status.h"
#include "core/tensor.h"
#include "profiling/cell_runner.h"
#include "profiling/load_table.h"
#include "profiling/machine.h"
#include "profiling/policy/select_precision.h"
#include "profiling/row_pool.h"
#include "profiling/sampler.h"

namespace evenkeel {

// What test batches were made of, as tables say it.
inline constexpr std::string_view kFromSamples = "samples";
inline constexpr std::string_view kFromSignature = "signature";

// Below the state folder.
inline constexpr std::string_view kLoadTablesFile = "load_tables.db";

// Cores and memory that workers of this rung can have. `worker_cpus`: what they are bound to; empty: nothing.
HostSize HostFor(Rung rung, const std::vector<int>& worker_cpus);

// The shapes to sweep: those that `text` lists ("1c/512MiB,2c/1GiB"); nullopt: what this host can hold and the rung can measure. Of the
// classes that the model may run on; `host` says what accelerator there is. Error kInvalidArgument.
Result<std::vector<CellShape>> ShapesToSweep(const std::optional<std::string>& text, Rung rung,
                                             const HostSize& host,
                                             DeviceClass device = DeviceClass::kCpu);

// The same for one of several models that share the list: shapes of a class that this model does not use are another's, and where the list
// has none of a class that it uses, that class is swept as without a list. An accelerator that `host` lacks is passed over, unless the
// model runs nowhere else.
Result<std::vector<CellShape>> ShapesOfClasses(const std::optional<std::string>& text, Rung rung,
                                               const HostSize& host, DeviceClass device);

// The accelerator beside the processor as tables name it: an emulated one, else the engine's name of it.
std::string TableDevice(const std::optional<EmulatedGpu>& emulated, std::string_view gpu_device);

// The batch sizes to sweep: those that `text` lists ("1,8,64"); nullopt: 1, 2, 4 ... up to the model's largest. `most`: rows that fit
// into a worker's buffer. Error kInvalidArgument.
Result<std::vector<int>> BatchesToSweep(const std::optional<std::string>& text,
                                        const Signature& signature, int most);

// f32 first. bf16 beside it where the manifest leaves the choice and the processor has it.
std::vector<Precision> PrecisionsToSweep(const ModelConfig& model, const Machine& machine);

// The key of a model's table on a worker of `rung`, with `device` ("CPU", or the accelerator beside it: rows of different devices are never
// mixed); `engine`: what the worker said of itself (JSON). Reads the model's files. Errors:
// kNotFound, kUnavailable.
Result<TableKey> TableKeyOf(const ModelConfig& model, const HostSize& host, Rung rung,
                            const std::string& engine, std::string_view device = "CPU");

// How cells of `model` are measured, with compiled models kept below `cache` (made when missing; empty: nowhere).
CellRunnerOptions CellsOf(const ModelConfig& model, const std::string& libexec,
                          const std::string& cache);

// Rows for test batches from what the sampler keeps; nullopt: nothing that fits the signature (with lines in `warnings`), or fewer than
// `least` rows.
std::optional<RowPool> RowsFromSampler(std::span<const SampleSet> sets, const Signature& signature,
                                       size_t least, std::vector<std::string>* warnings);
// Rows made up from the signature. Error kTooLarge.
Result<RowPool> MadeUpRows(const Signature& signature);

// Whether rows that were measured with `kept` inputs stand in a sweep with `now`: sampled inputs are never given up for made-up ones.
bool InputsStand(std::string_view kept, std::string_view now);

// What the manifest and the table say of bf16.
PrecisionChoice PrecisionFor(const ModelConfig& model, const LoadRows& rows, bool sampled);

// Advice for a table in which no cell gave a figure; nullopt: one did, or there is no row.
std::optional<std::string> AdviceFor(const LoadRows& rows);

}  // namespace evenkeel
