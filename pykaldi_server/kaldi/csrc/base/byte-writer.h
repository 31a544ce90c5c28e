// Writes little-endian values to a stream, in the forms of OpenFst's files; the counterpart of ByteReader.
#ifndef PYKALDI_SERVER_BASE_BYTE_WRITER_H_
#define PYKALDI_SERVER_BASE_BYTE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string_view>
#include <type_traits>

namespace pykaldi {

template <class T>
void WriteBytes(std::ostream &out, const T &value) {
  static_assert(std::is_trivially_copyable_v<T>, "only plain values have a fixed form");
  out.write(reinterpret_cast<const char *>(&value), sizeof(T));
}

// An int32 with the size, then the bytes.
inline void WriteString(std::ostream &out, std::string_view text) {
  WriteBytes(out, static_cast<int32_t>(text.size()));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

// Zeros up to the next multiple of `unit` bytes from the stream's start.
inline void WritePadding(std::ostream &out, size_t unit) {
  while (out.good() && static_cast<size_t>(out.tellp()) % unit != 0) out.put('\0');
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_BYTE_WRITER_H_
