// CHECK(condition): a broken invariant of our own ends the process. Never for bad input, config, models or peers.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EK_CHECK(condition)                                                              \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
