#include "profiling/sampler.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "profiling/sample_file.h"
#include "profiling/sample_set.h"
#include "profiling/sample_store.h"

namespace evenkeel {
namespace {

uint64_t Mix(uint64_t x) {  // a bijection that spreads every bit (splitmix64's finisher)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Of the inputs' types and row shapes, whatever order they come in. Never 0.
uint64_t HashOf(std::span<const TensorView> inputs, bool batched) {
  uint64_t sum = 0;
  for (const TensorView& view : inputs) {
    uint64_t one = Mix(uint64_t{view.spec} * 256 + static_cast<uint64_t>(view.dtype) + 1);
    for (int i = batched ? 1 : 0; i < view.shape.rank(); ++i)
      one = Mix(one + static_cast<uint64_t>(view.shape[i]) + 1);
    sum += one;
  }
  return sum | 1;
}

// The sets of one model, shared by its versions' streams and the sampler.
struct ModelSamples {
  std::string model;
  std::mutex mutex;
  // Guarded by mutex:
  std::map<std::string, std::shared_ptr<LiveSampleSet>> sets;  // by signature; only ever added to
  std::atomic<bool> to_disk{false};
};

struct Shared {
  SampleLimits limits;
  uint64_t seed = 0;
  std::atomic<uint64_t> sets_made{0};
  std::function<int64_t()> now_s;

  std::shared_ptr<LiveSampleSet> MakeSet(std::vector<TensorSpec> inputs, bool batched) {
    const uint64_t own = Mix(seed + sets_made.fetch_add(1, std::memory_order_relaxed));
    return std::make_shared<LiveSampleSet>(std::move(inputs), batched, limits, own);
  }
};

class NullStream final : public SampleStream {
 public:
  void Offer(std::span<const TensorView>, int64_t) override {}
};

class LiveStream final : public SampleStream {
 public:
  LiveStream(std::shared_ptr<Shared> shared, std::shared_ptr<ModelSamples> model,
             const Signature& signature)
      : shared_(std::move(shared)), model_(std::move(model)), signature_(signature) {}

  void Offer(std::span<const TensorView> inputs, int64_t rows) override {
    LiveSampleSet* set = FindSet(inputs);
    if (set == nullptr) return;
    const bool ordered = std::ranges::is_sorted(inputs, {}, &TensorView::spec);
    if (ordered) {
      set->Offer(inputs, rows, shared_->now_s);
      return;
    }
    std::vector<TensorView> sorted(inputs.begin(), inputs.end());
    std::ranges::sort(sorted, {}, &TensorView::spec);
    set->Offer(sorted, rows, shared_->now_s);
  }

 private:
  // A set that this stream has met. `hash` is published last (release).
  struct Known {
    std::atomic<uint64_t> hash{0};
    std::shared_ptr<LiveSampleSet> set;
  };

  LiveSampleSet* FindSet(std::span<const TensorView> inputs) {
    const uint64_t hash = HashOf(inputs, signature_.batched);
    for (Known& known : known_) {
      const uint64_t found = known.hash.load(std::memory_order_acquire);
      if (found == hash) return known.set.get();
      if (found == 0) return AddSet(inputs, hash);
    }
    return nullptr;
  }

  LiveSampleSet* AddSet(std::span<const TensorView> inputs, uint64_t hash) {
    std::vector<TensorSpec> specs(signature_.inputs.size());
    if (inputs.size() != specs.size()) return nullptr;
    for (const TensorView& view : inputs) {
      if (view.spec >= specs.size() || (signature_.batched && view.shape.rank() < 1))
        return nullptr;
      TensorSpec& spec = specs[view.spec];
      spec.name = signature_.inputs[view.spec].name;
      spec.dtype = view.dtype;
      spec.shape = signature_.batched ? view.shape.Tail() : view.shape;
    }
    const std::lock_guard lock(model_->mutex);
    const std::string text = SignatureText(specs);
    for (Known& known : known_) {
      const uint64_t found = known.hash.load(std::memory_order_relaxed);
      if (found == hash) return known.set.get();
      if (found != 0) continue;
      const auto kept = model_->sets.find(text);
      if (kept != model_->sets.end()) {
        known.set = kept->second;
      } else if (model_->sets.size() < kMaxSignatures) {
        known.set = shared_->MakeSet(std::move(specs), signature_.batched);
        model_->sets.emplace(text, known.set);
      }  // else it stays null: remembered as one signature too many
      known.hash.store(hash, std::memory_order_release);
      return known.set.get();
    }
    return nullptr;
  }

  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<ModelSamples> model_;
  const Signature signature_;
  std::array<Known, kMaxSignatures> known_;
};

int64_t SystemSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class ReservoirSampler final : public Sampler {
 public:
  explicit ReservoirSampler(SamplerOptions options)
      : options_(std::move(options)), store_(options_.folder) {
    shared_->limits.max_rows = options_.max_rows;
    shared_->limits.max_bytes = options_.max_bytes / kMaxSignatures;
    shared_->seed = options_.seed != 0
                        ? options_.seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}());
    shared_->now_s = options_.unix_seconds ? options_.unix_seconds : SystemSeconds;
    if (!options_.folder.empty()) LoadAll();
    if (!options_.folder.empty() || options_.max_age_s > 0) {
      thread_ = std::thread([this] { Loop(); });
    }
  }

  ~ReservoirSampler() override {
    {
      const std::lock_guard lock(stop_mutex_);
      stop_ = true;
    }
    stopping_.notify_all();
    if (thread_.joinable()) thread_.join();
    Flush();
  }

  std::shared_ptr<SampleStream> Open(const std::string& model, const Signature& signature,
                                     SampleMode mode) override {
    if (mode == SampleMode::kOff) return std::make_shared<NullStream>();
    const auto samples = ModelOf(model);
    samples->to_disk = mode == SampleMode::kDisk && !options_.folder.empty();
    return std::make_shared<LiveStream>(shared_, samples, signature);
  }

  std::vector<SampleSet> Snapshot(const std::string& name) const override {
    std::vector<SampleSet> all;
    for (const auto& model : Models(name)) {
      for (const auto& live : SetsOf(*model)) {
        SampleSet set = live->Snapshot();
        set.model = model->model;
        if (set.seen > 0) all.push_back(std::move(set));
      }
    }
    std::ranges::stable_sort(all, std::greater<>(), &SampleSet::seen);
    return all;
  }

  Result<std::string> Export(const std::string& model) const override {
    std::vector<SampleSet> sets = Snapshot(model);
    std::erase_if(sets, [](const SampleSet& set) { return set.rows.empty(); });
    if (sets.empty() || model.empty()) return NotFound("no samples of model '{}' are kept", model);
    return EncodeSamples(sets);
  }

  Status Remove(const std::string& name) override {
    const std::lock_guard lock(disk_mutex_);  // a flush must not write back what goes
    const auto models = Models(name);
    if (models.empty() && !name.empty()) return NotFound("no samples of model '{}' are kept", name);
    Status worst;
    for (const auto& model : models) {
      for (const auto& set : SetsOf(*model)) {
        set->Clear();
        (void)set->TakeChanged();
      }
      if (options_.folder.empty()) continue;
      if (Status status = store_.Remove(model->model); !status.ok()) worst = std::move(status);
    }
    return worst;
  }

  void Flush() override {
    for (const auto& model : Models("")) {
      // The counts changed, if nothing else did.
      for (const auto& set : SetsOf(*model)) set->MarkChanged();
    }
    WriteChanged();
  }

 private:
  void WriteChanged() {
    const std::lock_guard lock(disk_mutex_);
    const int64_t oldest = shared_->now_s() - options_.max_age_s;
    const bool has_ages = options_.max_age_s > 0 && !options_.folder.empty();
    for (const auto& model : Models("")) {
      for (const auto& set : SetsOf(*model)) {
        if (options_.max_age_s > 0) set->DropBefore(oldest);
        if (model->to_disk && set->TakeChanged()) WriteSet(*model, *set);
      }
      // A file that an earlier run left, of a model that is not written to disk any more.
      if (has_ages && !model->to_disk) store_.RemoveOlder(model->model, oldest);
    }
  }

  std::shared_ptr<ModelSamples> ModelOf(const std::string& name) {
    const std::lock_guard lock(models_mutex_);
    auto& model = models_[name];
    if (model == nullptr) {
      model = std::make_shared<ModelSamples>();
      model->model = name;
    }
    return model;
  }

  std::vector<std::shared_ptr<ModelSamples>> Models(const std::string& name) const {
    const std::lock_guard lock(models_mutex_);
    std::vector<std::shared_ptr<ModelSamples>> some;
    for (const auto& [key, model] : models_) {
      if (name.empty() || key == name) some.push_back(model);
    }
    return some;
  }

  static std::vector<std::shared_ptr<LiveSampleSet>> SetsOf(ModelSamples& model) {
    const std::lock_guard lock(model.mutex);
    std::vector<std::shared_ptr<LiveSampleSet>> sets;
    for (const auto& [text, set] : model.sets) sets.push_back(set);
    return sets;
  }

  void LoadAll() {
    for (SampleSet& kept : store_.Load()) {
      const auto model = ModelOf(kept.model);
      const std::lock_guard lock(model->mutex);
      if (model->sets.size() >= kMaxSignatures) continue;
      auto set = shared_->MakeSet(kept.inputs, kept.batched);
      set->Restore(kept);
      model->sets.emplace(kept.signature, std::move(set));
    }
  }

  void WriteSet(const ModelSamples& model, LiveSampleSet& live) {
    SampleSet set = live.Snapshot();
    set.model = model.model;
    const Status status =
        set.rows.empty() ? store_.Remove(set.model, set.signature) : store_.Write(set);
    if (status.ok()) {
      disk_failed_ = false;
      return;
    }
    live.MarkChanged();
    if (!std::exchange(disk_failed_, true)) {
      LogWarning("samples: {}; sampling goes on in memory", status.message());
    }
  }

  void Loop() {
    std::unique_lock lock(stop_mutex_);
    while (!stopping_.wait_for(lock, options_.flush_every, [this] { return stop_; })) {
      lock.unlock();
      WriteChanged();
      lock.lock();
    }
  }

  const SamplerOptions options_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();

  mutable std::mutex models_mutex_;
  std::map<std::string, std::shared_ptr<ModelSamples>> models_;  // guarded by models_mutex_

  std::mutex disk_mutex_;  // one writer of files at a time
  SampleStore store_;      // guarded by disk_mutex_
  bool disk_failed_ =
      false;  // guarded by disk_mutex_; a warning was given and nothing has been written since

  std::mutex stop_mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;  // guarded by stop_mutex_
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Sampler> Sampler::Create(SamplerOptions options) {
  return std::make_unique<ReservoirSampler>(std::move(options));
}

}  // namespace evenkeel
