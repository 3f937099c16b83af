#include "server/store_access.h"

#include <grpcpp/security/credentials.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "cluster/etcd/etcd_members.h"
#include "cluster/etcd/etcd_process.h"
#include "cluster/etcd/etcd_store.h"
#include "core/format.h"
#include "core/replace_file.h"

namespace evenkeel {
namespace {

class EtcdMemberProcess final : public MemberProcess {
 public:
  explicit EtcdMemberProcess(std::unique_ptr<EtcdProcess> process) : process_(std::move(process)) {}
  void Stop(Duration patience, std::function<void()> done) override {
    process_->Stop(patience, std::move(done));
  }
  pid_t pid() const override { return process_->pid(); }
  int restarts() const override { return process_->restarts(); }
  std::string last_end() const override { return process_->last_end(); }

 private:
  const std::unique_ptr<EtcdProcess> process_;
};

Result<std::string> TextOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Unavailable("{} cannot be read", path);
  return text.str();
}

// For an etcd that runs elsewhere.
Result<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(const StoreHome& store) {
  if (store.ca_file.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  const auto read = [](const std::string& path, std::string* into) {
    if (path.empty()) return Status::Ok();
    auto text = TextOf(path);
    if (text.ok()) *into = std::move(*text);
    return text.status();
  };
  EK_RETURN_IF_ERROR(read(store.ca_file, &options.pem_root_certs));
  EK_RETURN_IF_ERROR(read(store.cert_file, &options.pem_cert_chain));
  EK_RETURN_IF_ERROR(read(store.key_file, &options.pem_private_key));
  return grpc::SslCredentials(options);
}

}  // namespace

StoreAccess EtcdAccess(const std::string& folder, const link::NodeCredentials& credentials,
                       EventLoop& loop, const Clock& clock) {
  StoreAccess access;
  access.connect = [&](const StoreHome& store,
                       StoreAccess::Endpoints endpoints) -> Result<std::unique_ptr<KvStore>> {
    EtcdStoreOptions options;
    options.changing = std::move(endpoints);
    if (store.kind == StoreHome::Kind::kMembers) {
      options.credentials = credentials.Client();
    } else {
      auto made = CredentialsOf(store);
      if (!made.ok()) return made.status();
      options.credentials = std::move(*made);
    }
    return MakeEtcdStore(std::move(options), loop);
  };
  access.members = [&](StoreAccess::Endpoints endpoints) {
    EtcdClientOptions options;
    options.changing = std::move(endpoints);
    options.credentials = credentials.Client();
    return MakeEtcdMembers(std::move(options), loop);
  };
  access.start = [folder, &credentials, &loop,
                  &clock](EtcdProcessOptions options) -> Result<std::unique_ptr<MemberProcess>> {
    // etcd takes every certificate of this file for an authority, so node.pem won't do.
    const std::string authority = folder + "/store-ca.pem";
    EK_RETURN_IF_ERROR(ReplaceFile(authority, credentials.certificate().authority_pem));
    options.tls = EtcdFiles{folder + "/node.pem", folder + "/node.pem", authority};
    auto process = EtcdProcess::Start(std::move(options), loop, clock);
    if (!process.ok()) return process.status();
    return std::unique_ptr<MemberProcess>(std::make_unique<EtcdMemberProcess>(std::move(*process)));
  };
  return access;
}

}  // namespace evenkeel
