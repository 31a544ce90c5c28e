// An array of numbers that starts on a cache line, as wide vector instructions like it.
#ifndef PYKALDI_SERVER_BASE_ALIGNED_ARRAY_H_
#define PYKALDI_SERVER_BASE_ALIGNED_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace pykaldi {

// Moved, never copied: a copy of weights would be a mistake.
template <class T>
class AlignedArray {
 public:
  static constexpr std::align_val_t kAlignment{64};

  AlignedArray() = default;
  // All elements are zero.
  explicit AlignedArray(size_t size) : AlignedArray(Uninitialised(size)) {
    std::fill_n(data_.get(), size, T());
  }
  // For memory that is written before it is read.
  static AlignedArray Uninitialised(size_t size) {
    AlignedArray array;
    array.data_.reset(static_cast<T *>(::operator new[](size * sizeof(T), kAlignment)));
    array.size_ = size;
    return array;
  }

  T *Data() { return data_.get(); }
  const T *Data() const { return data_.get(); }
  size_t Size() const { return size_; }

 private:
  struct Delete {
    void operator()(T *data) const { ::operator delete[](data, kAlignment); }
  };

  std::unique_ptr<T[], Delete> data_;
  size_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_ALIGNED_ARRAY_H_
