// `evenkeel bench`: how fast a server answers, measured without being the limit.
#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "bench_options.h"
#include "bench_progress.h"
#include "client_key.h"
#include "commands.h"
#include "core/format.h"
#include "loadgen/prompts.h"
#include "loadgen/report.h"
#include "loadgen/run.h"
#include "output.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel bench digits --concurrency 8                       eight requests in flight, for "
    "10 s\n"
    "  evenkeel bench textcnn --rate 500 --objective 50ms          Poisson arrivals; goodput "
    "within 50 ms\n"
    "  evenkeel bench textcnn --protocol grpc --batch 4            the same over gRPC, four rows a "
    "request\n"
    "  evenkeel bench textcnn --arrivals trace t.csv.gz --scale 2  a recorded trace, twice as "
    "fast\n"
    "  evenkeel bench --model a:3 --model b:1 --stage rate=100,duration=5s --stage "
    "rate=300,duration=5s\n"
    "  evenkeel bench --raw body.bin --url http://127.0.0.1:8100/digits    any HTTP server\n"
    "  evenkeel bench smollm2 --llm --prompt-tokens 64 --output-tokens 64 -c 8    a language "
    "model, over any /v1 server";

constexpr int kExitInterrupted = 130;  // as shells have it; what was measured is printed

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

// The second Ctrl-C ends the program at once, with the default action.
void OnInterrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

void AddTargetFlags(CLI::App& bench, BenchFlags* f) {
  bench.add_option("model,--model,-m", f->models,
                   "model to ask, NAME or NAME:WEIGHT; several share the load by weight");
  bench.add_option("--url", f->url, "server [http://127.0.0.1:8000, gRPC 127.0.0.1:8001]")
      ->envname("EVENKEEL_BENCH_URL");
  bench
      .add_option("--ca-file", f->ca_file,
                  "certificates to trust when that is https:// or grpcs:// [the system's]")
      ->type_name("FILE");
  bench.add_option("--protocol", f->protocol, "http or grpc [http]")
      ->check(CLI::IsMember({"http", "grpc"}));
  bench.add_option("--model-version", f->version, "version to ask for [the newest]");
  bench.add_option("--raw", f->raw_file,
                   "POST this file to --url as it is (gRPC: a serialised message)");
  bench.add_option("--method", f->grpc_method,
                   "gRPC: full method name [/inference.GRPCInferenceService/ModelInfer]");
  AddKeyFlag(bench, &f->key_file);
  bench.add_option("--header,-H", f->headers, "HTTP: 'Name: value' to add to each request")
      ->allow_extra_args(false);
}

void AddLoadFlags(CLI::App& bench, BenchFlags* f) {
  bench.add_option("--concurrency,-c", f->concurrency, "closed loop: requests in flight [1]")
      ->check(CLI::Range(1, 100000));
  bench.add_option("--rate,-r", f->rate, "open loop: requests a second, whatever the server does");
  bench
      .add_option(
          "--arrivals", f->arrivals,
          "open loop: poisson, constant or trace FILE (CSV with t_s, may be gzip) [poisson]")
      ->expected(1, 2)
      ->type_name("KIND [FILE]");
  bench.add_option("--scale", f->scale, "open loop: this many times as fast");
  bench
      .add_option(
          "--stage", f->stages,
          "several loads one after the other: rate=100,duration=5s or concurrency=8,requests=1000")
      ->allow_extra_args(false);
  bench.add_option("--duration,-d", f->duration, "how long to measure [10s]");
  bench.add_option("--requests,-n", f->requests, "how many requests to measure instead")
      ->check(CLI::PositiveNumber);
  bench.add_option("--warm-up,--warmup", f->warm_up, "unmeasured start [1s]");
  bench
      .add_option("--max-in-flight", f->max_in_flight,
                  "open loop: at most this many requests in flight [4096]")
      ->check(CLI::Range(1, 1000000));
  bench.add_option("--timeout", f->timeout,
                   "a request without an answer for so long is unanswered [10s; --llm: 120s]");
  bench
      .add_option("--deadline", f->deadlines,
                  "deadline that each request tells the server: TIME, or NAME=TIME for one model")
      ->allow_extra_args(false);
  bench.add_option("--threads", f->threads, "threads of the generator [1]")
      ->check(CLI::Range(1, 256));
  bench.add_option("--connections", f->connections, "gRPC: connections a thread [1]")
      ->check(CLI::Range(1, 1024));
  bench.add_option("--seed", f->seed, "of arrivals and random inputs [1]");
}

void AddInputFlags(CLI::App& bench, BenchFlags* f) {
  bench.add_option(
      "--input,-i", f->input,
      "random, samples (of this server), FILE.json (requests) or FILE.safetensors (rows) [random]");
  bench.add_option("--batch,-b", f->batch, "rows a request [1]")->check(CLI::Range(1, 1 << 20));
  bench.add_option("--distinct", f->distinct, "different inputs [64], prompts [1024]")
      ->check(CLI::Range(1, 1000000));
  bench
      .add_option("--id-max", f->id_max,
                  "random integers are drawn from 0 to this [the model's range, else 99]")
      ->check(CLI::NonNegativeNumber);
  bench.add_option("--shape", f->shapes, "whole shape of an input with free axes: NAME:1,3,48,320")
      ->allow_extra_args(false);
  bench.add_option("--encoding", f->encoding, "HTTP: binary or json tensors [binary]")
      ->check(CLI::IsMember({"binary", "json"}));
  bench.add_flag("--check-stable", f->check_stable,
                 "compare each answer with what its input alone gave before the run");
  bench.add_option("--tolerance", f->tolerance, "of FP32 outputs under --check-stable [0.0001]")
      ->check(CLI::NonNegativeNumber);
}

// Those of prompts, and those of tensors, which exclude each other.
constexpr std::array kTextFlags = {"--api",         "--prompt-tokens", "--output-tokens",
                                   "--lengths",     "--context",       "--temperature",
                                   "--natural-end", "--first-token",   "--inter-token"};
constexpr std::array kTensorFlags = {
    "--raw",    "--protocol", "--method",   "--model-version", "--input",       "--batch",
    "--id-max", "--shape",    "--encoding", "--tolerance",     "--connections", "--check-stable"};

void AddTextFlags(CLI::App& bench, TextFlags* f) {
  bench.add_flag("--llm", f->on,
                 "measure a language model over /v1: time to the first token, between tokens, "
                 "tokens a second");
  bench.add_option("--api", f->api, "--llm: completions or chat [completions]")
      ->check(CLI::IsMember({"completions", "chat"}));
  bench.add_option("--prompt-tokens", f->prompt_tokens, "--llm: length of prompts, in words [64]")
      ->check(CLI::Range(1, loadgen::kMostPromptTokens));
  bench.add_option("--output-tokens", f->output_tokens, "--llm: length of answers [64]")
      ->check(CLI::Range(1, loadgen::kMostPromptTokens));
  bench.add_option("--lengths", f->lengths,
                   "--llm: lengths from this CSV instead (prompt_tokens, output_tokens; may be "
                   "gzip), in turn");
  bench
      .add_option("--context", f->context,
                  "--llm: cut the lengths of --lengths so that both fit so many tokens")
      ->check(CLI::Range(2, loadgen::kMostPromptTokens));
  bench.add_option("--temperature", f->temperature, "--llm: of the answers, 0 to 2 [0]");
  bench.add_flag("--natural-end", f->natural_end, "--llm: answers may end before their length");
  bench.add_option("--first-token", f->first_token,
                   "--llm: answers whose first token comes within this count as goodput");
  bench.add_option("--inter-token", f->inter_token,
                   "--llm: and whose tokens take at most this on average");
}

void CheckFlagsFit(const CLI::App& bench, bool llm) {
  for (const char* flag : kTextFlags) {
    if (!llm && bench.get_option(flag)->count() > 0)
      Fail(kExitUsage, fmt::format("{} is for language models: add --llm", flag));
  }
  for (const char* flag : kTensorFlags) {
    if (llm && bench.get_option(flag)->count() > 0)
      Fail(kExitUsage, fmt::format("{} is for tensors: leave it out with --llm", flag));
  }
}

int ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
    case Code::kDeadlineExceeded: return kExitNoServer;
    case Code::kInvalidArgument:
    case Code::kUnsupported: return kExitUsage;
    default: return kExitFailed;
  }
}

void RunBench(const BenchFlags& flags, Format format) {
  Result<loadgen::LoadPlan> plan = PlanFromFlags(flags);
  if (!plan.ok()) Fail(ExitCodeOf(plan.status()), plan.status().message());
  if (!plan->bearer.empty()) CheckKeyStaysPrivate(plan->url.host, plan->url.tls());
  if (const Status prepared = PrepareModels(flags, &*plan); !prepared.ok())
    Fail(ExitCodeOf(prepared), prepared.message());
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  std::signal(SIGPIPE, SIG_IGN);
  BenchProgress progress(*plan);
  Result<loadgen::RunRecord> record =
      RunLoad(*plan, interrupted,
              [&](double seconds, const loadgen::Progress& now) { progress.Show(seconds, now); });
  progress.Erase();
  if (!record.ok()) Fail(ExitCodeOf(record.status()), record.status().message());
  const nlohmann::json report = ReportJson(*plan, *record);
  if (format == Format::kTable) {
    std::fputs(loadgen::ReportTable(report).c_str(), stdout);
  } else {
    Print(format, {}, nlohmann::ordered_json(report));
  }
  if (record->interrupted) throw CLI::RuntimeError(kExitInterrupted);
  if (report["total"]["ok"] == 0) Fail(kExitFailed, "no request was answered well");
  if (report["total"]["wrong"] > 0) Fail(kExitFailed, "some answers were wrong");
}

}  // namespace

void RegisterBench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure a server under load, over HTTP or gRPC");
  bench->footer(kExamples);
  auto flags = std::make_shared<BenchFlags>();
  auto format = std::make_shared<Format>(Format::kTable);
  AddTargetFlags(*bench, flags.get());
  AddLoadFlags(*bench, flags.get());
  AddInputFlags(*bench, flags.get());
  AddTextFlags(*bench, &flags->text);
  bench
      ->add_option("--objective", flags->objectives,
                   "answers within this count as goodput: TIME, or NAME=TIME for one model")
      ->allow_extra_args(false);
  bench->add_option("--timeline", flags->timeline,
                    "also report windows of this width, by intended send time");
  AddOutputFlag(*bench, format.get(), /*listing=*/false);
  bench->callback([bench, flags, format] {
    flags->duration_given = bench->get_option("--duration")->count() > 0;
    CheckFlagsFit(*bench, flags->text.on);
    flags->bearer = ClientKey(flags->key_file);
    RunBench(*flags, *format);
  });
}

}  // namespace evenkeel
