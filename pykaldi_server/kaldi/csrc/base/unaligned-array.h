// An array in a mapped file, which may begin at any byte. x86-64 and ARMv8 read it at full speed.
#ifndef PYKALDI_SERVER_BASE_UNALIGNED_ARRAY_H_
#define PYKALDI_SERVER_BASE_UNALIGNED_ARRAY_H_

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "csrc/base/byte-reader.h"

namespace pykaldi {

template <class T>
class UnalignedArray {
  static_assert(std::is_trivially_copyable_v<T>, "only plain values have a fixed form");

 public:
  UnalignedArray() = default;
  explicit UnalignedArray(const char *data) : data_(data) {}

  // Takes `size` elements from a file; `what` names them in errors. The caller has checked that the product
  // of size and element does not overflow.
  static UnalignedArray Take(ByteReader *reader, size_t size, const char *what) {
    return UnalignedArray(reader->Take(sizeof(T) * size, what));
  }

  T operator[](size_t i) const {
    T value;
    std::memcpy(&value, data_ + sizeof(T) * i, sizeof(T));
    return value;
  }

 private:
  const char *data_ = nullptr;
};

// The first position in [begin, end) of a sorted sequence whose element `at(position)` is not less than
// `value`.
template <class Int, class At, class T>
Int LowerBound(Int begin, Int end, const T &value, At at) {
  Int length = end - begin;
  while (length > 0) {
    const Int half = length / 2;
    const bool is_less = at(begin + half) < value;
    begin = is_less ? begin + half + 1 : begin;
    length = is_less ? length - half - 1 : half;
  }
  return begin;
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_UNALIGNED_ARRAY_H_
