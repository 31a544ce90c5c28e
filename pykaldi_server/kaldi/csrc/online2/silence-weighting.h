// Weights that keep silence out of the i-vector, for one segment.
//
// After each block of audio the decoder's best path shows which decoder frames are silence. The newest of
// them, and up to kRevisedFrames before, get new weights: `silence_weight` for silence and for runs of one
// transition-id that last too long, otherwise 1. Past the end of the path the last weight is repeated.
// i-vector estimation is told the differences, for each of the input frames that a decoder frame stands for.
// Source: OnlineSilenceWeighting in Kaldi's online2/online-ivector-feature.cc.
#ifndef PYKALDI_SERVER_ONLINE2_SILENCE_WEIGHTING_H_
#define PYKALDI_SERVER_ONLINE2_SILENCE_WEIGHTING_H_

#include <cstdint>
#include <vector>

namespace pykaldi {

struct SilenceWeightingOptions {
  float silence_weight = 1;
  float max_state_duration = -1;  // decoder frames; 0 or less for never
  int32_t subsampling = 1;        // input frames per decoder frame
};

struct DeltaWeights {
  std::vector<int64_t> frames;  // of the input
  std::vector<float> deltas;
};

// Belongs to one stream.
class SilenceWeighting {
 public:
  // `is_silence` has an element for each transition-id. Throws ConfigError if a number is out of range.
  SilenceWeighting(std::vector<uint8_t> is_silence, const SilenceWeightingOptions &opts);

  static constexpr int64_t kMaxFrames = int64_t{1} << 26;

  // Takes the part of the best path that has changed.
  //   num_frames_decoded: decoder frames of the segment.
  //   first: the first of them that has changed; `transition_ids` are those from there on.
  // Throws DecoderError if a frame or a transition-id is out of range.
  void SetTraceback(int64_t num_frames_decoded, int64_t first, const int32_t *transition_ids, int64_t size);

  // Returns the changes of weights since the last call.
  //   num_frames_ready: input frames of the stream that are ready.
  //   first_input_frame: where in the stream the segment starts.
  // Throws DecoderError if a number is out of range.
  DeltaWeights GetDeltaWeights(int64_t num_frames_ready, int64_t first_input_frame);

 private:
  static constexpr int64_t kRevisedFrames = 100;

  int64_t Size() const { return static_cast<int64_t>(weights_.size()); }
  void Grow(int64_t size);
  std::vector<float> NewWeights(int64_t begin) const;

  std::vector<uint8_t> is_silence_;
  SilenceWeightingOptions opts_;
  // One element per decoder frame of the segment.
  std::vector<int32_t> transition_ids_;
  std::vector<float> weights_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_ONLINE2_SILENCE_WEIGHTING_H_
