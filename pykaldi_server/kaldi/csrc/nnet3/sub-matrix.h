// A matrix within the memory of a computation (Kaldi: NnetComputation::SubMatrixInfo).
#ifndef PYKALDI_SERVER_NNET3_SUB_MATRIX_H_
#define PYKALDI_SERVER_NNET3_SUB_MATRIX_H_

#include <cstdint>

namespace pykaldi {

// Row r consists of the num_cols floats from `offset + r * stride` on. The stride may be 0: equal rows.
class SubMatrix {
 public:
  // The most floats that a computation may use (4 GiB).
  static constexpr int64_t kMaxMemory = int64_t{1} << 30;

  // Throws std::invalid_argument for a matrix that is empty or exceeds kMaxMemory.
  SubMatrix(int64_t offset, int64_t num_rows, int64_t num_cols, int64_t stride);

  int64_t Offset() const { return offset_; }
  int64_t NumRows() const { return num_rows_; }
  int64_t NumCols() const { return num_cols_; }
  int64_t Stride() const { return stride_; }
  // One past the last float.
  int64_t End() const { return offset_ + (num_rows_ - 1) * stride_ + num_cols_; }
  // Whether no two rows share a float.
  bool HasSeparateRows() const { return num_rows_ == 1 || stride_ >= num_cols_; }

  const float *Row(const float *memory, int64_t row) const { return memory + offset_ + row * stride_; }
  float *Row(float *memory, int64_t row) const { return memory + offset_ + row * stride_; }

 private:
  int64_t offset_, num_rows_, num_cols_, stride_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_NNET3_SUB_MATRIX_H_
