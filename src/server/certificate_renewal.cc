#include "server/certificate_renewal.h"

#include <utility>

#include "cluster/pki/signing_request.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {

CertificateRenewal::CertificateRenewal(Options options, const pki::NodeCertificate& certificate,
                                       Ask ask, EventLoop& loop, EventLog& events)
    : options_(std::move(options)),
      cluster_(certificate.cluster),
      node_(certificate.node),
      authority_pem_(certificate.authority_pem),
      ask_(std::move(ask)),
      loop_(loop),
      events_(events),
      not_before_(certificate.not_before),
      not_after_(certificate.not_after) {}

void CertificateRenewal::Look(pki::WallTime now) {
  if (asking_ || now < not_until_ || !pki::RenewalDue(not_before_, not_after_, now)) return;
  not_until_ = now + options_.again;
  auto made = pki::MakeSigningRequest({cluster_, node_, {options_.host}});
  if (!made.ok()) {
    LogError("this node's certificate is not renewed: {}", made.status().message());
    return;
  }
  asking_ = true;
  ask_(made->request_pem, [this, key = made->key_pem, alive = std::weak_ptr<const bool>(alive_),
                           &loop = loop_](Result<std::string> chain) {
    loop.Post([this, key, alive, chain = std::move(chain)] {
      if (!alive.expired()) OnAnswer(key, chain);
    });
  });
}

void CertificateRenewal::OnAnswer(const std::string& key_pem, Result<std::string> chain) {
  asking_ = false;
  const Status taken = Take(key_pem, std::move(chain));
  if (!taken.ok()) {
    LogWarning(
        "this node's certificate is not renewed: {}; it is good for {} days", taken.message(),
        std::chrono::duration_cast<std::chrono::days>(
            not_after_ - std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()))
            .count());
    return;
  }
  events_.Note("this node's certificate was renewed",
               "two thirds of its life were over; links use the new one after the next start");
}

Status CertificateRenewal::Take(const std::string& key_pem, Result<std::string> chain) {
  EK_RETURN_IF_ERROR(chain.status());
  auto certificate = pki::NodeCertificate::Create(std::move(*chain), key_pem);
  if (!certificate.ok()) return certificate.status();
  if (certificate->node != node_ || certificate->cluster != cluster_ ||
      certificate->authority_pem != authority_pem_)
    return Unauthenticated("what was given is for node '{}' of cluster '{}', or another authority",
                           certificate->node, certificate->cluster);
  EK_RETURN_IF_ERROR(certificate->Save(options_.folder));
  not_before_ = certificate->not_before;
  not_after_ = certificate->not_after;
  not_until_ = {};
  renewed_ = true;
  return Status::Ok();
}

}  // namespace evenkeel
