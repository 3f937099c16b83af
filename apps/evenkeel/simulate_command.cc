// `evenkeel simulate`: what a batching policy would do with a load, in virtual time.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "api.h"
#include "batching/policy/node_policy.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "figures.h"
#include "output.h"
#include "sim/goodput.h"
#include "sim/report.h"
#include "sim/report_page.h"
#include "sim/simulation.h"
#include "sim/smdp.h"
#include "simulate_cluster.h"
#include "simulate_options.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel simulate --models tables.json --arrivals ctr=poisson:5000 --arrivals "
    "textcnn=poisson:800\n"
    "  evenkeel simulate --models tables.json --arrivals ctr=gamma:5000,cv=4 --policy fixed "
    "--delay "
    "ctr=2ms\n"
    "  evenkeel simulate --models tables.json --arrivals a@ctr=poisson:4000 --arrivals "
    "b@ctr=poisson:4000 --goodput\n"
    "  evenkeel simulate --models ctr.json --arrivals ctr=poisson:9000 --class ctr=auto --device "
    "16c/4GiB\n"
    "  evenkeel simulate --cluster cluster.json --rules utility,weighted --html report.html";

constexpr int kPlotBins = 240;

struct SimulateOptions {
  Format format = Format::kTable;
  ClusterFlags cluster;
  SimulateFlags mix;
  std::string policy = "auto";
  double seconds = 30, warm_up = 2, factor = 1, overhead_us = 0, front_us = 0;
  std::optional<double> price;
  int cores = 2;
  uint64_t seed = 1;
  bool deadlines = false, save_power = false, goodput = false;
  std::string html;     // file; empty: no page
  std::string batches;  // file; empty: they are not listed
};

sim::SimOptions OptionsOf(const SimulateOptions& o) {
  const auto seconds = [](double s) { return Duration(static_cast<int64_t>(s * 1e9)); };
  sim::SimOptions options;
  options.cores = o.cores;
  options.length = seconds(o.seconds);
  options.warm_up = seconds(o.warm_up);
  options.seed = o.seed;
  options.factor = o.factor;
  options.deadlines = o.deadlines;
  options.save_power = o.save_power;
  options.overhead = seconds(o.overhead_us * 1e-6);
  options.front = seconds(o.front_us * 1e-6);
  return options;
}

Listing TableOf(const Json& document) {
  Listing listing;
  listing.columns = {{"MODEL"},         {"RATE", true},       {"GOODPUT", true},
                     {"WITHIN", true},  {"P50", true},        {"P99", true},
                     {"BATCH", true},   {"CORE/ROW", true},   {"SHED", true},
                     {"EXPIRED", true}, {"KNEE", true, true}, {"TARGET", true, true}};
  const double seconds = document["measured_s"].get<double>();
  for (const Json& m : document["models"]) {
    const std::string name = m["name"];
    const Json& requests = m["requests"];
    listing.rows.push_back(
        {name, fmt::format("{:.0f}/s", requests["arrived"].get<double>() / seconds),
         fmt::format("{:.0f}/s", m["goodput"]["rps"].get<double>()),
         fmt::format("{:.2f} %", m["goodput"]["share"].get<double>() * 100),
         HumanMilliseconds(m["latency_ms"]["p50"].get<double>()),
         HumanMilliseconds(m["latency_ms"]["p99"].get<double>()),
         fmt::format("{:.1f}", m["batches"]["mean_rows"].get<double>()),
         fmt::format("{:.0f} µs", m["core_us_per_row"].get<double>()), requests["shed"].dump(),
         requests["expired"].dump(), m["window"]["knee"].dump(), m["window"]["target"].dump()});
    listing.names.push_back(name);
  }
  return listing;
}

// `smdp` is made for one model and its rate; the others are made by name.
std::unique_ptr<policy::NodePolicy> MakePolicy(const SimulateOptions& o,
                                               const std::vector<sim::SimModel>& models,
                                               double factor) {
  if (o.policy == "smdp") {
    const sim::SimModel& model = models.front();
    return sim::MakeSmdp(sim::SolveSmdp({&model.service.curve(), model.max_batch, model.threads,
                                         model.arrivals->mean_rate_rps() * factor, model.objective,
                                         o.price.value_or(0)}));
  }
  auto made = policy::MakeNodePolicy(o.policy,
                                     {.ratio_threshold = o.mix.ratio_threshold, .price = o.price});
  return std::move(*made);
}

void CheckOptions(const SimulateOptions& o, const std::vector<sim::SimModel>& models) {
  if (o.warm_up >= o.seconds) Fail(kExitUsage, "--warm-up: expected less than --seconds");
  if (o.price && o.policy != "auto" && o.policy != "smdp")
    Fail(kExitUsage, "--price: expected --policy auto or smdp, the others know no price");
  if (o.policy == "smdp") {
    if (models.size() != 1 || models.front().instances != 1 || models.front().rows != 1 ||
        models.front().device != DeviceClass::kCpu)
      Fail(kExitUsage,
           "--policy smdp: expected one model of class cpu, with one instance and one row a "
           "request");
    if (o.goodput) Fail(kExitUsage, "--policy smdp: its cost is no goodput, so none is searched");
    return;
  }
  const auto known = policy::MakeNodePolicy(o.policy);
  if (!known.ok()) Fail(kExitUsage, "--policy: " + known.status().message());
}

void WritePage(const SimulateOptions& o, const sim::SimReport& report) {
  std::ofstream file(o.html);
  file << sim::ReportPage(report, o.seconds, o.cores);
  file.close();
  if (!file) Fail(kExitFailed, "cannot write '" + o.html + "'");
}

void WriteBatches(const SimulateOptions& o, const sim::SimReport& report) {
  std::ofstream file(o.batches);
  file << "at_ns,model,rows,reason\n";
  for (const sim::SimBatch& batch : report.batches) {
    const auto& model = report.models[static_cast<size_t>(batch.model)];
    file << fmt::format("{},{},{},{}\n", batch.at.time_since_epoch().count(), model.name,
                        batch.rows, NameOf(batch.reason));
  }
  file.close();
  if (!file) Fail(kExitFailed, "cannot write '" + o.batches + "'");
}

void SimulateCluster(const SimulateOptions& o) {
  if (!o.mix.tables.empty() || !o.mix.arrivals.empty())
    Fail(kExitUsage, "--cluster: its file says what arrives; expected no --models and --arrivals");
  ClusterFlags flags = o.cluster;
  flags.format = o.format;
  flags.seconds = o.seconds;
  flags.warm_up = o.warm_up;
  flags.factor = o.factor;
  flags.seed = o.seed;
  flags.html = o.html;
  if (flags.warm_up >= flags.seconds) Fail(kExitUsage, "--warm-up: expected less than --seconds");
  SimulateClusterAndPrint(flags);
}

void Simulate(const SimulateOptions& o) {
  if (!o.cluster.file.empty()) return SimulateCluster(o);
  if (o.mix.tables.empty()) Fail(kExitUsage, "--models is required (or --cluster)");
  if (o.mix.arrivals.empty()) Fail(kExitUsage, "--arrivals is required");
  SimulateFlags flags = o.mix;
  flags.policy = o.policy;
  const auto models = ParseMix(flags);
  if (!models.ok()) Fail(kExitUsage, models.status().message());
  CheckOptions(o, *models);
  sim::SimOptions options = OptionsOf(o);
  double factor = o.factor;
  if (o.goodput) {
    const auto fresh = [&] { return MakePolicy(o, *models, 1); };
    const sim::GoodputResult found = sim::FindGoodput(*models, fresh, options);
    if (found.factor == 0) Fail(kExitFailed, "at no factor does every model keep its objective");
    factor = options.factor = found.factor;
    std::fprintf(stderr, "factor %.4g, found in %d runs\n", found.factor, found.runs);
  }
  if (!o.html.empty()) options.plot_bins = kPlotBins;
  options.list_batches = !o.batches.empty();
  const auto policy = MakePolicy(o, *models, factor);
  const sim::SimReport report = sim::Simulate(*models, *policy, options);
  Json document = sim::ToJson(report);
  document["factor"] = factor;
  if (!o.html.empty()) WritePage(o, report);
  if (!o.batches.empty()) WriteBatches(o, report);
  Print(o.format, TableOf(document), document);
}

}  // namespace

void RegisterSimulate(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "simulate",
      "Play arrivals against load tables in virtual time, with the server's own policies");
  verb->footer(kExamples);
  auto o = std::make_shared<SimulateOptions>();
  verb->add_option("--models", o->mix.tables, "load tables (JSON, may be gzip)")
      ->allow_extra_args(false);
  verb->add_option("--arrivals", o->mix.arrivals,
                   "NAME[@TABLE]=KIND:...: poisson:RATE, constant:RATE, gamma:RATE,cv=CV, "
                   "steps:RATE@SECONDS/..., trace:FILE, counts:FILE,bin=DURATION, clients:FILE; "
                   "files take rate=RATE or speed=FACTOR")
      ->allow_extra_args(false);
  verb->add_option(
      "--cluster", o->cluster.file,
      "instead: requests over the unequal nodes of this scenario, or a model that is cut over "
      "them (docs/operations.md)");
  verb->add_option("--rules", o->cluster.rules,
                   "of routing, with --cluster: utility,method,least-loaded,two-choices,weighted,"
                   "random [all]")
      ->delimiter(',');
  verb->add_option("--policy", o->policy,
                   fmt::format("{}, smdp [auto]", fmt::join(policy::NodePolicyNames(), ", ")));
  verb->add_option("--cores", o->cores, "that batches share [2]")->check(CLI::Range(1, 4096));
  verb->add_option("--seconds", o->seconds, "of arrivals [30]")->check(CLI::Range(0.01, 1e6));
  verb->add_option("--warm-up,--warmup", o->warm_up,
                   "seconds at the start that are not counted [2]")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_option("--seed", o->seed, "of arrivals and service times [1]");
  verb->add_option("--factor", o->factor, "multiplies every rate [1]")
      ->check(CLI::Range(1e-6, 1e6));
  verb->add_option("--objective", o->mix.objectives,
                   "NAME=DURATION: p99 asked for [the table's, else 50ms]")
      ->allow_extra_args(false);
  verb->add_option("--threads", o->mix.threads, "NAME=N: of an instance [1]")
      ->allow_extra_args(false);
  verb->add_option("--instances", o->mix.instances, "NAME=N [1]")->allow_extra_args(false);
  verb->add_option("--rows", o->mix.rows, "NAME=N: rows a request [1]")->allow_extra_args(false);
  verb->add_option("--max-batch", o->mix.max_batch, "NAME=N [the table's largest, at most 64]")
      ->allow_extra_args(false);
  verb->add_option("--delay", o->mix.delays, "NAME=DURATION: policy fixed [0s]")
      ->allow_extra_args(false);
  verb->add_option("--preferred", o->mix.preferred, "NAME=ROWS: policy fixed closes at it")
      ->allow_extra_args(false);
  verb->add_option("--class", o->mix.classes,
                   "NAME=cpu|gpu|auto: where its batches run [what its table has; both: auto]")
      ->allow_extra_args(false);
  verb->add_option("--gpu", o->mix.gpu_shapes,
                   "NAME=CORESc/MEMORY: of an instance on the accelerator [chosen from the table]")
      ->allow_extra_args(false);
  verb->add_option("--gpu-instances", o->mix.gpu_instances, "NAME=N, on the accelerator [1]")
      ->allow_extra_args(false);
  verb->add_option("--device", o->mix.device,
                   "CORESc/MEMORY of the accelerator, which the instances share [as large as need "
                   "be]");
  verb->add_option(
          "--price", o->price,
          "of a core-second, in objectives; policy smdp [0], or auto [what the load gives]")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_option(
          "--ratio-threshold", o->mix.ratio_threshold,
          "policy method: Batchtime / NoBatchtime at which batching counts as worth it [0.8]")
      ->check(CLI::Range(1e-6, 1.0));
  verb->add_option("--batches", o->batches, "also write every batch to this file: CSV, as started");
  verb->add_option("--overhead-us", o->overhead_us,
                   "microseconds that a batch holds its cores for beyond its service time [0]")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_option("--front-us", o->front_us,
                   "microseconds that a client waits beside queue and batch [0]")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_option("--html", o->html, "also write a page with plots to this file");
  verb->add_flag("--deadlines", o->deadlines, "every request has its objective as deadline");
  verb->add_flag("--save-power", o->save_power, "power: save");
  verb->add_flag("--goodput", o->goodput,
                 "find the largest factor at which every model gets 99 % within its objective");
  AddOutputFlag(*verb, &o->format);
  verb->callback([o] { Simulate(*o); });
}

}  // namespace evenkeel
