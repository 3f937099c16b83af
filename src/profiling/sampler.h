// Keeps a uniform random sample of the input rows that live requests bring, per model and input
// signature (A1).
//
// Use for: what the profiler measures with, `evenkeel samples`. Not for: LLM prompts (lengths only,
//   not built here).
// Contract: Offer() never blocks on the disk and copies a row only if it was chosen; one that is
//   not chosen costs one atomic operation for the whole request. Of the rows offered so far under
//   one signature, every subset of the kept size is equally likely; rows that arrive while another
//   is being chosen are counted too. Where a bound on bytes (rather than on rows) evicts, the
//   evicted row is drawn at random; BYTES rows of very different sizes are then kept slightly less
//   often the larger they are. With SampleMode::kDisk rows are written to `folder` at most once per
//   flush interval and at destruction, and are there again after a restart, the number of rows seen
//   and the threshold included, so the sample stays uniform. A file that cannot be read is set
//   aside (*.bad) with a warning. A disk that cannot be written to costs one warning; sampling goes
//   on in memory.
// Units: sizes in bytes, times in Unix seconds. A signature is "x:FP32[64] ids:INT64[32]": inputs
//   in the model's order, shapes without the batch axis.
// Thread-safety: thread-safe.
// Source: J. S. Vitter, Random sampling with a reservoir, ACM TOMS 11 (1985), algorithm R's
//   distribution; skips as in K.-H. Li, Reservoir-sampling algorithms of time complexity
//   O(n(1+log(N/n))), ACM TOMS 20 (1994), algorithm L. Differs: see reservoir.h
//   (rows may also leave for age or bytes, and their places are filled again).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/model_config.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct SamplerOptions {
  // Absolute; files are folder/MODEL/HASH.safetensors. Empty: nothing goes to disk.
  std::string folder;
  int64_t max_rows = 128;  // a signature; >= 1
  // Kept of a model; each of its signatures may use 1/kMaxSignatures of it.
  size_t max_bytes = size_t{64} << 20;
  int64_t max_age_s = 0;                            // rows older than this are dropped; 0: never
  Duration flush_every = std::chrono::seconds(10);  // least time between two writes of the files
  uint64_t seed = 0;                                // 0: from the system's random source
  std::function<int64_t()> unix_seconds;            // wall clock; null: the system's
};

inline constexpr int kMaxSignatures = 8;  // a model; further ones are not sampled

// The inputs of one row, in the model's order. Immutable once it can be seen.
struct SampleRow {
  int64_t arrived_s = 0;  // Unix seconds
  std::vector<std::vector<std::byte>>
      inputs;  // dense bytes, or BYTES elements in the protocol's form
};

// What is kept of one signature.
struct SampleSet {
  std::string model;
  std::string signature;
  std::vector<TensorSpec> inputs;  // shapes of one row (without the batch axis), no dynamic axis
  bool batched = false;            // rows are slices of a batch axis
  uint64_t seen = 0;               // rows offered
  uint64_t bytes = 0;              // kept
  double threshold = 1.0;          // share of rows that enter now, in (0, 1]
  std::vector<std::shared_ptr<const SampleRow>> rows;
};

// One model's door to the sampler, held by the served model: Offer() needs no look-up by name.
class SampleStream {
 public:
  virtual ~SampleStream() = default;
  // `inputs`: the complete inputs of one request (spec indexes the signature given to Open()),
  // `rows` >= 1 rows each. Malformed views (sizes that do not follow from dtype and shape) are
  // ignored when chosen. The bytes are read before this returns, never after.
  virtual void Offer(std::span<const TensorView> inputs, int64_t rows) = 0;
};

class Sampler {
 public:
  // Loads what `options.folder` holds. Never fails: see the contract.
  static std::unique_ptr<Sampler> Create(SamplerOptions options);
  virtual ~Sampler() =
      default;  // writes what is unwritten; streams may outlive it and then keep nothing

  // The stream of `model`, which takes inputs of `signature`. Versions of a model share their
  // samples. kOff gives a stream that keeps nothing; a model once opened with kDisk and now without
  // leaves its file where it is (Remove() deletes it).
  virtual std::shared_ptr<SampleStream> Open(const std::string& model, const Signature& signature,
                                             SampleMode mode) = 0;

  // What is kept, most seen first. `model` "": all models.
  virtual std::vector<SampleSet> Snapshot(const std::string& model) const = 0;
  // The kept rows of `model` as one safetensors file. Tensors bear the inputs' names; where the
  // model has several signatures, "0/x", "1/x" ... with the signatures in the metadata. Error
  // kNotFound without samples.
  virtual Result<std::string> Export(const std::string& model) const = 0;
  // Forgets the rows of `model` ("": of all), in memory and on disk, and starts counting again.
  // Errors: kNotFound (no such samples), kInternal (a file stays).
  virtual Status Remove(const std::string& model) = 0;
  // Drops rows that are too old and writes the samples and counts of every model that goes to disk
  // now. At shutdown where the destructor will not run, and in tests.
  virtual void Flush() = 0;
};

}  // namespace evenkeel
