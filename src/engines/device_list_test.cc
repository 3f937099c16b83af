#include "engines/device_list.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

TEST(DeviceListTest, RoundTrips) {
  const auto back = DecodeDevices(
      EncodeDevices({{"GPU.1", "Some \xff GPU", 128, int64_t{16} << 30}, {"NPU", "", 0, 0}}));
  ASSERT_TRUE(back.ok());
  ASSERT_EQ(back->size(), 2u);
  EXPECT_EQ(back->front().name, "GPU.1");
  EXPECT_EQ(back->front().cores, 128);
  EXPECT_EQ(back->front().memory_bytes, int64_t{16} << 30);
}

TEST(DeviceListTest, NonsenseIsInternal) {
  for (const char* text :
       {"", "{}", "[1]", R"([{}])", R"([{"name":""}])", R"([{"name":"G","cores":"x"}])"})
    EXPECT_EQ(DecodeDevices(text).status().code(), Code::kInternal) << text;
}

class Script {
 public:
  explicit Script(const std::string& body)
      : path_(std::filesystem::temp_directory_path() /
              ("evenkeel-devices-" + std::to_string(::getpid()))) {
    std::ofstream(path_) << "#!/bin/sh\n" << body;
    ::chmod(path_.c_str(), 0700);
  }
  ~Script() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(DeviceListTest, AsksTheExecutable) {
  const Script script("[ \"$1\" = --devices ] && echo '[{\"name\":\"GPU\"}]'\n");
  const auto devices = ListDevices(script.path());
  ASSERT_TRUE(devices.ok()) << devices.status().ToString();
  EXPECT_EQ(devices->front().name, "GPU");
}

TEST(DeviceListTest, OneThatFailsHangsOrIsNotThereIsUnavailable) {
  EXPECT_EQ(ListDevices("/nowhere/worker").status().code(), Code::kUnavailable);
  EXPECT_EQ(ListDevices(Script("exit 3\n").path()).status().code(), Code::kUnavailable);
  const Script hangs("exec sleep 60\n");
  EXPECT_EQ(ListDevices(hangs.path(), 200ms).status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
