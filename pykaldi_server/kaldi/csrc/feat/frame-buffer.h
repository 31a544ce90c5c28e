// The newest frames of a stream of features.
//
// Frames are numbered from 0 at the start of the stream, and stored by rows. With a history of H frames, at
// least the H newest are kept and about a quarter more, so that a stream may last for hours.
#ifndef PYKALDI_SERVER_FEAT_FRAME_BUFFER_H_
#define PYKALDI_SERVER_FEAT_FRAME_BUFFER_H_

#include <cstdint>
#include <optional>

#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/base/uninitialized-vector.h"

namespace pykaldi {

// Belongs to one stream.
class FrameBuffer {
 public:
  using Use = ConcurrentUse<DecoderError>;

  // Keeps at least `history` frames behind the newest one; without a number, all.
  explicit FrameBuffer(int32_t dim, std::optional<int64_t> history = std::nullopt)
      : dim_(dim), history_(history) {}

  int32_t Dim() const { return dim_; }
  // Number of the oldest frame that is kept.
  int64_t Begin() const { return first_; }
  // Number of frames appended so far, including those dropped.
  int64_t End() const { return first_ + size_; }

  // Appends frames and returns where the caller is to write their rows.
  float *Append(int64_t num_frames);

  // Returns the rows of the frames from `begin` up to, but not including, `end`; they are valid until the
  // next frames are appended. Throws std::out_of_range if one is not kept.
  const float *Rows(int64_t begin, int64_t end) const;

  Use *Guard() const { return &use_; }

 private:
  int32_t dim_;
  std::optional<int64_t> history_;
  UninitializedVector<float> rows_;
  int64_t first_ = 0;  // number of the oldest frame kept
  int64_t size_ = 0;   // number of frames kept
  mutable Use use_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_FRAME_BUFFER_H_
