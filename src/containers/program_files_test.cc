#include "containers/program_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;

TEST(FilesOfProgramTest, NamesTheProgramItsLibrariesAndTheLoader) {
  const auto files = FilesOfProgram("/bin/sh");
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  EXPECT_THAT(*files, Contains("/bin/sh"));
  EXPECT_THAT(*files, Contains(HasSubstr("/libc.so.6")));
  EXPECT_THAT(*files, Contains(HasSubstr("/ld-linux")));
  for (const auto& path : *files) EXPECT_TRUE(fs::exists(path)) << path;
}

TEST(FilesOfProgramTest, AFolderOfTheProgramsOwnLibrariesIsTakenWhole) {
  // A library moved out of the system's folders stands for the folder that it lies in.
  const fs::path folder = fs::temp_directory_path() / ("evenkeel-pf-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const auto before = FilesOfProgram("/bin/sh");
  ASSERT_TRUE(before.ok());
  for (const auto& path : *before) {
    if (path.find("/libc.so.6") != std::string::npos) fs::copy_file(path, folder / "libc.so.6");
  }
  ::setenv("LD_LIBRARY_PATH", folder.c_str(), 1);
  const auto files = FilesOfProgram("/bin/sh");
  ::unsetenv("LD_LIBRARY_PATH");
  fs::remove_all(folder);
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  EXPECT_THAT(*files, Contains(folder.string()));
  EXPECT_THAT(*files, testing::Not(Contains((folder / "libc.so.6").string())));
}

TEST(FilesOfProgramTest, SaysWhatIsMissing) {
  EXPECT_EQ(FilesOfProgram("/nonexistent/p").status().message(),
            "starting /nonexistent/p: No such file or directory");
  EXPECT_EQ(FilesOfProgram("/etc/hostname").status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
