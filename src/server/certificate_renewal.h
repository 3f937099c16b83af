// Renews this node's certificate before it ends: at two thirds of its life it asks the node that holds the authority for a new one, over a link that the old one
// proves (NodeHost::Renew), and puts it in the old one's place.
//
// Contract: Look() is called now and then (an hour apart is enough); one question at a time, and after a failure none for `again`. The file holds the old pair or the new
//   one, never half of both. etcd reads the file at each connection; this server's own links use it from the next start on.
// Units: wall-clock time, as certificates have. Thread-safety: single-owner (the loop); answers are posted to it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cluster/pki/certificate_life.h"
#include "cluster/pki/node_certificate.h"
#include "core/event_loop.h"
#include "core/status.h"
#include "server/event_log.h"

namespace evenkeel {

class CertificateRenewal {
 public:
  // Sends a signing request to whoever holds the authority; the answer, on any thread, is a chain as PEM.
  using Ask =
      std::function<void(const std::string& request_pem, std::function<void(Result<std::string>)>)>;
  struct Options {
    std::string folder;  // the cluster folder
    std::string host;    // this node's address, without a port
    std::chrono::seconds again = std::chrono::hours(1);
  };

  CertificateRenewal(Options options, const pki::NodeCertificate& certificate, Ask ask,
                     EventLoop& loop, EventLog& events);

  void Look(pki::WallTime now);
  // A new one is on the disk, and the old one in use.
  bool renewed() const { return renewed_; }

 private:
  void OnAnswer(const std::string& key_pem, Result<std::string> chain);
  Status Take(const std::string& key_pem, Result<std::string> chain);

  const Options options_;
  const std::string cluster_, node_, authority_pem_;
  const Ask ask_;
  EventLoop& loop_;
  EventLog& events_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  pki::WallTime not_before_, not_after_;
  pki::WallTime not_until_{};  // after a failure
  bool asking_ = false;
  bool renewed_ = false;
};

}  // namespace evenkeel
