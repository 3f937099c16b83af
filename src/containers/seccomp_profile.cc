#include "containers/seccomp_profile.h"

#include <array>

namespace evenkeel {
namespace {

constexpr auto kAllowed = std::to_array<std::string_view>(
    {// Reading and writing what is open.
     "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
     "pwritev2", "lseek", "_llseek", "close", "close_range", "dup", "dup2", "dup3", "fcntl",
     "fcntl64", "flock", "fsync", "fdatasync", "ftruncate", "ftruncate64", "fallocate", "sendfile",
     "copy_file_range", "fadvise64", "readahead",
     // Files of the root: the mounts say what may be written.
     "open", "openat", "openat2", "access", "faccessat", "faccessat2", "stat", "stat64", "lstat",
     "lstat64", "fstat", "fstat64", "newfstatat", "fstatat64", "statx", "statfs", "fstatfs",
     "readlink", "readlinkat", "getdents64", "getcwd", "chdir", "mkdir", "mkdirat", "rmdir",
     "unlink", "unlinkat", "rename", "renameat", "renameat2", "chmod", "fchmod", "fchmodat",
     "fchmodat2", "umask", "utimensat",
     // Memory, compiled kernels included.
     "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "msync", "mincore", "mlock",
     "mlock2", "munlock", "mbind", "get_mempolicy", "set_mempolicy", "membarrier",
     // Threads; clone() has a rule of its own.
     "futex", "futex_time64", "futex_waitv", "set_robust_list", "get_robust_list", "rseq",
     "set_tid_address", "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam",
     "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "gettid",
     "setpriority", "getpriority", "exit", "exit_group",
     // Signals, to itself: the process namespace has nobody else.
     "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend",
     "rt_sigtimedwait", "sigaltstack", "sigreturn", "tgkill", "tkill", "kill", "restart_syscall",
     // Waiting; the channel's socket is handed in, none can be made.
     "poll", "ppoll", "ppoll_time64", "select", "pselect6", "epoll_create1", "epoll_ctl",
     "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe", "pipe2", "recvfrom",
     "recvmsg", "sendto", "sendmsg", "shutdown", "getsockopt", "nanosleep", "clock_nanosleep",
     "clock_nanosleep_time64",
     // Time and facts about itself and the machine.
     "clock_gettime", "clock_gettime64", "clock_getres", "gettimeofday", "time", "times", "uname",
     "sysinfo", "getrusage", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64", "getpid",
     "getppid", "getuid", "geteuid", "getgid", "getegid", "getuid32", "geteuid32", "getgid32",
     "getegid32", "getpgrp", "getsid", "getgroups", "getrandom", "capget", "prctl", "arch_prctl",
     // From evenkeel-init to the worker. The root holds no other program.
     "execve", "wait4", "waitid"});

}  // namespace

std::span<const std::string_view> AllowedCalls() { return kAllowed; }

}  // namespace evenkeel
