#include "csrc/feat/frame-buffer.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace pykaldi {
namespace {

constexpr int64_t kFirstRows = 64;

// For how many frames to make room when so many are needed. A buffer that is full moves its history to the
// front; with a quarter more than that, it moves four frames per frame that comes.
int64_t RowsFor(int64_t needed, std::optional<int64_t> history) {
  if (!history.has_value()) return 2 * needed;
  return std::max(needed, std::min(needed + needed / 2, *history + *history / 4 + kFirstRows));
}

}  // namespace

float *FrameBuffer::Append(int64_t num_frames) {
  const int64_t capacity = static_cast<int64_t>(rows_.size()) / dim_;
  if (size_ + num_frames > capacity) {
    const int64_t dropped = history_.has_value() ? std::max<int64_t>(0, size_ - *history_) : 0;
    const int64_t needed = size_ - dropped + num_frames;
    const auto kept_begin = rows_.begin() + dropped * dim_, kept_end = rows_.begin() + size_ * dim_;
    if (needed > capacity) {
      UninitializedVector<float> rows(
          std::max(kFirstRows, capacity == 0 ? needed : RowsFor(needed, history_)) * dim_);
      std::copy(kept_begin, kept_end, rows.begin());
      rows_.swap(rows);
    } else {
      std::copy(kept_begin, kept_end, rows_.begin());
    }
    first_ += dropped;
    size_ -= dropped;
  }
  float *rows = rows_.data() + size_ * dim_;
  size_ += num_frames;
  return rows;
}

const float *FrameBuffer::Rows(int64_t begin, int64_t end) const {
  if (begin < first_ || begin > end || end > End()) {
    throw std::out_of_range("expected frames from " + std::to_string(first_) + " to " +
                            std::to_string(End()) + ", which are kept, found " + std::to_string(begin) +
                            " to " + std::to_string(end));
  }
  return rows_.data() + (begin - first_) * dim_;
}

}  // namespace pykaldi
