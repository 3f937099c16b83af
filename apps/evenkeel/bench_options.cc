#include "bench_options.h"

#include <algorithm>
#include <charconv>

#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "loadgen/stage_spec.h"
#include "loadgen/target.h"
#include "loadgen/trace_file.h"
#include "net/http_message.h"
#include "net/tls_context.h"

namespace evenkeel {
namespace {

using namespace loadgen;  // NOLINT: this file is the door to that room

constexpr size_t kMaxInputFile = size_t{1} << 30;
constexpr int kDistinctInputs = 64;
constexpr Duration kTextTimeout = std::chrono::seconds(120);
constexpr int kSpareSockets = 64;  // left for everything that is not a request in flight

// The one stage that --concurrency, --rate and so on describe, as text.
std::string StageFromFlags(const BenchFlags& flags) {
  std::vector<std::string> fields;
  const bool trace = flags.arrivals.size() == 2;
  if (flags.concurrency > 0 || (flags.rate.empty() && !trace))
    fields.push_back(fmt::format("concurrency={}", std::max(flags.concurrency, 1)));
  if (!flags.rate.empty()) fields.push_back("rate=" + flags.rate);
  if (trace) {
    fields.push_back("arrivals=trace:" + flags.arrivals[1]);
  } else if (!flags.arrivals.empty()) {
    fields.push_back("arrivals=" + flags.arrivals[0]);
  }
  if (!flags.scale.empty()) fields.push_back("scale=" + flags.scale);
  if (flags.requests > 0) fields.push_back(fmt::format("requests={}", flags.requests));
  if (flags.duration_given) fields.push_back("duration=" + flags.duration);
  return fmt::format("{}", fmt::join(fields, ","));
}

Status CheckArrivals(const BenchFlags& flags) {
  if (flags.arrivals.empty()) return Status::Ok();
  const bool trace = flags.arrivals[0] == "trace";
  if (trace && flags.arrivals.size() != 2)
    return InvalidArgument("--arrivals trace needs a file: --arrivals trace FILE");
  if (!trace && flags.arrivals.size() != 1)
    return InvalidArgument("--arrivals {} takes no file", flags.arrivals[0]);
  return Status::Ok();
}

Status AddStages(const BenchFlags& flags, LoadPlan* plan) {
  EK_RETURN_IF_ERROR(CheckArrivals(flags));
  const bool single = flags.concurrency > 0 || !flags.rate.empty() || !flags.arrivals.empty() ||
                      !flags.scale.empty() || flags.requests > 0;
  if (!flags.stages.empty() && single) {
    return InvalidArgument(
        "--stage describes the whole load: leave out --concurrency, --rate, --arrivals, --scale "
        "and --requests");
  }
  Result<Duration> duration = ParseDuration(flags.duration);
  if (!duration.ok()) return duration.status().Annotate("--duration");
  if (*duration <= Duration::zero()) return InvalidArgument("--duration: must be above 0");
  Result<Duration> warm_up = ParseDuration(flags.warm_up);
  if (!warm_up.ok()) return warm_up.status().Annotate("--warm-up");
  const std::vector<std::string> texts =
      flags.stages.empty() ? std::vector<std::string>{StageFromFlags(flags)} : flags.stages;
  for (const std::string& text : texts) {
    Result<Stage> stage = ParseStage(text, *duration);
    if (!stage.ok()) return stage.status();
    if (stage->name.empty()) stage->name = fmt::format("{}", plan->stages.size() + 1);
    plan->stages.push_back(std::move(*stage));
  }
  if (*warm_up > Duration::zero()) {
    Stage stage = plan->stages.front();
    stage.name = "warm-up";
    stage.warm_up = true;
    stage.duration = *warm_up;
    stage.requests = 0;
    stage.trace_s.reset();
    if (stage.arrivals == ArrivalKind::kTrace) stage.arrivals = ArrivalKind::kPoisson;
    plan->stages.insert(plan->stages.begin(), std::move(stage));
  }
  return Status::Ok();
}

Status SetDuration(const std::string& text, const char* flag, Duration* value) {
  if (text.empty()) return Status::Ok();
  Result<Duration> parsed = ParseDuration(text);
  if (!parsed.ok()) return parsed.status().Annotate(flag);
  if (*parsed <= Duration::zero()) return InvalidArgument("{}: must be above 0", flag);
  *value = *parsed;
  return Status::Ok();
}

// Every NAME=TIME must name a model of the run.
Status CheckNames(const std::vector<std::string>& entries, const char* flag,
                  const std::vector<PreparedModel>& models) {
  for (const std::string& entry : entries) {
    const size_t equals = entry.find('=');
    const auto named = [&](const PreparedModel& m) { return m.name == entry.substr(0, equals); };
    if (equals != std::string::npos && std::ranges::none_of(models, named))
      return InvalidArgument("{}: expected TIME, or NAME=TIME with a model of the run, got '{}'",
                             flag, entry);
  }
  return Status::Ok();
}

Status SetTls(const BenchFlags& flags, LoadPlan* plan) {
  SettingSources sources = DefaultSources();
  if (!flags.ca_file.empty()) sources.flags.emplace_back("tls.ca_file", flags.ca_file);
  const Result<Settings> settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) return settings.status();
  plan->url.ca_file = settings->text("tls.ca_file");
  Result<openssl::Context> context = MakeTlsClientContext(plan->url.ca_file);
  if (!context.ok()) return InvalidArgument("--ca-file: {}", context.status().message());
  if (plan->protocol == WireProtocol::kHttp) plan->tls = std::move(*context);
  return Status::Ok();
}

Status SetTarget(const BenchFlags& flags, LoadPlan* plan) {
  const bool grpc = flags.protocol == "grpc" || flags.url.starts_with("grpc://") ||
                    flags.url.starts_with("grpcs://");
  plan->protocol = grpc ? WireProtocol::kGrpc : WireProtocol::kHttp;
  Result<Url> url = ParseUrl(flags.url.empty() ? "127.0.0.1" : flags.url, grpc ? "8001" : "8000");
  if (!url.ok()) return url.status();
  plan->url = std::move(*url);
  if (grpc && !plan->url.path.empty() && plan->url.path != "/")
    return InvalidArgument("--url: a gRPC address has no path; see --method");
  if (!flags.grpc_method.empty()) plan->grpc_method = flags.grpc_method;
  if (plan->url.tls()) EK_RETURN_IF_ERROR(SetTls(flags, plan));
  if (grpc) return Status::Ok();
  Result<Endpoint> endpoint = Resolve(plan->url);
  if (!endpoint.ok()) return endpoint.status();
  plan->endpoint = *endpoint;
  return Status::Ok();
}

Result<std::pair<std::string, Shape>> ParseShapeFlag(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0)
    return InvalidArgument("--shape: expected NAME:D0,D1,..., got '{}'", text);
  Shape shape;
  std::string_view rest = std::string_view(text).substr(colon + 1);
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    Result<int64_t> d = ParseInt(rest.substr(0, comma), 0, int64_t{1} << 31);
    if (!d.ok()) return d.status().Annotate("--shape " + text);
    if (shape.full()) return InvalidArgument("--shape {}: at most {} axes", text, kMaxRank);
    shape.push_back(*d);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return std::pair{text.substr(0, colon), shape};
}

Result<RandomOptions> RandomFromFlags(const BenchFlags& flags) {
  RandomOptions options;
  options.batch = flags.batch;
  options.count = flags.distinct > 0 ? flags.distinct : kDistinctInputs;
  options.seed = flags.seed;
  if (flags.id_max >= 0) options.id_max = flags.id_max;
  for (const std::string& text : flags.shapes) {
    auto shape = ParseShapeFlag(text);
    if (!shape.ok()) return shape.status();
    options.shapes.insert(std::move(*shape));
  }
  return options;
}

Result<std::vector<InputSet>> MakeInputs(const BenchFlags& flags, const LoadPlan& plan,
                                         const ModelInfo& model) {
  if (flags.input == "random") {
    Result<RandomOptions> options = RandomFromFlags(flags);
    if (!options.ok()) return options.status();
    return RandomInputs(model, *options);
  }
  std::string bytes;
  if (flags.input == "samples") {
    if (plan.protocol == WireProtocol::kGrpc)
      return Unsupported(
          "--input samples comes over HTTP; export them to a file: evenkeel samples export");
    Result<std::string> body = FetchBody(plan, "/v2/evenkeel/samples/" + model.name);
    if (!body.ok()) return body.status().Annotate("--input samples");
    bytes = std::move(*body);
  } else {
    Result<std::string> file = ReadFileMaybeGzip(flags.input, kMaxInputFile);
    if (!file.ok()) return file.status().Annotate("--input");
    if (!flags.input.ends_with(".safetensors")) return InputsFromJson(*file, flags.input);
    bytes = std::move(*file);
  }
  Result<RowTable> rows = RowsFromSafetensors(bytes, model);
  if (!rows.ok()) return rows.status().Annotate("--input " + flags.input);
  return InputsFromRows(*rows, flags.batch, flags.distinct > 0 ? flags.distinct : kDistinctInputs);
}

Status PrepareRaw(const BenchFlags& flags, LoadPlan* plan) {
  if (!flags.models.empty())
    return InvalidArgument("--raw sends the file as it is: leave --model out");
  std::string body;
  if (!flags.raw_file.empty()) {
    Result<std::string> file = ReadFileMaybeGzip(flags.raw_file, kMaxInputFile);
    if (!file.ok()) return file.status().Annotate("--raw");
    body = std::move(*file);
  }
  PreparedModel model;
  model.name = "raw";
  const Result<RenderOptions> render = RenderFromFlags(flags, model.name);
  if (!render.ok()) return render.status();
  EK_RETURN_IF_ERROR(
      SetDurationFor(model.name, flags.objectives, "--objective", &model.objectives.whole));
  const bool http = plan->protocol == WireProtocol::kHttp;
  model.requests.push_back({http ? RenderRaw(plan->url, body, *render) : body, flags.batch, ""});
  plan->models.push_back(std::move(model));
  return Status::Ok();
}

Status PrepareModel(const BenchFlags& flags, const std::string& text, LoadPlan* plan) {
  auto named = ParseModelFlag(text);
  if (!named.ok()) return named.status();
  const Result<RenderOptions> render = RenderFromFlags(flags, named->first);
  if (!render.ok()) return render.status();
  Result<ModelInfo> info = FetchModelInfo(*plan, named->first);
  if (!info.ok()) return info.status().Annotate("model '" + named->first + "'");
  Result<std::vector<InputSet>> inputs = MakeInputs(flags, *plan, *info);
  if (!inputs.ok()) return inputs.status();
  PreparedModel model;
  model.name = named->first;
  model.weight = named->second;
  EK_RETURN_IF_ERROR(
      SetDurationFor(model.name, flags.objectives, "--objective", &model.objectives.whole));
  model.float_outputs = !info->outputs.empty() &&
                        std::all_of(info->outputs.begin(), info->outputs.end(),
                                    [](const TensorSpec& s) { return s.dtype == DataType::kFp32; });
  for (const InputSet& set : *inputs) {
    Result<std::string> bytes = plan->protocol == WireProtocol::kHttp
                                    ? RenderHttp(plan->url, named->first, set, *render)
                                    : Result<std::string>(RenderGrpc(named->first, set, *render));
    if (!bytes.ok()) return bytes.status();
    model.requests.push_back({std::move(*bytes), set.rows, ""});
  }
  plan->models.push_back(std::move(model));
  return Status::Ok();
}

}  // namespace

Status SetDurationFor(const std::string& model, const std::vector<std::string>& entries,
                      const char* flag, Duration* value) {
  bool named = false;
  for (const std::string& entry : entries) {
    const size_t equals = entry.find('=');
    const bool own = equals != std::string::npos;
    if (own ? entry.substr(0, equals) != model : named) continue;
    EK_RETURN_IF_ERROR(SetDuration(own ? entry.substr(equals + 1) : entry, flag, value));
    named = own;
  }
  return Status::Ok();
}

Result<RenderOptions> RenderFromFlags(const BenchFlags& flags, const std::string& model) {
  RenderOptions options;
  options.version = flags.version;
  options.json = flags.encoding == "json";
  EK_RETURN_IF_ERROR(SetDurationFor(model, flags.deadlines, "--deadline", &options.deadline));
  bool own_credential = false;
  for (const std::string& header : flags.headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0 ||
        header.find_first_of("\r\n") != std::string::npos) {
      return InvalidArgument("--header: expected 'Name: value', got '{}'", header);
    }
    const size_t value = std::min(header.find_first_not_of(' ', colon + 1), header.size());
    own_credential = own_credential || EqualsNoCase(header.substr(0, colon), "authorization");
    options.headers.emplace_back(header.substr(0, colon), header.substr(value));
  }
  if (!flags.bearer.empty() && !own_credential)
    options.headers.emplace_back("Authorization", "Bearer " + flags.bearer);
  return options;
}

Result<std::pair<std::string, double>> ParseModelFlag(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return std::pair{text, 1.0};
  Result<double> weight = ParsePositive(std::string_view(text).substr(colon + 1));
  if (!weight.ok()) return weight.status().Annotate("--model " + text);
  return std::pair{text.substr(0, colon), *weight};
}

Result<LoadPlan> PlanFromFlags(const BenchFlags& flags) {
  LoadPlan plan;
  EK_RETURN_IF_ERROR(SetTarget(flags, &plan));
  EK_RETURN_IF_ERROR(AddStages(flags, &plan));
  if (flags.text.on) plan.timeout = kTextTimeout;
  EK_RETURN_IF_ERROR(SetDuration(flags.timeout, "--timeout", &plan.timeout));
  EK_RETURN_IF_ERROR(SetDuration(flags.timeline, "--timeline", &plan.window));
  plan.threads = flags.threads;
  plan.bearer = flags.bearer;
  plan.grpc_connections = flags.connections;
  plan.seed = flags.seed;
  plan.check_answers = flags.check_stable;
  plan.tolerance = flags.tolerance;
  plan.cap = flags.max_in_flight;
  if (plan.protocol == WireProtocol::kGrpc) return plan;
  const int sockets = RaiseSocketLimit() - kSpareSockets;
  for (const Stage& stage : plan.stages) {
    if (stage.concurrency > sockets)
      return InvalidArgument("--concurrency {}: this process may open {} sockets (ulimit -n)",
                             stage.concurrency, sockets);
  }
  plan.cap = std::min(plan.cap, std::max(sockets, 1));
  return plan;
}

Status PrepareModels(const BenchFlags& flags, LoadPlan* plan) {
  if (flags.text.on) {
    EK_RETURN_IF_ERROR(PrepareTextModels(flags, plan));
    EK_RETURN_IF_ERROR(CheckNames(flags.objectives, "--objective", plan->models));
    return CheckNames(flags.deadlines, "--deadline", plan->models);
  }
  const bool http_path =
      plan->protocol == WireProtocol::kHttp && flags.models.empty() && plan->url.path.size() > 1;
  if (!flags.raw_file.empty() || http_path) {
    EK_RETURN_IF_ERROR(PrepareRaw(flags, plan));
  } else if (flags.models.empty()) {
    return InvalidArgument(
        "name a model (evenkeel bench MODEL), or give --raw FILE or a --url with a path");
  }
  for (const std::string& text : flags.models) EK_RETURN_IF_ERROR(PrepareModel(flags, text, plan));
  EK_RETURN_IF_ERROR(CheckNames(flags.objectives, "--objective", plan->models));
  EK_RETURN_IF_ERROR(CheckNames(flags.deadlines, "--deadline", plan->models));
  return plan->check_answers ? CollectReferences(plan) : Status::Ok();
}

}  // namespace evenkeel
