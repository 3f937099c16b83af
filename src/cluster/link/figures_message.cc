#include "cluster/link/figures_message.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.pb.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

constexpr double kLongest = 1e9;  // seconds: three decades of work is a mistake

Status CheckNumber(const char* what, double value) {
  if (std::isfinite(value) && value >= 0 && value <= kLongest) return Status::Ok();
  return InvalidArgument("figures of a node: {}: expected 0 to {:g}, got {}", what, kLongest,
                         value);
}

// Those of kMostModels models are added up.
Status CheckMemory(int64_t bytes) {
  constexpr int64_t kMost = int64_t{1} << 50;
  if (bytes >= 0 && bytes <= kMost) return Status::Ok();
  return InvalidArgument("figures of a node: memory: expected 0 to {} bytes, got {}", kMost, bytes);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Both go into logs, documents and keys of tables.
Status CheckName(const ModelFigures& model) {
  if (!IsModelName(model.name))
    return InvalidArgument("figures of a node: {} is not a model's name", Excerpt(model.name));
  if (model.version.size() > 20 || !std::ranges::all_of(model.version, IsDigit))
    return InvalidArgument("figures of a node: version of model '{}': expected a number, got {}",
                           model.name, Excerpt(model.version));
  return Status::Ok();
}

// For show only: more than that is no count of ours.
int Counted(uint32_t count) { return static_cast<int>(std::min<uint32_t>(count, 1'000'000'000)); }

}  // namespace

void WriteFigures(const NodeFigures& figures, node::v1::Figures* message) {
  message->set_node(figures.node);
  message->set_incarnation(figures.incarnation);
  message->set_sequence(figures.sequence);
  message->set_cores(figures.cores);
  message->set_backlog_s(figures.backlog_s);
  message->set_draining(figures.draining);
  for (const ModelFigures& model : figures.models) {
    auto* one = message->add_models();
    one->set_name(model.name);
    one->set_version(model.version);
    one->set_language(model.language);
    one->set_row_s(model.row_s);
    one->set_alone_s(model.alone_s);
    one->set_signature(model.signature);
    one->set_prompt_token_s(model.prompt_token_s);
    one->set_slots(static_cast<uint32_t>(model.slots));
    one->set_open(static_cast<uint32_t>(model.open));
    one->set_rate_rps(model.rate_rps);
    one->set_memory_bytes(model.memory_bytes);
    one->set_call_rows(model.call_rows);
    one->set_done(model.done);
    one->set_start_up_s(model.start_up_s);
    one->set_waiting(static_cast<uint32_t>(model.waiting));
    one->set_late_row_s(model.late_row_s);
    one->mutable_step_s()->Add(model.step_s.begin(), model.step_s.end());
    one->set_prompt_s(model.prompt_s);
    one->set_answer_tokens(model.answer_tokens);
  }
  for (const ModelFigures& graph : figures.graphs) {
    auto* one = message->add_graphs();
    one->set_name(graph.name);
    one->set_version(graph.version);
    one->set_signature(graph.signature);
  }
  message->set_busy_cores(figures.busy_cores);
  message->set_moving(static_cast<uint32_t>(figures.moving));
  message->set_moved_lately(static_cast<uint32_t>(figures.moved_lately));
  for (const ReplicaWish& wish : figures.wishes) {
    auto* one = message->add_wishes();
    one->set_model(wish.model);
    one->set_replicas(static_cast<uint32_t>(wish.replicas));
    one->set_unix_ms(wish.unix_ms);
  }
  for (const LeavingModel& leaving : figures.leaving) {
    auto* one = message->add_leaving();
    one->set_model(leaving.model);
    one->set_certain(leaving.certain);
  }
  message->set_link_bytes_s(figures.link_bytes_s);
  if (figures.store.kind == StoreHome::Kind::kMembers) {
    auto* store = message->mutable_store();
    store->set_generation(figures.store.generation);
    store->set_origin(figures.store.origin);
    for (const std::string& endpoint : figures.store.endpoints) store->add_endpoints(endpoint);
    store->set_connected(figures.store_connected);
  }
  message->set_holds_authority(figures.holds_authority);
  message->set_nodes_digest(figures.nodes_digest);
  for (const NodeAddress& node : figures.nodes) {
    auto* one = message->add_nodes();
    one->set_name(node.name);
    one->set_address(node.address);
  }
  auto* resources = message->mutable_resources();
  resources->set_free_memory_bytes(figures.free_memory_bytes);
  message->set_knows(figures.knows);
  message->set_as_before(figures.as_before);
  if (figures.as_before) return;
  message->set_software(figures.software);
  resources->set_cores(figures.resources.cores);
  resources->set_gflops(figures.resources.gflops);
  resources->set_memory_gb_s(figures.resources.memory_gb_s);
  resources->set_memory_bytes(figures.resources.memory_bytes);
  resources->set_disk_bytes(figures.resources.disk_bytes);
  resources->set_power_w(figures.resources.power_w.value_or(0));
  resources->set_fingerprint(figures.resources.fingerprint);
}

namespace {

Status ReadResources(const node::v1::Resources& message, NodeFigures* figures) {
  ResourceVector& vector = figures->resources;
  vector.cores = message.cores();
  vector.gflops = message.gflops();
  vector.memory_gb_s = message.memory_gb_s();
  EK_RETURN_IF_ERROR(CheckNumber("cores that it has", vector.cores));
  EK_RETURN_IF_ERROR(CheckNumber("operations a second", vector.gflops));
  EK_RETURN_IF_ERROR(CheckNumber("bytes a second from memory", vector.memory_gb_s));
  EK_RETURN_IF_ERROR(CheckNumber("power", message.power_w()));
  EK_RETURN_IF_ERROR(CheckMemory(message.memory_bytes()));
  EK_RETURN_IF_ERROR(CheckMemory(message.free_memory_bytes()));
  if (message.disk_bytes() < 0)
    return InvalidArgument("figures of a node: disk: a negative number of bytes");
  vector.memory_bytes = message.memory_bytes();
  figures->free_memory_bytes = message.free_memory_bytes();
  vector.disk_bytes = message.disk_bytes();
  if (message.power_w() > 0) vector.power_w = message.power_w();
  vector.fingerprint = message.fingerprint().substr(0, 256);
  return Status::Ok();
}

Status ReadStore(const node::v1::Figures& message, NodeFigures* figures) {
  if (!message.has_store()) return Status::Ok();
  StoreHome& store = figures->store;
  store.kind = StoreHome::Kind::kMembers;
  store.generation = message.store().generation();
  store.origin = message.store().origin();
  if (message.store().endpoints_size() <= static_cast<int>(kMostStoreEndpoints))
    store.endpoints.assign(message.store().endpoints().begin(), message.store().endpoints().end());
  if (store.generation < 0)
    return InvalidArgument("figures of a node: store: generation: expected 0 or more");
  figures->store_connected = message.store().connected();
  return CheckStoreHome(store).Annotate("figures of a node: store");
}

// What people asked for, and what goes.
Status ReadReplicas(const node::v1::Figures& message, NodeFigures* figures) {
  constexpr int kMostNamed = 1000;
  constexpr uint32_t kMostReplicas = 1000;
  constexpr int64_t kLatest = int64_t{1} << 52;
  if (message.wishes_size() > kMostNamed || message.leaving_size() > kMostNamed)
    return InvalidArgument("figures of a node: replicas: expected at most {} models, got {} and {}",
                           kMostNamed, message.wishes_size(), message.leaving_size());
  for (const auto& one : message.wishes()) {
    if (!IsModelName(one.model()) || one.replicas() > kMostReplicas || one.unix_ms() < 0 ||
        one.unix_ms() > kLatest)
      return InvalidArgument(
          "figures of a node: replicas: expected a name, at most {} and a time, got {} and {}",
          kMostReplicas, one.replicas(), one.unix_ms());
    // Of a clock that is no clock: the next word would have to be later still, until nobody heard figures with it.
    if (one.unix_ms() > kLatest / 2) continue;
    figures->wishes.push_back({one.model(), static_cast<int>(one.replicas()), one.unix_ms()});
  }
  for (const auto& one : message.leaving()) {
    if (!IsModelName(one.model()))
      return InvalidArgument("figures of a node: a model that leaves: expected a name, got {}",
                             one.model().size());
    figures->leaving.push_back({one.model(), one.certain()});
  }
  return Status::Ok();
}

}  // namespace

Result<NodeFigures> ReadFigures(const node::v1::Figures& message) {
  NodeFigures figures;
  figures.node = message.node();
  EK_RETURN_IF_ERROR(pki::CheckNodeName(figures.node).Annotate("figures of a node"));
  figures.incarnation = message.incarnation();
  figures.sequence = message.sequence();
  figures.cores = message.cores();
  EK_RETURN_IF_ERROR(CheckNumber("cores", figures.cores));
  if (figures.cores <= 0) return InvalidArgument("figures of a node: cores: expected more than 0");
  figures.backlog_s = message.backlog_s();
  EK_RETURN_IF_ERROR(CheckNumber("backlog", figures.backlog_s));
  figures.software = message.software().substr(0, 64);
  figures.draining = message.draining();
  figures.knows = message.knows();
  figures.as_before = message.as_before();
  figures.busy_cores = message.busy_cores();
  EK_RETURN_IF_ERROR(CheckNumber("cores that work", figures.busy_cores));
  // Memory is not faster: more was not measured.
  constexpr double kFastest = 1e13;
  if (!std::isfinite(message.link_bytes_s()) || message.link_bytes_s() < 0)
    return InvalidArgument(
        "figures of a node: bytes a second of its link: expected 0 or more, got {}",
        message.link_bytes_s());
  figures.link_bytes_s = message.link_bytes_s() <= kFastest ? message.link_bytes_s() : 0;
  figures.moving = Counted(message.moving());
  figures.moved_lately = Counted(message.moved_lately());
  EK_RETURN_IF_ERROR(ReadResources(message.resources(), &figures));
  EK_RETURN_IF_ERROR(ReadStore(message, &figures));
  EK_RETURN_IF_ERROR(ReadReplicas(message, &figures));
  figures.holds_authority = message.holds_authority();
  figures.nodes_digest = message.nodes_digest();
  if (message.nodes_size() > static_cast<int>(kMostNodes))
    return InvalidArgument("figures of a node: nodes: expected at most {}, got {}", kMostNodes,
                           message.nodes_size());
  for (const auto& one : message.nodes()) {
    EK_RETURN_IF_ERROR(pki::CheckNodeName(one.name()).Annotate("figures of a node"));
    if (const auto address = ParseHostPort(one.address()); !address.ok())
      return address.status().Annotate("figures of a node");
    figures.nodes.push_back({one.name(), one.address()});
  }
  if (message.models_size() > kMostModels)
    return InvalidArgument("figures of a node: models: expected at most {}, got {}", kMostModels,
                           message.models_size());
  for (const auto& one : message.models()) {
    ModelFigures model;
    model.name = one.name();
    model.version = one.version();
    EK_RETURN_IF_ERROR(CheckName(model));
    model.language = one.language();
    model.row_s = one.row_s();
    model.alone_s = one.alone_s();
    model.prompt_token_s = one.prompt_token_s();
    EK_RETURN_IF_ERROR(CheckNumber("work of a row", model.row_s));
    EK_RETURN_IF_ERROR(CheckNumber("time of a row alone", model.alone_s));
    EK_RETURN_IF_ERROR(CheckNumber("work of a prompt's token", model.prompt_token_s));
    model.signature = one.signature();
    constexpr uint32_t kMostSequences = 1'000'000;
    if (one.slots() > kMostSequences || one.open() > kMostSequences)
      return InvalidArgument("figures of a node: sequences: expected at most {}", kMostSequences);
    model.slots = static_cast<int>(one.slots());
    model.open = static_cast<int>(one.open());
    model.rate_rps = one.rate_rps();
    EK_RETURN_IF_ERROR(CheckNumber("rate of a model", model.rate_rps));
    EK_RETURN_IF_ERROR(CheckMemory(one.memory_bytes()));
    model.memory_bytes = one.memory_bytes();
    // A node of a version before tells none.
    model.call_rows = one.call_rows() == 0 ? 1 : one.call_rows();
    EK_RETURN_IF_ERROR(CheckNumber("rows of a call", model.call_rows));
    model.done = one.done();
    model.start_up_s = one.start_up_s();
    EK_RETURN_IF_ERROR(CheckNumber("time until an instance is up", model.start_up_s));
    model.waiting = Counted(one.waiting());
    model.late_row_s = one.late_row_s();
    EK_RETURN_IF_ERROR(CheckNumber("work of a row lately", model.late_row_s));
    if (one.step_s_size() > kMostSteps)
      return InvalidArgument("figures of a node: times of steps: expected at most {}, got {}",
                             kMostSteps, one.step_s_size());
    for (const double step_s : one.step_s()) {
      EK_RETURN_IF_ERROR(CheckNumber("time of a step", step_s));
      if (step_s == 0) return InvalidArgument("figures of a node: a step takes no time");
      model.step_s.push_back(step_s);
    }
    model.prompt_s = one.prompt_s();
    model.answer_tokens = one.answer_tokens();
    EK_RETURN_IF_ERROR(CheckNumber("time of a prompt's token", model.prompt_s));
    EK_RETURN_IF_ERROR(CheckNumber("tokens of an answer", model.answer_tokens));
    figures.models.push_back(std::move(model));
  }
  if (message.graphs_size() > kMostModels)
    return InvalidArgument("figures of a node: graphs: expected at most {}, got {}", kMostModels,
                           message.graphs_size());
  for (const auto& one : message.graphs()) {
    ModelFigures graph;
    graph.name = one.name();
    graph.version = one.version();
    graph.signature = one.signature();
    EK_RETURN_IF_ERROR(CheckName(graph));
    figures.graphs.push_back(std::move(graph));
  }
  return figures;
}

}  // namespace evenkeel
