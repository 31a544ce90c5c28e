// An array that grows at its end while its elements stay where they are. One thread at a time may append;
// meanwhile any thread may read an element whose position it got from the appending thread (through a lock or
// an atomic).
#ifndef PYKALDI_SERVER_BASE_GROWING_ARRAY_H_
#define PYKALDI_SERVER_BASE_GROWING_ARRAY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace pykaldi {

template <class T>
class GrowingArray {
 public:
  static constexpr int64_t kMaxSize = int64_t{1} << 31;

  GrowingArray() : blocks_(std::make_unique<std::atomic<T *>[]>(kMaxBlocks)) {}
  ~GrowingArray() {
    for (size_t i = 0; i < kMaxBlocks && blocks_[i].load() != nullptr; ++i) delete[] blocks_[i].load();
  }
  GrowingArray(const GrowingArray &) = delete;
  GrowingArray &operator=(const GrowingArray &) = delete;

  T &operator[](int64_t i) { return Block(i)[i % kBlockSize]; }
  const T &operator[](int64_t i) const { return Block(i)[i % kBlockSize]; }

  // The memory of all elements.
  size_t NumBytes() const { return num_blocks_ * kBlockSize * sizeof(T); }

  // Makes room for an element after the first `size` ones.
  void Reserve(int64_t size) {
    const size_t block = static_cast<size_t>(size / kBlockSize);
    if (block < num_blocks_) return;
    if (size >= kMaxSize - 1) throw std::length_error("an array grows beyond 2^31 - 1 elements");
    blocks_[block].store(new T[kBlockSize](), std::memory_order_release);
    ++num_blocks_;
  }

 private:
  static constexpr int64_t kBlockSize = int64_t{1} << 16;
  static constexpr size_t kMaxBlocks = static_cast<size_t>(kMaxSize / kBlockSize);

  T *Block(int64_t i) const { return blocks_[i / kBlockSize].load(std::memory_order_acquire); }

  std::unique_ptr<std::atomic<T *>[]> blocks_;
  size_t num_blocks_ = 0;  // for the appending thread
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_GROWING_ARRAY_H_
