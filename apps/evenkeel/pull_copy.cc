#include "pull_copy.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 100'000;
constexpr size_t kBlock = size_t{1} << 20;

class Digest {
 public:
  Digest() : context_(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free) {
    ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr);
  }
  void Add(const void* data, size_t size) { ::EVP_DigestUpdate(context_.get(), data, size); }
  std::string Hex() {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ::EVP_DigestFinal_ex(context_.get(), bytes, &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

Status Broken(const std::string& path) { return Unavailable("{}: {}", path, std::strerror(errno)); }

Status WriteAll(int fd, const char* data, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Broken(path);
    data += n;
    size -= static_cast<size_t>(n);
  }
  return {};
}

// Reads all of `path`, handing on each block. Gives its digest.
Result<std::string> ReadThrough(const std::string& path, const PullProgress& progress,
                                const std::function<Status(const char*, size_t)>& block) {
  const File file(path, O_RDONLY);
  if (file.fd() < 0) return Broken(path);
  std::vector<char> buffer(kBlock);
  Digest digest;
  for (;;) {
    if (progress.stopped()) return Cancelled("stopped");
    const ssize_t n = ::read(file.fd(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Broken(path);
    if (n == 0) break;
    digest.Add(buffer.data(), static_cast<size_t>(n));
    EK_RETURN_IF_ERROR(block(buffer.data(), static_cast<size_t>(n)));
  }
  return digest.Hex();
}

// Copies one file and gives its digest, which that of the copy equals.
Result<std::string> CopyFile(const PullFile& file, const std::string& to,
                             const PullProgress& progress, uint64_t* done) {
  uint64_t copied = 0;
  Result<std::string> digest = Internal("not copied");
  {
    const File out(to, O_WRONLY | O_CREAT | O_EXCL);
    if (out.fd() < 0) return Broken(to);
    digest = ReadThrough(file.from, progress, [&](const char* data, size_t size) {
      copied += size;
      *done += size;
      progress.report(*done);
      return WriteAll(out.fd(), data, size, to);
    });
    if (!digest.ok()) return digest;
    if (::fsync(out.fd()) != 0) return Broken(to);
  }
  if (copied != file.bytes)
    return Conflict("{}: changed while it was copied ({} bytes, then {})", file.from, file.bytes,
                    copied);
  const Result<std::string> again =
      ReadThrough(to, progress, [](const char*, size_t) { return Status(); });
  if (!again.ok()) return again;
  if (*again != *digest) return Internal("{}: the copy differs from {}", to, file.from);
  return digest;
}

Status AddFile(const fs::path& from, const std::string& to, PullPlan* plan) {
  struct stat info {};
  if (::lstat(from.c_str(), &info) != 0) return Broken(from.string());
  if (!S_ISREG(info.st_mode))
    return InvalidArgument("{}: is a link or a device; a model is made of files and folders",
                           from.string());
  if (plan->files.size() >= kMaxFiles)
    return TooLarge("{}: more than {} files", from.string(), kMaxFiles);
  plan->files.push_back({from.string(), to, static_cast<uint64_t>(info.st_size)});
  plan->bytes += static_cast<uint64_t>(info.st_size);
  return {};
}

Status AddFolder(const fs::path& folder, PullPlan* plan) {
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    if (error) break;
    // Hidden files are not the model's: version control, caches of downloads.
    if (it->path().filename().string().starts_with('.')) {
      if (fs::is_directory(status)) it.disable_recursion_pending();
      continue;
    }
    if (fs::is_directory(status)) continue;
    EK_RETURN_IF_ERROR(AddFile(it->path(), it->path().lexically_relative(folder).string(), plan));
  }
  if (error) return Unavailable("{}: {}", folder.string(), error.message());
  std::ranges::sort(plan->files, {}, &PullFile::to);
  if (plan->files.empty()) return InvalidArgument("{}: the folder has no files", folder.string());
  return {};
}

}  // namespace

Result<PullPlan> PlanPull(const std::string& path) {
  std::error_code error;
  PullPlan plan;
  // A link given by name is followed: it is what the user meant.
  const fs::path real = fs::canonical(path, error);
  if (error) return NotFound("{}: {}", path, error.message());
  if (fs::is_directory(real, error)) {
    plan.folder = true;
    EK_RETURN_IF_ERROR(AddFolder(real, &plan));
    return plan;
  }
  const std::string name = fs::path(path).filename().string();
  EK_RETURN_IF_ERROR(AddFile(real, name, &plan));
  for (const auto& [suffix, other] :
       {std::pair(".xml", ".bin"), std::pair(".pdmodel", ".pdiparams")}) {
    if (fs::path(name).extension() != suffix) continue;
    fs::path beside = real;
    beside.replace_extension(other);
    EK_RETURN_IF_ERROR(AddFile(beside, fs::path(name).replace_extension(other).string(), &plan));
    plan.folder = true;
  }
  std::ranges::sort(plan.files, {}, &PullFile::to);
  return plan;
}

Result<std::string> CopyPlan(const PullPlan& plan, const std::string& target,
                             const PullProgress& progress) {
  uint64_t done = 0;
  Digest all;
  for (const PullFile& file : plan.files) {
    const fs::path to = fs::path(target) / file.to;
    std::error_code error;
    fs::create_directories(to.parent_path(), error);
    if (error) return Unavailable("{}: {}", to.parent_path().string(), error.message());
    const Result<std::string> digest = CopyFile(file, to.string(), progress, &done);
    if (!digest.ok()) return digest;
    if (!plan.folder) return digest;
    const std::string line = fmt::format("{}  {}\n", *digest, file.to);
    all.Add(line.data(), line.size());
  }
  return all.Hex();
}

}  // namespace evenkeel
