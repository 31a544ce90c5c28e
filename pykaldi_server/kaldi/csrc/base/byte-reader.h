// Reads little-endian values from a buffer, in the forms of OpenFst's files. No read goes past the end;
// whatever is wrong is a ModelFormatError with the path and the byte.
#ifndef PYKALDI_SERVER_BASE_BYTE_READER_H_
#define PYKALDI_SERVER_BASE_BYTE_READER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "csrc/base/byte-order.h"
#include "csrc/base/error.h"

namespace pykaldi {

// Text from a file, fit for an error: short, and without bytes that cannot be shown.
inline std::string Printable(std::string_view text) {
  std::string shown(text.substr(0, 40));
  for (char &c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return '"' + shown + (text.size() > 40 ? "...\"" : "\"");
}

// Bytes from a file, fit for an error: text as text, all else in hexadecimal.
inline std::string ShowBytes(std::string_view bytes) {
  if (bytes.empty()) return "the end of the file";
  const auto is_text = [](char c) { return c >= ' ' && c <= '~'; };
  if (std::all_of(bytes.begin(), bytes.end(), is_text)) return Printable(bytes);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string shown = "the bytes";
  for (const char c : bytes.substr(0, 16)) {
    const uint8_t byte = static_cast<uint8_t>(c);
    shown += {' ', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return shown;
}

class ByteReader {
 public:
  // The buffer must outlive the reader; `path` is for errors.
  ByteReader(const char *data, size_t size, std::string path)
      : data_(data), size_(size), path_(std::move(path)) {}

  const std::string &Path() const { return path_; }
  size_t Offset() const { return offset_; }
  size_t Remaining() const { return size_ - offset_; }

  // A number of a fixed size; `what` names it in errors.
  template <class T>
  T Read(const char *what) {
    T value;
    std::memcpy(&value, Take(sizeof(T), what), sizeof(T));
    return value;
  }

  // An int32 with the size, then as many bytes; the view is into the buffer.
  std::string_view ReadString(const char *what) {
    const int32_t size = Read<int32_t>(what);
    if (size < 0 || static_cast<size_t>(size) > Remaining()) {
      Fail(offset_ - sizeof(size), what,
           std::to_string(size) + " bytes with " + std::to_string(Remaining()) + " left");
    }
    return {Take(size, what), static_cast<size_t>(size)};
  }

  // The next `size` bytes.
  const char *Take(size_t size, const char *what) {
    if (size > Remaining()) {
      Fail(offset_, what, "the end of the file " + std::to_string(size - Remaining()) + " bytes too early");
    }
    const char *start = data_ + offset_;
    offset_ += size;
    return start;
  }

  // Up to `size` bytes that come next, for errors; the reader stays where it is.
  std::string_view Following(size_t size) const { return {data_ + offset_, std::min(size, Remaining())}; }

  // Skips the next bytes if they are the same as those from `begin` on to here; returns whether they were.
  bool SkipRepetition(size_t begin) {
    const size_t size = offset_ - begin;
    if (size > Remaining() || std::memcmp(data_ + begin, data_ + offset_, size) != 0) return false;
    offset_ += size;
    return true;
  }

  // Skips to the next multiple of `unit` bytes from the buffer's start.
  void Align(size_t unit) {
    const size_t padding = (unit - offset_ % unit) % unit;
    Take(padding, "padding");
  }

  [[noreturn]] void Fail(size_t offset, const std::string &expected, const std::string &found) const {
    throw ModelFormatError(path_, static_cast<int64_t>(offset), expected, found);
  }

 private:
  const char *data_;
  size_t size_;
  size_t offset_ = 0;
  std::string path_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_BYTE_READER_H_
