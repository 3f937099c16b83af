#include "frontends/caller_places.h"

#include <gtest/gtest.h>

#include <vector>

namespace evenkeel {
namespace {

TEST(CallerPlacesTest, OneAddressHasSoManyWhateverItsPorts) {
  CallerPlaces places(2, 100);
  CallerPlaces::Place first = places.Take("ipv4:10.0.0.2:1");
  const CallerPlaces::Place second = places.Take("ipv4:10.0.0.2:2");
  EXPECT_TRUE(first.held() && second.held());
  EXPECT_FALSE(places.Take("ipv4:10.0.0.2:3").held());
  EXPECT_TRUE(places.Take("ipv4:10.0.0.3:3").held());
  EXPECT_TRUE(places.Take("ipv6:%5B::1%5D:3").held());
  first.Free();
  EXPECT_FALSE(first.held());
  EXPECT_TRUE(places.Take("ipv4:10.0.0.2:3").held());
}

TEST(CallerPlacesTest, AllTogetherHaveSoMany) {
  CallerPlaces places(100, 3);
  std::vector<CallerPlaces::Place> taken;
  for (const char* peer : {"ipv4:10.0.0.2:1", "ipv4:10.0.0.3:1", "ipv4:10.0.0.4:1"})
    taken.push_back(places.Take(peer));
  EXPECT_FALSE(places.Take("ipv4:10.0.0.5:1").held());
  taken.pop_back();
  EXPECT_TRUE(places.Take("ipv4:10.0.0.5:1").held());
}

TEST(CallerPlacesTest, APlaceThatIsMovedIsOne) {
  CallerPlaces places(1, 1);
  CallerPlaces::Place kept;
  {
    CallerPlaces::Place first = places.Take("ipv4:10.0.0.2:1");
    kept = std::move(first);
  }
  EXPECT_TRUE(kept.held());
  EXPECT_FALSE(places.Take("ipv4:10.0.0.2:1").held());
  kept = {};
  EXPECT_TRUE(places.Take("ipv4:10.0.0.2:1").held());
}

}  // namespace
}  // namespace evenkeel
