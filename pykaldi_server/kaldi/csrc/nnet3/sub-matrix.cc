#include "csrc/nnet3/sub-matrix.h"

#include <stdexcept>
#include <string>

namespace pykaldi {

SubMatrix::SubMatrix(int64_t offset, int64_t num_rows, int64_t num_cols, int64_t stride)
    : offset_(offset), num_rows_(num_rows), num_cols_(num_cols), stride_(stride) {
  // Each is far from overflowing, and so are their products.
  for (const int64_t number : {offset, stride}) {
    if (number < 0 || number > kMaxMemory) {
      throw std::invalid_argument("expected an offset and a stride from 0 to " + std::to_string(kMaxMemory) +
                                  ", found " + std::to_string(number));
    }
  }
  for (const int64_t number : {num_rows, num_cols}) {
    if (number < 1 || number > kMaxMemory) {
      throw std::invalid_argument("expected 1 to " + std::to_string(kMaxMemory) +
                                  " rows and columns, found " + std::to_string(number));
    }
  }
  if (End() > kMaxMemory || num_rows * num_cols > kMaxMemory) {
    throw std::invalid_argument("expected a matrix of up to " + std::to_string(kMaxMemory) +
                                " numbers, found one that ends at " + std::to_string(End()));
  }
}

}  // namespace pykaldi
