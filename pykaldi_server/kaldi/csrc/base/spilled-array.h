// An array that may be larger than memory: written from the first element to the last into a temporary file
// without a name, then mapped for reading. The system keeps in memory what fits, and the file goes with the
// object, however the process ends.
#ifndef PYKALDI_SERVER_BASE_SPILLED_ARRAY_H_
#define PYKALDI_SERVER_BASE_SPILLED_ARRAY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace pykaldi {

// The bytes of the file, for all types of elements.
class SpilledBytes {
 public:
  // Makes the file in a directory; throws FileError.
  explicit SpilledBytes(const std::string &directory);
  ~SpilledBytes();
  SpilledBytes(const SpilledBytes &) = delete;
  SpilledBytes &operator=(const SpilledBytes &) = delete;

  void Append(const void *data, size_t size);
  // Ends writing and maps the file.
  void Map();
  const char *Data() const { return data_; }

 private:
  void Flush();

  std::string directory_;  // for errors
  int descriptor_ = -1;
  std::vector<char> buffer_;
  size_t size_ = 0;  // of the file and the buffer
  char *data_ = nullptr;
};

template <class T>
class SpilledArray {
  static_assert(std::is_trivially_copyable_v<T>, "elements are stored as they are in memory");

 public:
  explicit SpilledArray(const std::string &directory) : bytes_(directory) {}

  void Append(const T &element) {
    bytes_.Append(&element, sizeof(T));
    ++size_;
  }
  // Reading is possible from here on, and writing no more.
  void Map() { bytes_.Map(); }

  int64_t Size() const { return size_; }
  const T &operator[](int64_t i) const { return reinterpret_cast<const T *>(bytes_.Data())[i]; }

 private:
  SpilledBytes bytes_;
  int64_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_SPILLED_ARRAY_H_
