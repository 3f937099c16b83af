#include "cluster/node_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

constexpr int kSchema = 1;
constexpr size_t kMostAddresses = 8;
constexpr size_t kMostAddressBytes = 256;
constexpr size_t kMostNameBytes = 64;
constexpr size_t kMostFingerprintBytes = 256;
constexpr size_t kIncarnationDigits = 16;
constexpr int64_t kMostUnixSeconds = 100'000'000'000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsLetter(char c) { return IsLower(c) || (c >= 'A' && c <= 'Z'); }

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes &&
         (IsLetter(name[0]) || IsDigit(name[0])) && std::ranges::all_of(name, [](char c) {
           return IsLetter(c) || IsDigit(c) || c == '.' || c == '_' || c == '-';
         });
}

bool IsIncarnation(std::string_view text) {
  return text.size() == kIncarnationDigits &&
         std::ranges::all_of(text, [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); });
}

// "host:port"; the host is not looked up here, only kept from being something else.
bool IsAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || text.size() > kMostAddressBytes)
    return false;
  const bool plain = std::ranges::all_of(text.substr(0, colon), [](char c) {
    return IsLetter(c) || IsDigit(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
  });
  return plain && ParseInt(text.substr(colon + 1), 1, 65535).ok();
}

bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace

bool IsNodeId(std::string_view id) {
  return !id.empty() && id.size() <= kMostNameBytes &&
         std::ranges::all_of(id, [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

std::string RandomId() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", static_cast<uint32_t>(random()),
                     static_cast<uint32_t>(random()));
}

Status CheckNodeRecord(const NodeRecord& record) {
  if (!IsNodeId(record.id))
    return InvalidArgument("node record: id: expected 1 to {} of a-z, 0-9 and '-', got {}",
                           kMostNameBytes, Excerpt(record.id));
  if (!IsName(record.name))
    return InvalidArgument(
        "node record of {}: name: expected 1 to {} letters, digits, '.', '_' and '-', got {}",
        record.id, kMostNameBytes, Excerpt(record.name));
  if (record.addresses.empty() || record.addresses.size() > kMostAddresses)
    return InvalidArgument("node record of {}: addresses: expected 1 to {}, got {}", record.id,
                           kMostAddresses, record.addresses.size());
  for (const std::string& address : record.addresses) {
    if (!IsAddress(address))
      return InvalidArgument("node record of {}: addresses: expected host:port, got {}", record.id,
                             Excerpt(address));
  }
  if (record.fingerprint.size() > kMostFingerprintBytes || !IsPrintable(record.fingerprint))
    return InvalidArgument(
        "node record of {}: fingerprint: expected at most {} printable bytes, got {}", record.id,
        kMostFingerprintBytes, Excerpt(record.fingerprint));
  if (record.version.empty() || record.version.size() > kMostNameBytes ||
      !IsPrintable(record.version))
    return InvalidArgument("node record of {}: version: expected 1 to {} printable bytes, got {}",
                           record.id, kMostNameBytes, Excerpt(record.version));
  if (record.started_unix_s < 0 || record.started_unix_s > kMostUnixSeconds)
    return InvalidArgument("node record of {}: started: expected Unix seconds, got {}", record.id,
                           record.started_unix_s);
  if (!IsIncarnation(record.incarnation))
    return InvalidArgument("node record of {}: incarnation: expected {} hexadecimal digits, got {}",
                           record.id, kIncarnationDigits, Excerpt(record.incarnation));
  return Status::Ok();
}

std::string WriteNodeRecord(const NodeRecord& record) {
  return nlohmann::json{{"schema", kSchema},
                        {"id", record.id},
                        {"name", record.name},
                        {"addresses", record.addresses},
                        {"fingerprint", record.fingerprint},
                        {"version", record.version},
                        {"started", record.started_unix_s},
                        {"incarnation", record.incarnation}}
      .dump();
}

Result<NodeRecord> ParseNodeRecord(std::string_view text) {
  if (text.size() > kMostRecordBytes)
    return TooLarge("node record: {} bytes; at most {} are read", text.size(), kMostRecordBytes);
  const auto json = ParseStrictObject(text, 2, "node record");
  if (!json.ok()) return json.status();
  // The schema first: what a later one calls unknown here is not the writer's mistake.
  if (const auto schema = json->find("schema"); schema == json->end() || *schema != kSchema)
    return InvalidArgument("node record: schema: expected {}, got {}", kSchema,
                           schema == json->end() ? "none" : Excerpt(schema->dump()));
  JsonFields fields(
      *json, "node record",
      {"schema", "id", "name", "addresses", "fingerprint", "version", "started", "incarnation"});
  NodeRecord record;
  record.id = fields.Text("id", "", true);
  record.name = fields.Text("name", "", true);
  const auto* const fingerprint = fields.Find("fingerprint");  // may be empty
  record.version = fields.Text("version", "", true);
  record.started_unix_s = fields.Count("started", 0, 0, kMostUnixSeconds);
  record.incarnation = fields.Text("incarnation", "", true);
  const auto* const addresses = fields.List("addresses", true);
  EK_RETURN_IF_ERROR(fields.status());
  if (fingerprint != nullptr) {
    if (!fingerprint->is_string())
      return InvalidArgument("node record.fingerprint: expected a text, got {}",
                             Excerpt(fingerprint->dump()));
    record.fingerprint = fingerprint->get<std::string>();
  }
  for (const auto& address : *addresses) {
    if (!address.is_string())
      return InvalidArgument("node record.addresses: expected texts, got {}",
                             Excerpt(address.dump()));
    record.addresses.push_back(address.get<std::string>());
  }
  EK_RETURN_IF_ERROR(CheckNodeRecord(record));
  return record;
}

}  // namespace evenkeel
