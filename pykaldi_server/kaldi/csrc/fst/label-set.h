// The labels that occur in a graph.
#ifndef PYKALDI_SERVER_FST_LABEL_SET_H_
#define PYKALDI_SERVER_FST_LABEL_SET_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <vector>

namespace pykaldi {

class LabelSet {
 public:
  // Adds a label of 0 or more.
  void Add(int32_t label) {
    const size_t index = static_cast<size_t>(label);
    if (index >= kMaxBits) {
      high_.insert(label);
      return;
    }
    if (index >= is_in_.size()) is_in_.resize(std::max(2 * is_in_.size(), index + 1), false);
    is_in_[index] = true;
  }

  // All labels but 0 (epsilon), ascending.
  std::vector<int32_t> Sorted() const {
    std::vector<int32_t> labels;
    for (size_t i = 1; i < is_in_.size(); ++i) {
      if (is_in_[i]) labels.push_back(static_cast<int32_t>(i));
    }
    const size_t num_low = labels.size();
    labels.insert(labels.end(), high_.begin(), high_.end());
    std::sort(labels.begin() + static_cast<std::ptrdiff_t>(num_low), labels.end());
    return labels;
  }

 private:
  // One bit for each label up to here, so that a damaged graph cannot ask for much memory.
  static constexpr size_t kMaxBits = size_t{1} << 26;

  std::vector<bool> is_in_;
  std::unordered_set<int32_t> high_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_LABEL_SET_H_
