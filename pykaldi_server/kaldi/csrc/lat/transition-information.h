// What the functions on lattices need to know of each transition-id (hmm/transition-model.h).
#ifndef PYKALDI_SERVER_LAT_TRANSITION_INFORMATION_H_
#define PYKALDI_SERVER_LAT_TRANSITION_INFORMATION_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "csrc/base/error.h"

namespace pykaldi {

class TransitionInformation {
 public:
  // All indexed by transition-id; entry 0 is unused, and all have the same length.
  //   phone           its phone
  //   is_self_loop    whether it leads back to its own HMM state
  //   is_final        whether it leads to the final state of its phone
  //   is_phone_start  whether it leaves HMM state 0 and is not a self-loop: one in each instance of a phone
  TransitionInformation(std::vector<int32_t> phone, const std::vector<uint8_t> &is_self_loop,
                        const std::vector<uint8_t> &is_final, const std::vector<uint8_t> &is_phone_start)
      : phone_(std::move(phone)), flags_(phone_.size(), 0) {
    if (phone_.size() != is_self_loop.size() || phone_.size() != is_final.size() ||
        phone_.size() != is_phone_start.size()) {
      throw ConfigError("expected four arrays of one length, found " + std::to_string(phone_.size()) + ", " +
                        std::to_string(is_self_loop.size()) + ", " + std::to_string(is_final.size()) +
                        " and " + std::to_string(is_phone_start.size()) + " elements");
    }
    for (size_t i = 0; i < phone_.size(); ++i) {
      if (phone_[i] < 0 || phone_[i] > kMaxPhone) {
        throw ConfigError("expected phones of 0 to " + std::to_string(kMaxPhone) + ", found " +
                          std::to_string(phone_[i]));
      }
      flags_[i] = static_cast<uint8_t>((is_self_loop[i] ? kSelfLoop : 0) | (is_final[i] ? kFinal : 0) |
                                       (is_phone_start[i] ? kPhoneStart : 0));
    }
  }

  int32_t NumTransitionIds() const { return static_cast<int32_t>(phone_.size()) - 1; }
  // These throw LatticeError when the model has no such transition-id.
  int32_t Phone(int32_t id) const { return phone_[Checked(id)]; }
  bool IsSelfLoop(int32_t id) const { return flags_[Checked(id)] & kSelfLoop; }
  bool IsFinal(int32_t id) const { return flags_[Checked(id)] & kFinal; }
  // The phone that begins with this transition-id, or 0.
  int32_t PhoneStart(int32_t id) const { return flags_[Checked(id)] & kPhoneStart ? phone_[id] : 0; }

 private:
  static constexpr int32_t kMaxPhone = 1 << 24;
  static constexpr uint8_t kSelfLoop = 1, kFinal = 2, kPhoneStart = 4;

  int32_t Checked(int32_t id) const {
    if (id <= 0 || id > NumTransitionIds()) {
      throw LatticeError("expected transition-ids of 1 to " + std::to_string(NumTransitionIds()) +
                         " (those of the model), found " + std::to_string(id));
    }
    return id;
  }

  std::vector<int32_t> phone_;
  std::vector<uint8_t> flags_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_TRANSITION_INFORMATION_H_
