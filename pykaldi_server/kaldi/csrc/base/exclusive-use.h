// Guards an object that only one thread may use at a time. A second one gets an error, not a wait: it would
// be a mistake of the program, and waiting would hide it.
#ifndef PYKALDI_SERVER_BASE_EXCLUSIVE_USE_H_
#define PYKALDI_SERVER_BASE_EXCLUSIVE_USE_H_

#include <atomic>
#include <string>

#include "csrc/base/error.h"

namespace pykaldi {

class ExclusiveUse {
 public:
  // Holds the object for as long as it lives; throws DecoderError when another thread holds it.
  class Guard {
   public:
    Guard(ExclusiveUse *use, const char *what) : use_(use) {
      if (use_->is_held_.exchange(true, std::memory_order_acquire)) {
        throw DecoderError(std::string(what) + " is used by another thread");
      }
    }
    ~Guard() { use_->is_held_.store(false, std::memory_order_release); }
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;

   private:
    ExclusiveUse *use_;
  };

 private:
  std::atomic<bool> is_held_{false};
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_EXCLUSIVE_USE_H_
