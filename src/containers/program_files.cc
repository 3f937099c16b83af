#include "containers/program_files.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "containers/cgroup_text.h"
#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

// What the loader says about `program` with the libraries `with` loaded first. A statically linked program gives no text.
Result<std::string> LoaderTrace(const std::string& program, const std::string& with) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Unavailable("pipe: {}", std::generic_category().message(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string argument = program;
  std::array<char*, 2> argv = {argument.data(), nullptr};
  std::vector<std::string> env = {"LD_TRACE_LOADED_OBJECTS=1"};
  if (const char* path = std::getenv("LD_LIBRARY_PATH"))
    env.push_back(std::string("LD_LIBRARY_PATH=") + path);
  if (!with.empty()) env.push_back("LD_PRELOAD=" + with);
  std::vector<char*> envp;
  for (std::string& entry : env) envp.push_back(entry.data());
  envp.push_back(nullptr);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t got = 0; error == 0 && (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  ::close(ends[0]);
  if (error != 0) return Unavailable("{}: {}", program, std::generic_category().message(error));
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return text;
}

bool IsSystemFolder(const std::string& folder) {
  for (const char* system : {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"}) {
    if (folder == system || folder.starts_with(std::string(system) + "/")) {
      return folder.find("openvino") == std::string::npos &&
             folder.find("evenkeel") == std::string::npos;
    }
  }
  return false;
}

bool IsLibrary(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".so") || name.find(".so.") != std::string::npos;
}

class Closure {
 public:
  // Adds what `text` names. Lines are "NAME => PATH (ADDRESS)" or "PATH (ADDRESS)".
  void AddTrace(std::string_view text, const std::string& of) {
    for (const auto line : Split(text, '\n')) {
      if (line.find("=> not found") != std::string_view::npos) {
        missing_.push_back(fmt::format("{} (for {})", Split(Split(line, '\t')[0], ' ')[0], of));
      }
      const size_t begin = line.find('/');
      const size_t end = line.find(" (0x", begin);
      if (begin == std::string_view::npos || end == std::string_view::npos) continue;
      const std::string path(line.substr(begin, end - begin));
      AddFile(path);
    }
  }
  void AddFile(const std::string& path) {
    const std::string folder = fs::path(path).parent_path().lexically_normal().string();
    if (IsSystemFolder(folder)) {
      files_.insert(path);
    } else {
      files_.insert(folder);
      plugin_folders_.insert(folder);
    }
  }

  std::set<std::string> files_, plugin_folders_;
  std::vector<std::string> missing_;
};

}  // namespace

Result<std::vector<std::string>> FilesOfProgram(const std::string& program) {
  if (::access(program.c_str(), X_OK) != 0) {
    return Unavailable("starting {}: {}", program, std::generic_category().message(errno));
  }
  const auto trace = LoaderTrace(program, "");
  if (!trace.ok()) return trace.status();
  Closure closure;
  closure.AddTrace(*trace, program);
  if (!closure.missing_.empty()) {
    return Unavailable("{} cannot load {}", program, closure.missing_.front());
  }
  // All plugins at once: one start of the loader. One that lacks a library is no error: it serves a device that is not here.
  std::string plugins;
  std::error_code error;
  for (const std::string& folder : closure.plugin_folders_) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string path = entry.path().string();
      // A blank or a colon would be read as two names.
      if (!IsLibrary(entry.path()) || path.find_first_of(" :") != std::string::npos) continue;
      plugins += (plugins.empty() ? "" : ":") + path;
    }
  }
  if (!plugins.empty()) {
    const auto all = LoaderTrace(program, plugins);
    if (all.ok()) closure.AddTrace(*all, program);
  }
  closure.files_.insert(program);
  std::vector<std::string> files;
  for (const std::string& path : closure.files_) {
    const bool inside = std::ranges::any_of(closure.plugin_folders_, [&](const auto& folder) {
      return path.starts_with(folder + "/");
    });
    if (!inside) files.push_back(path);
  }
  return files;
}

}  // namespace evenkeel
