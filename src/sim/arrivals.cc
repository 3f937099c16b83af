#include "sim/arrivals.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "core/format.h"
#include "sim/arrival_files.h"
#include "sim/arrival_spec.h"
#include "sim/random.h"

namespace evenkeel::sim {
namespace {

// Beyond 292 years nothing is played.
Time At(double seconds) {
  constexpr double kMostNs = 9.2e18;
  return Time(Duration(static_cast<int64_t>(std::min(seconds * 1e9, kMostNs))));
}

// Renewal process; `cv` 0: evenly spaced, 1: Poisson.
class Renewal final : public Arrivals {
 public:
  Renewal(double rate_rps, double cv, uint64_t seed)
      : gap_s_(1 / rate_rps), shape_(cv > 0 ? 1 / (cv * cv) : 0), random_(seed) {
    if (shape_ == 0)
      at_s_ = -gap_s_ * random_.Uniform();  // streams of one rate do not fall together
  }
  std::optional<Time> Next() override {
    const double gap = shape_ == 0   ? 1
                       : shape_ == 1 ? random_.Exponential()
                                     : random_.Gamma(shape_) / shape_;
    return At(at_s_ += gap * gap_s_);
  }

 private:
  double gap_s_, shape_;
  Random random_;
  double at_s_ = 0;
};

class RenewalProcess final : public ArrivalProcess {
 public:
  RenewalProcess(double rate_rps, double cv) : rate_rps_(rate_rps), cv_(cv) {}
  std::unique_ptr<Arrivals> Play(double factor, uint64_t seed) const override {
    return std::make_unique<Renewal>(rate_rps_ * factor, cv_, seed);
  }
  double mean_rate_rps() const override { return rate_rps_; }

 private:
  double rate_rps_, cv_;
};

// Poisson whose rate is constant within each span; spans of no rate are silent. Ends with them, or repeats.
class Spans final : public Arrivals {
 public:
  Spans(std::shared_ptr<const std::vector<RateSpan>> spans, double factor, bool repeat,
        uint64_t seed)
      : spans_(std::move(spans)), factor_(factor), repeat_(repeat), random_(seed) {}
  std::optional<Time> Next() override {
    // One exponential of work is used up at the rate of whatever span time is in: exact for a changing rate.
    for (double work = random_.Exponential();;) {
      if (index_ == spans_->size()) {
        if (!repeat_) return std::nullopt;
        index_ = 0;
      }
      const RateSpan& span = (*spans_)[index_];
      const double rate = span.rate_rps * factor_;
      const double left = (span.seconds - inside_s_) * rate;
      if (rate > 0 && work < left) {
        inside_s_ += work / rate;
        return At(start_s_ + inside_s_);
      }
      work -= std::max(0.0, left);
      start_s_ += span.seconds;
      inside_s_ = 0;
      ++index_;
    }
  }

 private:
  std::shared_ptr<const std::vector<RateSpan>> spans_;
  double factor_;
  bool repeat_;
  Random random_;
  size_t index_ = 0;
  double start_s_ = 0, inside_s_ = 0;
};

class SpanProcess final : public ArrivalProcess {
 public:
  SpanProcess(std::vector<RateSpan> spans, double rate_scale, bool repeat)
      : spans_(std::make_shared<const std::vector<RateSpan>>(std::move(spans))),
        scale_(rate_scale),
        repeat_(repeat) {}
  std::unique_ptr<Arrivals> Play(double factor, uint64_t seed) const override {
    return std::make_unique<Spans>(spans_, factor * scale_, repeat_, seed);
  }
  double mean_rate_rps() const override { return MeanRate(*spans_) * scale_; }
  Duration length() const override {
    double seconds = 0;
    for (const RateSpan& span : *spans_) seconds += span.seconds;
    return repeat_ ? Duration{} : At(seconds).time_since_epoch();
  }

 private:
  std::shared_ptr<const std::vector<RateSpan>> spans_;
  double scale_;
  bool repeat_;
};

class Times final : public Arrivals {
 public:
  Times(std::shared_ptr<const std::vector<double>> times, double speed)
      : times_(std::move(times)), speed_(speed) {}
  std::optional<Time> Next() override {
    if (next_ == times_->size()) return std::nullopt;
    return At((*times_)[next_++] / speed_);
  }

 private:
  std::shared_ptr<const std::vector<double>> times_;
  double speed_;
  size_t next_ = 0;
};

class TimesProcess final : public ArrivalProcess {
 public:
  TimesProcess(std::vector<double> times, double speed)
      : times_(std::make_shared<const std::vector<double>>(std::move(times))), speed_(speed) {}
  std::unique_ptr<Arrivals> Play(double factor, uint64_t) const override {
    return std::make_unique<Times>(times_, speed_ * factor);
  }
  double mean_rate_rps() const override {
    const double seconds = times_->back() / speed_;
    return seconds > 0 ? static_cast<double>(times_->size()) / seconds : 0;
  }
  Duration length() const override { return At(times_->back() / speed_).time_since_epoch(); }

 private:
  std::shared_ptr<const std::vector<double>> times_;
  double speed_;
};

// The streams of several clients, put together in order.
class Merged final : public Arrivals {
 public:
  Merged(std::shared_ptr<const std::vector<ClientWindow>> windows, double factor, uint64_t seed)
      : windows_(std::move(windows)), factor_(factor), seed_(seed) {}
  std::optional<Time> Next() override {
    for (;;) {
      if (heads_.empty()) {
        if (next_ == windows_->size()) return std::nullopt;
        Open();
        continue;
      }
      std::ranges::pop_heap(heads_, Later);
      Head& head = heads_.back();
      const double at = head.at_s;
      head.at_s += Gap(head);
      if (head.at_s < head.end_s) {
        std::ranges::push_heap(heads_, Later);
      } else {
        heads_.pop_back();
      }
      return At(at);
    }
  }

 private:
  struct Head {
    double at_s, end_s, gap_s, shape;
    Random random;
  };
  static bool Later(const Head& a, const Head& b) { return a.at_s > b.at_s; }
  static double Gap(Head& head) {
    if (head.shape == 0) return head.gap_s;
    return head.random.Gamma(head.shape) / head.shape * head.gap_s;
  }
  // All clients of the next window.
  void Open() {
    const double start = (*windows_)[next_].start_s;
    for (; next_ < windows_->size() && (*windows_)[next_].start_s == start; ++next_) {
      const ClientWindow& w = (*windows_)[next_];
      const double gap = 1 / (w.rate_rps * factor_);
      Head head{start, start + w.seconds, gap, w.cv > 0 ? 1 / (w.cv * w.cv) : 0,
                Random(seed_, next_)};
      head.at_s += head.random.Uniform() * Gap(head);
      if (head.at_s < head.end_s) heads_.push_back(head);
    }
    std::ranges::make_heap(heads_, Later);
  }

  std::shared_ptr<const std::vector<ClientWindow>> windows_;
  double factor_;
  uint64_t seed_;
  size_t next_ = 0;
  std::vector<Head> heads_;
};

class ClientProcess final : public ArrivalProcess {
 public:
  ClientProcess(std::vector<ClientWindow> windows, double scale)
      : windows_(std::make_shared<const std::vector<ClientWindow>>(std::move(windows))),
        scale_(scale) {}
  std::unique_ptr<Arrivals> Play(double factor, uint64_t seed) const override {
    return std::make_unique<Merged>(windows_, factor * scale_, seed);
  }
  double mean_rate_rps() const override { return MeanRate(*windows_) * scale_; }
  Duration length() const override {
    const ClientWindow& last = windows_->back();
    return At(last.start_s + last.seconds).time_since_epoch();
  }

 private:
  std::shared_ptr<const std::vector<ClientWindow>> windows_;
  double scale_;
};

using Process = std::shared_ptr<const ArrivalProcess>;

Result<Process> RenewalOf(const ArrivalSpec& spec, double cv) {
  const auto rate = PositiveNumber(spec.argument);
  if (!rate.ok()) return rate.status().Annotate("rate");
  return Process(std::make_shared<RenewalProcess>(*rate, cv));
}

Result<Process> StepsOf(const ArrivalSpec& spec) {
  auto spans = ParseSteps(spec.argument);
  if (!spans.ok()) return spans.status();
  return Process(std::make_shared<SpanProcess>(std::move(*spans), 1, /*repeat=*/true));
}

Result<Process> FileOf(const ArrivalSpec& spec, const ReadFile& read) {
  const auto text = read(std::string(spec.argument));
  if (!text.ok()) return text.status();
  const double speed = spec.speed.value_or(1);
  if (spec.kind == "trace") {
    auto times = ParseTimes(*text, spec.argument);
    if (!times.ok()) return times.status();
    TimesProcess plain(*times, 1);
    if (spec.rate && plain.mean_rate_rps() <= 0)
      return InvalidArgument("{}: has no two different times, so it has no rate to scale",
                             spec.argument);
    const double faster = spec.rate ? *spec.rate / plain.mean_rate_rps() : speed;
    return Process(std::make_shared<TimesProcess>(std::move(*times), faster));
  }
  if (spec.kind == "counts") {
    if (!spec.bin) return InvalidArgument("counts: expected bin=DURATION");
    auto spans = ParseCounts(*text, spec.argument, Seconds(*spec.bin) / speed);
    if (!spans.ok()) return spans.status();
    const double scale = spec.rate ? *spec.rate / MeanRate(*spans) : 1;
    return Process(std::make_shared<SpanProcess>(std::move(*spans), scale, /*repeat=*/false));
  }
  auto windows = ParseClients(*text, spec.argument, speed);
  if (!windows.ok()) return windows.status();
  const double scale = spec.rate ? *spec.rate / MeanRate(*windows) : 1;
  return Process(std::make_shared<ClientProcess>(std::move(*windows), scale));
}

}  // namespace

Result<std::shared_ptr<const ArrivalProcess>> ParseArrivals(std::string_view text,
                                                            const ReadFile& read) {
  const auto spec = ParseArrivalSpec(text);
  if (!spec.ok()) return spec.status();
  if (spec->kind == "poisson") return RenewalOf(*spec, 1);
  if (spec->kind == "constant") return RenewalOf(*spec, 0);
  if (spec->kind == "gamma") return RenewalOf(*spec, spec->cv.value_or(1));
  if (spec->kind == "steps") return StepsOf(*spec);
  return FileOf(*spec, read);
}

}  // namespace evenkeel::sim
