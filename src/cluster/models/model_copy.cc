#include "cluster/models/model_copy.h"

#include <sys/stat.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "cluster/models/copy_pace.h"
#include "cluster/models/partial_copy.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

// Who is to blame for what went wrong: another source may help, or nothing does.
struct Failure {
  Status status;
  bool ours = false;  // the disk, or the copy was stopped
  bool bad = false;   // the source has another content, or lies: it is not asked again
};

Failure Ours(Status status) { return {std::move(status), true, false}; }

class Copier {
 public:
  Copier(const CopyJob& job, const Clock& clock, const CopyOptions& options)
      : job_(job),
        clock_(clock),
        options_(options),
        pace_(options.bytes_per_s),
        partial_(job.partial, job.model, job.digest) {}

  Result<ModelListing> Run(std::span<ModelSource* const> sources);
  Status MoveTo(const std::string& models, const ModelListing& listing) {
    return partial_.MoveTo(models, listing);
  }

 private:
  // Ok: all of it is here and right.
  Failure From(ModelSource& source, ModelListing* listing);
  Failure FetchFile(ModelSource& source, const ListedFile& file);
  Failure FetchRest(ModelSource& source, const ListedFile& file);
  void Report() const { options_.report(progress_); }
  uint64_t BytesHere(const ModelListing& listing) const;

  const CopyJob& job_;
  const Clock& clock_;
  const CopyOptions& options_;
  CopyPace pace_;
  PartialCopy partial_;
  CopyProgress progress_;
  bool begun_ = false;
  Time last_byte_{};
};

uint64_t Copier::BytesHere(const ModelListing& listing) const {
  uint64_t bytes = 0;
  for (const ListedFile& file : listing.files) bytes += partial_.BytesOf(file);
  return bytes;
}

Failure Copier::FetchRest(ModelSource& source, const ListedFile& file) {
  uint64_t have = partial_.BytesOf(file);
  // An empty file is made by adding nothing to it.
  if (file.bytes == 0) return Ours(partial_.Append(file, {}));
  while (have < file.bytes) {
    if (const Duration wait = pace_.Wait(clock_.Now()); wait > Duration(0)) options_.sleep(wait);
    if (options_.stopped()) return Ours(Cancelled("stopped"));
    FilePiece piece{job_.model, job_.digest, file.path, have, 0};
    piece.length = std::min(pace_.PieceBytes(kMostPieceBytes), file.bytes - have);
    const auto bytes = source.Read(piece);
    if (!bytes.ok()) return {bytes.status(), false, bytes.status().code() == Code::kConflict};
    if (bytes->empty() || bytes->size() > piece.length)
      return {InvalidArgument("'{}': asked for {} bytes from {} on, got {}", file.path,
                              piece.length, have, bytes->size()),
              false, true};
    last_byte_ = clock_.Now();
    pace_.Took(bytes->size(), last_byte_);
    if (Status added = partial_.Append(file, *bytes); !added.ok()) return Ours(std::move(added));
    have += bytes->size();
    progress_.fetched += bytes->size();
    progress_.done += bytes->size();
    Report();
  }
  return {};
}

Failure Copier::FetchFile(ModelSource& source, const ListedFile& file) {
  for (int attempt = 0; attempt <= kRefetches; ++attempt) {
    if (Failure failed = FetchRest(source, file); !failed.status.ok()) return failed;
    const auto right = partial_.Verify(file, options_.stopped);
    if (!right.ok()) return Ours(right.status());
    if (*right) return {};
    if (Status gone = partial_.Discard(file); !gone.ok()) return Ours(std::move(gone));
    progress_.done -= std::min(progress_.done, file.bytes);
    Report();
  }
  return {InvalidArgument("'{}' came {} times with other bytes than sha256:{}", file.path,
                          kRefetches + 1, file.sha256),
          false, true};
}

Failure Copier::From(ModelSource& source, ModelListing* listing) {
  progress_.from = source.node();
  auto listed = source.List(job_.model);
  if (options_.stopped()) return Ours(Cancelled("stopped"));
  if (!listed.ok()) return {listed.status(), false, false};
  if (Status checked = CheckListing(*listed, job_.model); !checked.ok())
    return {std::move(checked), false, true};
  if (listed->digest != job_.digest)
    return {Conflict("it has sha256:{}, wanted is sha256:{}", listed->digest, job_.digest), false,
            true};
  if (Status began = partial_.Begin(*listed, options_.spare_bytes); !began.ok())
    return Ours(std::move(began));
  progress_.total = listed->bytes;
  progress_.done = BytesHere(*listed);
  if (!begun_) progress_.resumed = progress_.done;
  begun_ = true;
  Report();
  for (const ListedFile& file : listed->files) {
    if (Failure failed = FetchFile(source, file); !failed.status.ok()) return failed;
  }
  *listing = std::move(*listed);
  return {};
}

Result<ModelListing> Copier::Run(std::span<ModelSource* const> sources) {
  std::vector<ModelSource*> left(sources.begin(), sources.end());
  if (left.empty()) return Unavailable("no node has model '{}'", job_.model);
  last_byte_ = clock_.Now();
  Status last;
  while (!left.empty()) {
    for (ModelSource*& source : left) {
      ModelListing listing;
      const Failure failed = From(*source, &listing);
      if (failed.status.ok()) return listing;
      if (failed.ours) return failed.status;
      last = failed.status.Annotate(fmt::format("node '{}'", source->node()));
      if (failed.bad) source = nullptr;
    }
    std::erase(left, nullptr);
    if (left.empty() || clock_.Now() - last_byte_ >= options_.patience) break;
    options_.sleep(options_.again);
    if (options_.stopped()) return Cancelled("stopped");
  }
  return last;
}

}  // namespace

std::string PartialFolder(const std::string& models, const std::string& state) {
  struct stat a {
  }, b{};
  const bool same =
      ::stat(models.c_str(), &a) == 0 && ::stat(state.c_str(), &b) == 0 && a.st_dev == b.st_dev;
  return same ? state + "/incoming" : models + "/.incoming";
}

Status OtherContent(const std::string& model, const std::string& here, const std::string& wanted) {
  return Conflict(
      "there is another model '{}' already: sha256:{}, wanted is sha256:{}; remove it, or give one "
      "of the two another name",
      model, here, wanted);
}

Result<ModelListing> CopyModel(const CopyJob& job, ModelFiles& own,
                               std::span<ModelSource* const> sources, const Clock& clock,
                               const CopyOptions& options) {
  if (!IsSha256(job.digest))
    return InvalidArgument("model '{}': {} is no SHA-256", job.model, Excerpt(job.digest, 80));
  auto here = own.List(job.model, options.stopped);
  if (here.ok() && here->digest != job.digest)
    return OtherContent(job.model, here->digest, job.digest);
  if (here.ok() || here.status().code() != Code::kNotFound) return here;
  Copier copier(job, clock, options);
  auto copied = copier.Run(sources);
  if (!copied.ok()) return copied;
  // Somebody may have put a model of the name there meanwhile, as another kind of file, which no rename would notice.
  here = own.List(job.model, options.stopped);
  if (here.ok())
    return here->digest == job.digest ? here : OtherContent(job.model, here->digest, job.digest);
  if (here.status().code() != Code::kNotFound) return here;
  EK_RETURN_IF_ERROR(copier.MoveTo(own.folder(), *copied));
  return copied;
}

}  // namespace evenkeel
