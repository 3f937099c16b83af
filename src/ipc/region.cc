#include "ipc/region.h"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

#include "core/format.h"

namespace evenkeel::ipc {

Region::~Region() {
  if (base_ != nullptr) ::munmap(base_, layout_.total());
}

Status Region::Map(int fd, const Layout& layout) {
  void* base =
      ::mmap(nullptr, layout.total(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) {
    return Unavailable("mapping {} bytes of shared memory: {}", layout.total(),
                       std::generic_category().message(errno));
  }
  base_ = static_cast<std::byte*>(base);
  layout_ = layout;
  // Advice: failing to give it harms nothing. Tensors belong in no core dump and in no other child.
  ::madvise(base, layout.total(), MADV_DONTDUMP);
  ::madvise(base, layout.total(), MADV_DONTFORK);
  return Status::Ok();
}

}  // namespace evenkeel::ipc
