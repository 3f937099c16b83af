// What tests of language models with their real processes start from: SmolLM2-135M-Instruct, as models/make.sh makes it, a loop, a runtime.
//
// For files that name EVENKEEL_BINARY_DIR, which have the folders from the build. A fixture's own members go before the loop.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "containers/runtime.h"
#include "llm/llm_context.h"
#include "net/io_loop.h"

namespace evenkeel {

class LanguageTest : public testing::Test {
 protected:
  static std::string ModelPath() {
    const char* folder = std::getenv("EVENKEEL_MODELS");
    return (folder != nullptr ? std::string(folder)
                              : std::string(EVENKEEL_SOURCE_DIR) + "/build/demo-models") +
           "/smollm2/model.gguf";
  }
  void SetUp() override {
    if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no " << ModelPath();
    loop_ = IoLoop::Create("test").value();
    loop_->Start();
    runtime_ = MakeProcessRuntime();
  }
  void OnLoop(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  LlmContext Context() {
    return {*loop_,
            SteadyClock::Instance(),
            *runtime_,
            std::string(EVENKEEL_BINARY_DIR) + "/libexec/evenkeel",
            {}};
  }

  std::unique_ptr<IoLoop> loop_;  // null: skipped
  std::unique_ptr<Runtime> runtime_;
};

}  // namespace evenkeel
