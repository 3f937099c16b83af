// A worker for tests, which does inside its walls what a hostile or a broken engine would, and says how it went.
//
//   containers_probe FD COMMAND [ARGUMENT]      the answer is one line, written to descriptor FD
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

// Of AddressSanitizer, where it is built in: crashes are to end it as they end any worker, and leaks cannot be looked for in a container.
extern "C" const char*
__asan_default_options();  // NOLINT(bugprone-reserved-identifier): the runtime's name
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
  return "handle_segv=0:detect_leaks=0";
}

namespace {

using Clock = std::chrono::steady_clock;

std::string Outcome(long result) { return result >= 0 ? "ok" : std::strerror(errno); }

// Turns of a fixed loop in `ms` of wall time on `threads` threads: work done, which a quota cuts.
std::string Burn(int ms, int threads) {
  std::vector<std::thread> pool;
  std::vector<long> turns(static_cast<size_t>(threads), 0);
  const auto end = Clock::now() + std::chrono::milliseconds(ms);
  for (auto& mine : turns) {
    pool.emplace_back([&mine, end] {
      while (Clock::now() < end) {
        // Work that the compiler cannot leave out.
        for (int i = 0; i < 10'000; ++i) asm volatile("" ::"r"(i));
        ++mine;
      }
    });
  }
  for (auto& thread : pool) thread.join();
  long sum = 0;
  for (const long mine : turns) sum += mine;
  return std::to_string(sum);
}

std::string Eat(int mib) {
  for (int i = 0; i < mib; ++i) {
    void* block = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (block == MAP_FAILED) return "refused after " + std::to_string(i) + " MiB";
    std::memset(block, 1, 1 << 20);
  }
  return "ate " + std::to_string(mib) + " MiB";
}

// Threads until one is refused: fork is no different to the limit of pids.
std::string Threads(int most) {
  std::vector<std::thread> pool;
  std::string said = "made all";
  bool stop = false;
  try {
    for (int i = 0; i < most; ++i) {
      pool.emplace_back([&stop] {
        while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) ::usleep(10'000);
      });
    }
  } catch (const std::system_error& e) {
    said = "refused after " + std::to_string(pool.size());
  }
  __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
  for (auto& thread : pool) thread.join();
  return said;
}

// "FD:MIB": writes to the first MIB of shared memory.
std::string Touch(const std::string& argument) {
  const int fd = std::atoi(argument.c_str());
  const size_t size = std::stoul(argument.substr(argument.find(':') + 1)) << 20;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return std::strerror(errno);
  std::memset(memory, 1, size);
  return "ok";
}

// "FD:MIB": eats once the descriptor can be read.
std::string EatLater(const std::string& argument) {
  pollfd go{std::atoi(argument.c_str()), POLLIN, 0};
  if (::poll(&go, 1, 30'000) != 1) return "was never told to";
  return Eat(std::stoi(argument.substr(argument.find(':') + 1)));
}

std::string Status(const char* key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) return line.substr(std::strlen(key) + 2);
  }
  return "?";
}

std::string Interfaces() {
  std::ifstream file("/proc/net/dev");
  std::string names;
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      names += line.substr(line.find_first_not_of(' '), colon - line.find_first_not_of(' ')) + " ";
    }
  }
  return names;
}

std::string Write(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  if (fd < 0) return std::strerror(errno);
  const std::string said = Outcome(::write(fd, "x", 1));
  ::close(fd);
  return said;
}

std::string Answer(const std::string& command, const std::string& argument) {
  const int number = std::atoi(argument.c_str());
  if (command == "burn") return Burn(number, 1);
  if (command == "burn2") return Burn(number, 2);
  if (command == "eat") return Eat(number);
  if (command == "eat_later") return EatLater(argument);
  if (command == "threads") return Threads(number);
  if (command == "status") return Status(argument.c_str());
  if (command == "interfaces") return Interfaces();
  if (command == "write") return Write(argument);
  if (command == "read") return Outcome(::open(argument.c_str(), O_RDONLY));
  if (command == "pid") return std::to_string(::getpid());
  if (command == "uid") return std::to_string(::getuid());
  if (command == "socket") return Outcome(::socket(AF_INET, SOCK_STREAM, 0));
  if (command == "mount") return Outcome(::mount("none", "/tmp", "tmpfs", 0, nullptr));
  if (command == "ptrace") return Outcome(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
  if (command == "unshare") return Outcome(::unshare(CLONE_NEWUSER));
  if (command == "clone_newuser")
    return Outcome(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (command == "clone3") return Outcome(::syscall(SYS_clone3, nullptr, 0));
  if (command == "keyctl") return Outcome(::syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  if (command == "bpf") return Outcome(::syscall(SYS_bpf, 0, nullptr, 0));
  if (command == "touch") return Touch(argument);
  return "unknown command";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int fd = std::atoi(argv[1]);
  const std::string command = argv[2];
  const std::string argument = argc > 3 ? argv[3] : "";
  if (command == "exit") return std::atoi(argument.c_str());
  if (command == "abort") std::abort();
  if (command == "say") {
    ::write(2, argument.data(), argument.size());
    return 0;
  }
  if (command == "sleep") {
    const bool ready = ::write(fd, "ready\n", 6) == 6;
    while (ready) ::pause();
    return 1;
  }
  const std::string line = Answer(command, argument) + "\n";
  return ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) ? 0 : 1;
}
