#include "loadgen/grpc_credentials.h"

#include <fstream>
#include <iterator>

namespace evenkeel::loadgen {

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Url& url) {
  if (!url.tls()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  if (!url.ca_file.empty()) {
    std::ifstream file(url.ca_file, std::ios::binary);
    options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
    if (options.pem_root_certs.empty()) options.pem_root_certs = "none";
  }
  return grpc::SslCredentials(options);
}

}  // namespace evenkeel::loadgen
