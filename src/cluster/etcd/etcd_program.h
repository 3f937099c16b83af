// The program `etcd` of this machine (Debian: package etcd-server), and how it is started.
//
// Thread-safety: thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

// Absolute path. Looks in PATH, then where Debian and administrators put it. Error kUnavailable: it is nowhere; says what to install.
Result<std::string> FindEtcd();
// "3.4.23": what `program --version` says. Blocks for tens of milliseconds, 5 s at most. Errors: kUnavailable (cannot be started, does not answer),
// kUnsupported (not 3.4 to 3.6).
Result<std::string> VersionOfEtcd(const std::string& program);

struct EtcdFiles {
  std::string certificate, key, ca;  // absolute paths, PEM
};

struct EtcdMember {
  std::string name;      // as IsNodeId()
  std::string peer_url;  // "http://127.0.0.1:8005"
};

// One member, and what it listens on.
struct EtcdProcessOptions {
  std::string program;  // absolute; empty: FindEtcd()
  std::string data;     // absolute folder, made with mode 0700
  std::string name;     // of the member; as IsNodeId()
  std::string address =
      "127.0.0.1";      // numeric; others must be able to reach it if there are several members
  int client_port = 0;  // 1 to 65535
  int peer_port = 0;    // 1 to 65535, another one
  std::string token;    // of the cluster: its id
  std::vector<EtcdMember> members;  // with this one; empty: it is alone
  bool join_existing = false;       // the cluster runs already, and was told of this member
  std::optional<EtcdFiles>
      tls;  // for clients and peers, both of which must show a certificate of the CA
  int64_t quota_bytes = int64_t{256} << 20;           // of the data; 16 MiB to 8 GiB
  Duration compact_after = std::chrono::minutes(10);  // older changes are forgotten; whole minutes
  // Each is a message to every other member and one back: at rest most of what the store's leader sends.
  Duration heartbeat = std::chrono::milliseconds(200);
  Duration election = std::chrono::milliseconds(1000);  // at least 5 heartbeats
};

// Error: kInvalidArgument with the option.
Status CheckEtcdOptions(const EtcdProcessOptions& options);
// REQUIRES: CheckEtcdOptions(options).ok().
std::vector<std::string> EtcdArguments(const EtcdProcessOptions& options);
// "127.0.0.1:8004": for EtcdStoreOptions::endpoints.
std::string EtcdEndpoint(const EtcdProcessOptions& options);
// "http://127.0.0.1:8005", for the other members' lists.
std::string EtcdPeerUrl(const EtcdProcessOptions& options);

}  // namespace evenkeel
