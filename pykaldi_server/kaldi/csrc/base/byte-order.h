// The files of Kaldi and OpenFst are little-endian, and are used where they lie in memory: so must the
// machine be. Whatever reads or writes bytes of numbers includes this.
#ifndef PYKALDI_SERVER_BASE_BYTE_ORDER_H_
#define PYKALDI_SERVER_BASE_BYTE_ORDER_H_

#include <limits>

namespace pykaldi {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian");
static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559,
              "model files have IEEE 754 numbers");

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_BYTE_ORDER_H_
