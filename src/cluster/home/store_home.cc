#include "cluster/home/store_home.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

#include "cluster/home/cluster_home.h"
#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMostGenerations = 1'000'000;

// Of our own members only: those of an etcd elsewhere may have names.
Status CheckEndpoint(const std::string& endpoint, StoreHome::Kind kind) {
  if (kind == StoreHome::Kind::kMembers) return ParseHostPort(endpoint).status();
  const size_t colon = endpoint.rfind(':');
  if (colon == std::string::npos || colon == 0 ||
      endpoint.find_first_of("/?#@, ") != std::string::npos ||
      !ParseInt(std::string_view(endpoint).substr(colon + 1), 1, 65535).ok())
    return InvalidArgument("expected HOST:PORT, got {}", Excerpt(endpoint));
  return Status::Ok();
}

}  // namespace

const char* NameOf(StoreHome::Kind kind) {
  switch (kind) {
    case StoreHome::Kind::kNone: return "none";
    case StoreHome::Kind::kMembers: return "members";
    case StoreHome::Kind::kExternal: return "external";
  }
  return "none";
}

bool IsNewer(const StoreHome& other, const StoreHome& known) {
  return std::tie(other.generation, other.origin) > std::tie(known.generation, known.origin);
}

Json WriteStoreHome(const StoreHome& store) {
  Json document = {{"kind", NameOf(store.kind)}};
  if (store.kind == StoreHome::Kind::kNone) return document;
  document["endpoints"] = store.endpoints;
  if (store.kind == StoreHome::Kind::kMembers) {
    document["generation"] = store.generation;
    document["origin"] = store.origin;
    document["member"] = store.member;
  } else if (!store.ca_file.empty()) {
    document["ca_file"] = store.ca_file;
    if (!store.cert_file.empty()) document["cert_file"] = store.cert_file;
    if (!store.key_file.empty()) document["key_file"] = store.key_file;
  }
  return document;
}

Status CheckStoreHome(const StoreHome& store) {
  if (store.kind == StoreHome::Kind::kNone) return Status::Ok();
  if (store.endpoints.empty() || store.endpoints.size() > kMostStoreEndpoints)
    return InvalidArgument("endpoints: expected 1 to {}, got {}", kMostStoreEndpoints,
                           store.endpoints.size());
  for (const std::string& endpoint : store.endpoints)
    EK_RETURN_IF_ERROR(CheckEndpoint(endpoint, store.kind).Annotate("endpoints"));
  if (store.kind == StoreHome::Kind::kMembers)
    return pki::CheckNodeName(store.origin).Annotate("origin");
  for (const std::string* file : {&store.ca_file, &store.cert_file, &store.key_file}) {
    if (!file->empty() && !file->starts_with('/'))
      return InvalidArgument("expected an absolute path, got {}", Excerpt(*file));
  }
  if (store.cert_file.empty() != store.key_file.empty())
    return InvalidArgument("expected a certificate's file and its key's, got one of them");
  return Status::Ok();
}

Result<StoreHome> ParseStoreHome(const Json& object, const std::string& place) {
  if (!object.is_object()) return InvalidArgument("{}: expected an object", place);
  JsonFields fields(
      object, place,
      {"kind", "endpoints", "generation", "origin", "member", "ca_file", "cert_file", "key_file"});
  StoreHome store;
  const std::string kind = fields.Text("kind", "", true);
  store.generation = fields.Count("generation", 0, 0, kMostGenerations);
  store.origin = fields.Text("origin", "");
  store.member = fields.Truth("member", false);
  store.ca_file = fields.Text("ca_file", "");
  store.cert_file = fields.Text("cert_file", "");
  store.key_file = fields.Text("key_file", "");
  const Json* const endpoints = fields.List("endpoints");
  EK_RETURN_IF_ERROR(fields.status());
  if (kind == "none") return StoreHome();
  if (kind == "members") {
    store.kind = StoreHome::Kind::kMembers;
  } else if (kind == "external") {
    store.kind = StoreHome::Kind::kExternal;
  } else {
    return InvalidArgument("{}.kind: expected none, members or external, got {}", place,
                           Excerpt(kind));
  }
  for (const Json& endpoint : endpoints != nullptr ? *endpoints : Json::array()) {
    if (!endpoint.is_string())
      return InvalidArgument("{}.endpoints: expected HOST:PORT, got {}", place,
                             Excerpt(endpoint.dump()));
    store.endpoints.push_back(endpoint.get<std::string>());
    if (store.endpoints.size() > kMostStoreEndpoints) break;
  }
  EK_RETURN_IF_ERROR(CheckStoreHome(store).Annotate(place));
  return store;
}

Result<std::vector<std::string>> ParseStoreUrls(const std::string& text, bool* tls) {
  std::vector<std::string> endpoints;
  *tls = text.starts_with("https://");
  const std::string scheme = *tls ? "https://" : "http://";
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string url = text.substr(begin, end - begin);
    begin = end + 1;
    if (url.ends_with('/')) url.pop_back();
    if (!url.starts_with(scheme))
      return InvalidArgument(
          "expected http://HOST:PORT or https://HOST:PORT, several separated by commas and all "
          "alike, got {}",
          Excerpt(url));
    endpoints.push_back(url.substr(scheme.size()));
    EK_RETURN_IF_ERROR(CheckEndpoint(endpoints.back(), StoreHome::Kind::kExternal));
  }
  if (endpoints.size() > kMostStoreEndpoints)
    return InvalidArgument("expected at most {} URLs, got {}", kMostStoreEndpoints,
                           endpoints.size());
  return endpoints;
}

Result<std::string> StorePeerUrlOf(const std::string& node_address) {
  const auto address = ParseHostPort(node_address);
  if (!address.ok()) return address.status();
  return "https://" + FormatHostPort(address->host, StorePeerPortOf(address->port));
}

}  // namespace evenkeel
