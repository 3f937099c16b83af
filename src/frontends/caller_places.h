// How many calls are open that nobody needs a key for, by where they come from.
//
// Use for: calls that strangers may open and that cost the server something while they are open (grpc_open_call.cc).
// Contract: Take() gives a place, or none once `of_one` are taken from the address or `of_all` by everybody. The place is free again when it goes. Addresses
//   are told apart without their port; a machine may have many of them, hence the second bound.
// Ownership: it outlives its places. Thread-safety: thread-safe; a Place is a value of one owner.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace evenkeel {

class CallerPlaces {
 public:
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept
        : of_(std::exchange(other.of_, nullptr)), address_(std::move(other.address_)) {}
    Place& operator=(Place&& other) noexcept {
      if (this != &other) {
        Free();
        of_ = std::exchange(other.of_, nullptr);
        address_ = std::move(other.address_);
      }
      return *this;
    }
    ~Place() { Free(); }
    bool held() const { return of_ != nullptr; }
    void Free() {
      if (CallerPlaces* const of = std::exchange(of_, nullptr)) of->Leave(address_);
    }

   private:
    friend class CallerPlaces;
    Place(CallerPlaces* of, std::string address) : of_(of), address_(std::move(address)) {}
    CallerPlaces* of_ = nullptr;
    std::string address_;
  };

  CallerPlaces(int of_one, int of_all) : of_one_(of_one), of_all_(of_all) {}

  // `peer` as gRPC writes it: "ipv4:10.0.0.2:41234", "ipv6:%5B::1%5D:41234". The place isn't held: there is none.
  Place Take(std::string_view peer) {
    const size_t port = peer.rfind(':');
    std::string address(peer.substr(0, port));
    const std::lock_guard lock(mutex_);
    if (all_ >= of_all_) return {};
    int& one = taken_[address];
    if (one >= of_one_) return {};
    ++one;
    ++all_;
    return {this, std::move(address)};
  }

 private:
  void Leave(const std::string& address) {
    const std::lock_guard lock(mutex_);
    const auto one = taken_.find(address);
    if (--one->second == 0) taken_.erase(one);
    --all_;
  }

  const int of_one_, of_all_;
  std::mutex mutex_;
  std::map<std::string, int> taken_;  // guarded by mutex_, as the next
  int all_ = 0;
};

}  // namespace evenkeel
