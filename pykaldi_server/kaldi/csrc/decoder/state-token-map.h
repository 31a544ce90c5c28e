// Which token of the boundary that is being built a state of the graph has: an array with an element for each
// state.
//
// Its memory is as large as the graph has states, but only pages with states that a search has come to are
// ever touched, and elements are found without a search. It is kept empty between frames by whoever uses it,
// who knows which states have tokens.
#ifndef PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_
#define PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace pykaldi {

class StateTokenMap {
 public:
  static constexpr int32_t kNoToken = -1;

  StateTokenMap() = default;
  StateTokenMap(StateTokenMap &&other) noexcept
      : places_(std::move(other.places_)), size_(std::exchange(other.size_, 0)) {}
  StateTokenMap &operator=(StateTokenMap &&other) noexcept {
    places_ = std::move(other.places_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  // Makes room for states below `num_states`; others come to have room when they get a token. The map has to
  // be empty: nothing is copied, which would touch all pages.
  void Reserve(size_t num_states) {
    if (num_states <= size_) return;
    const size_t size = std::max(num_states, 2 * size_);
    size_ = 0;
    Grow(size);
  }

  int32_t Find(int32_t state) const {
    const size_t i = static_cast<size_t>(state);
    return i < size_ ? static_cast<int32_t>(places_.get()[i]) - 1 : kNoToken;
  }
  void Set(int32_t state, int32_t token) {
    const size_t i = static_cast<size_t>(state);
    if (i >= size_) Grow(std::max(i + 1, 2 * size_));
    places_.get()[i] = static_cast<uint32_t>(token + 1);
  }
  // Where the position of a state's token + 1 is kept, 0 for none; only for states that there is room for.
  uint32_t *Place(int32_t state) { return places_.get() + state; }
  void Remove(int32_t state) { places_.get()[state] = 0; }
  void Prefetch(int32_t state) const { __builtin_prefetch(places_.get() + state); }
  // The memory of all places, touched or not.
  size_t NumBytes() const { return size_ * sizeof(uint32_t); }

 private:
  struct Unmap {
    size_t num_bytes;
    void operator()(uint32_t *memory) const { munmap(memory, num_bytes); }
  };

  // Pages that the system fills with zeros when they are touched. What calloc returns may be memory that was
  // in use before, all of which it has to overwrite.
  void Grow(size_t size) {
    const size_t num_bytes = size * sizeof(uint32_t);
    void *memory = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    std::unique_ptr<uint32_t, Unmap> places(static_cast<uint32_t *>(memory), Unmap{num_bytes});
    if (size_ > 0) std::memcpy(places.get(), places_.get(), size_ * sizeof(uint32_t));
    places_ = std::move(places);
    size_ = size;
  }

  std::unique_ptr<uint32_t, Unmap> places_{nullptr, Unmap{0}};  // positions of tokens + 1; 0: none
  size_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_
