// The checks of `evenkeel doctor` that are about who gets in: API keys, and addresses beyond loopback.
#include <algorithm>
#include <ctime>

#include "access/bind_rule.h"
#include "access/key_store.h"
#include "core/format.h"
#include "doctor_checks.h"

namespace evenkeel {
namespace {

constexpr const char* kMakeOne =
    "evenkeel key create --name admin --scope manage --scope metrics --scope 'infer:*'";

Check Keys(const Settings& settings, const Result<std::vector<KeyRecord>>& keys) {
  const std::string& auth = settings.text("auth");
  if (!keys.ok()) {
    // With `auth: off` the server does not look at them.
    const Verdict verdict = auth == "off" ? Verdict::kWarn : Verdict::kFail;
    return {"api keys", verdict, keys.status().message(), "evenkeel serve says the same: mend it"};
  }
  const int64_t now_s = std::time(nullptr);
  const auto valid = std::ranges::count_if(
      *keys, [now_s](const KeyRecord& key) { return !key.revoked() && !key.expired(now_s); });
  if (auth == "off" && valid > 0) {
    return {"api keys", Verdict::kWarn,
            fmt::format("auth is off: nobody is asked for one of the {} keys", valid),
            "auth: auto, unless that is meant"};
  }
  if (auth == "off") return {"api keys", Verdict::kPass, "off: whoever reaches a port gets in", {}};
  if (auth == "auto" && keys->empty()) {
    return {"api keys",
            Verdict::kPass,
            "off, for none was ever made: whoever reaches a port gets in",
            {}};
  }
  if (valid == 0)
    return {"api keys", Verdict::kWarn, "needed, and none is in force: nobody gets in", kMakeOne};
  return {"api keys", Verdict::kPass, fmt::format("needed; {} in force", valid), {}};
}

// One of the addresses that `serve` would refuse to listen on.
Check Addresses(const Settings& settings, bool keys_needed) {
  const BindFacts facts{.tls = !settings.text("tls.cert_file").empty(),
                        .keys = keys_needed,
                        .insecure = settings.flag("insecure")};
  std::string outside;
  for (const char* listener : {"http", "grpc", "metrics"}) {
    const std::string& address = settings.text(std::string(listener) + ".address");
    if (const Status status = CheckBind(address, facts); !status.ok())
      return {
          "addresses", Verdict::kFail, status.message(),
          fmt::format("listen on 127.0.0.1 ({}.address), or do what the finding says", listener)};
    if (!IsLoopbackAddress(address)) outside += (outside.empty() ? "" : ", ") + address;
  }
  if (outside.empty()) return {"addresses", Verdict::kPass, "loopback only", {}};
  if (facts.insecure)
    return {"addresses", Verdict::kWarn, outside + " with --insecure: nothing else guards it",
            "use TLS and API keys, or be sure of the network"};
  return {"addresses", Verdict::kPass, outside + " with TLS and API keys", {}};
}

}  // namespace

std::vector<Check> CheckAccess(const Settings& settings) {
  const auto keys = KeyStore(KeyStorePath(settings.text("state"))).Read();
  const std::string& auth = settings.text("auth");
  const bool needed = auth == "required" || (auth == "auto" && (!keys.ok() || !keys->empty()));
  return {Keys(settings, keys), Addresses(settings, needed)};
}

}  // namespace evenkeel
