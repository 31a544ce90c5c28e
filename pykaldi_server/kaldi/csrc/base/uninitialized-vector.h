// A vector whose new elements have no value until they are written.
//
// Hot loops fill arrays of a size that is known in advance; zeros that are overwritten at once would be a
// second pass over the memory. Only for types without constructors.
#ifndef PYKALDI_SERVER_BASE_UNINITIALIZED_VECTOR_H_
#define PYKALDI_SERVER_BASE_UNINITIALIZED_VECTOR_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace pykaldi {

template <class T>
class UninitializedAllocator : public std::allocator<T> {
 public:
  static_assert(std::is_trivial_v<T>);
  template <class U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };

  UninitializedAllocator() = default;
  template <class U>
  UninitializedAllocator(const UninitializedAllocator<U> &) {}

  // What resize calls for new elements: does nothing.
  template <class U>
  void construct(U *place) {
    ::new (static_cast<void *>(place)) U;
  }
  template <class U, class... Args>
  void construct(U *place, Args &&...args) {
    ::new (static_cast<void *>(place)) U(std::forward<Args>(args)...);
  }
};

template <class T>
using UninitializedVector = std::vector<T, UninitializedAllocator<T>>;

// The memory of a vector, with what it keeps for more elements.
template <class T, class Allocator>
size_t CapacityBytes(const std::vector<T, Allocator> &vector) {
  return vector.capacity() * sizeof(T);
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_UNINITIALIZED_VECTOR_H_
