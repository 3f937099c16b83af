#include "containers/usable_cpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

namespace evenkeel {
namespace {

int FirstOwn() {
  cpu_set_t own;
  CPU_ZERO(&own);
  ::sched_getaffinity(0, sizeof own, &own);
  int first = 0;
  while (!CPU_ISSET(first, &own)) ++first;
  return first;
}

TEST(UsableCpusTest, LeavesOutWhatIsNotThere) {
  const int there = FirstOwn();
  EXPECT_TRUE(UsableCpus({})->empty());
  EXPECT_THAT(*UsableCpus({there, 1000, 5000}), testing::ElementsAre(there));
  const auto none = UsableCpus({1000, 5000});
  EXPECT_EQ(none.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(none.status().message(), testing::HasSubstr("1000,5000"));
}

TEST(UsableCpusTest, TheCallersBindingStaysAndDoesNotCount) {
  cpu_set_t before, one, after;
  CPU_ZERO(&before);
  ::sched_getaffinity(0, sizeof before, &before);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one processor";
  const int first = FirstOwn();
  int last = first;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) last = CPU_ISSET(cpu, &before) ? cpu : last;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ::sched_setaffinity(0, sizeof one, &one);
  EXPECT_THAT(*UsableCpus({last}), testing::ElementsAre(last));
  CPU_ZERO(&after);
  ::sched_getaffinity(0, sizeof after, &after);
  EXPECT_TRUE(CPU_EQUAL(&one, &after));
  ::sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace evenkeel
