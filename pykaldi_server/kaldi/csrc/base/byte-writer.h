// Writes little-endian values to a stream, in the forms of OpenFst's files; the counterpart of ByteReader.
#ifndef PYKALDI_SERVER_BASE_BYTE_WRITER_H_
#define PYKALDI_SERVER_BASE_BYTE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "csrc/base/byte-order.h"

namespace pykaldi {

template <class T>
void WriteBytes(std::ostream &out, const T &value) {
  static_assert(std::is_trivially_copyable_v<T>, "only plain values have a fixed form");
  out.write(reinterpret_cast<const char *>(&value), sizeof(T));
}

// An int32 with the size, then the bytes.
inline void WriteString(std::ostream &out, std::string_view text) {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw std::length_error("expected text of less than 2 GB to write, found " + std::to_string(text.size()) +
                            " bytes");
  }
  WriteBytes(out, static_cast<int32_t>(text.size()));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

// Zeros up to the next multiple of `unit` bytes from the stream's start.
inline void WritePadding(std::ostream &out, size_t unit) {
  while (out.good() && static_cast<size_t>(out.tellp()) % unit != 0) out.put('\0');
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_BYTE_WRITER_H_
