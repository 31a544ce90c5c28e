// Guards an object that many threads may read at a time, or one thread may change. A thread that comes at the
// wrong moment gets an error, not a wait: it is a mistake of the program, and waiting would hide it.
#ifndef PYKALDI_SERVER_BASE_CONCURRENT_USE_H_
#define PYKALDI_SERVER_BASE_CONCURRENT_USE_H_

#include <atomic>
#include <cstdint>
#include <string>

namespace pykaldi {

// A member of the object that it guards. `Error` is what a refused thread gets. A copy of the object is
// another object, which nobody uses yet.
template <class Error>
class ConcurrentUse {
 public:
  ConcurrentUse() = default;
  ConcurrentUse(const ConcurrentUse &) noexcept {}
  ConcurrentUse &operator=(const ConcurrentUse &) noexcept { return *this; }

  // Lets a thread read for as long as it lives; `what` names the object in the error.
  class Shared {
   public:
    Shared(ConcurrentUse *use, const char *what) : num_users_(&use->num_users_) {
      int32_t num_users = num_users_->load(std::memory_order_relaxed);
      do {
        if (num_users == kChanging) throw Error(std::string(what) + " is being changed by another thread");
      } while (!num_users_->compare_exchange_weak(num_users, num_users + 1, std::memory_order_acquire));
    }
    ~Shared() { num_users_->fetch_sub(1, std::memory_order_release); }
    Shared(const Shared &) = delete;
    Shared &operator=(const Shared &) = delete;

   private:
    std::atomic<int32_t> *num_users_;
  };

  // Lets a thread change the object for as long as it lives.
  class Exclusive {
   public:
    Exclusive(ConcurrentUse *use, const char *what) : num_users_(&use->num_users_) {
      int32_t nobody = 0;
      if (!num_users_->compare_exchange_strong(nobody, kChanging, std::memory_order_acquire)) {
        throw Error(std::string(what) + " is used by another thread");
      }
    }
    ~Exclusive() { num_users_->store(0, std::memory_order_release); }
    Exclusive(const Exclusive &) = delete;
    Exclusive &operator=(const Exclusive &) = delete;

   private:
    std::atomic<int32_t> *num_users_;
  };

 private:
  static constexpr int32_t kChanging = -1;

  std::atomic<int32_t> num_users_{0};  // that read, or kChanging
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_CONCURRENT_USE_H_
