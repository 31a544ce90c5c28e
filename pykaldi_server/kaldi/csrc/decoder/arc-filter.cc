#include "csrc/decoder/arc-filter.h"

#include <algorithm>
#include <array>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// How many tokens ahead of the one that is looked at the arcs are asked for.
constexpr size_t kPrefetchArcs = 8;

// The first arcs. Where a state has few, its columns lie in the same cache lines.
inline void Prefetch(const ActiveTokens &active, size_t i) {
  if (i >= active.size()) return;
  __builtin_prefetch(active[i].arcs.next_states);
  __builtin_prefetch(active[i].arcs.weights);
  __builtin_prefetch(active[i].arcs.labels);
}

#if defined(__x86_64__)
// Costs at eight positions. Single loads, as the instruction that gathers takes longer than these, on some
// processors much longer.
template <class Position>
KERNEL_TARGET_AVX2 inline __m256 Gather8(const float *costs, const Position *at) {
  return _mm256_setr_ps(costs[at[0]], costs[at[1]], costs[at[2]], costs[at[3]], costs[at[4]], costs[at[5]],
                        costs[at[6]], costs[at[7]]);
}
#endif

// For each set of lanes: the lanes in it, one per byte.
constexpr std::array<uint64_t, 256> MakeLanesOfMask() {
  std::array<uint64_t, 256> lanes_of_mask{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    unsigned num_lanes = 0;
    for (uint64_t lane = 0; lane < 8; ++lane) {
      if (mask >> lane & 1) lanes_of_mask[mask] |= lane << 8 * num_lanes++;
    }
  }
  return lanes_of_mask;
}

constexpr std::array<uint64_t, 256> kLanesOfMask = MakeLanesOfMask();

}  // namespace

void ArcCandidates::Grow(size_t size) {
  const size_t room = std::max(size, 2 * costs_.size());
  costs_.resize(room);
  next_states_.resize(room);
  weights_.resize(room);
  labels_.resize(room);
  arcs_.resize(room);
  active_.resize(room);
}

// Each kernel is the same loop: over tokens, over vectors of their arcs.
struct ArcFilterKernels {
  static constexpr uint32_t kLanes = ArcCandidates::kLanes;

  struct Job {
    const ActiveTokens &active;
    const FrameCosts &costs;
    float *cutoff;
    ArcCandidates *candidates;
    int64_t *num_visited;
  };

  static void Baseline(const Job &job) {
    ArcCandidates &out = *job.candidates;
    const float *const label_costs = job.costs.label_costs;
    const float beam = job.costs.beam;
    float cutoff = *job.cutoff;
    for (size_t i = 0; i < job.active.size(); ++i) {
      Prefetch(job.active, i + kPrefetchArcs);
      const ActiveToken &token = job.active[i];
      const ArcColumns &arcs = token.arcs;
      out.Reserve(arcs.num_arcs);
      const float least = token.cost + job.costs.least_label_cost;
      size_t size = out.size_;
      uint32_t k = 0;
      for (; k < arcs.num_arcs && least + arcs.weights[k] < cutoff; ++k) {
        const float cost = token.cost + label_costs[arcs.labels[k]] + arcs.weights[k];
        out.costs_[size] = cost;
        out.next_states_[size] = arcs.next_states[k];
        out.weights_[size] = arcs.weights[k];
        out.labels_[size] = arcs.labels[k];
        out.arcs_[size] = k;
        out.active_[size] = static_cast<uint32_t>(i);
        size += cost < cutoff;
        cutoff = std::min(cutoff, cost + beam);
      }
      out.size_ = size;
      *job.num_visited += k;
    }
    *job.cutoff = cutoff;
  }

#if defined(__x86_64__)
  // Vectors are loaded beyond the last arc, too: records are padded. The lanes behind it do not count.
  KERNEL_TARGET_AVX2 static void Avx2(const Job &job) {
    ArcCandidates &out = *job.candidates;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 infinity = _mm256_set1_ps(kInfinity);
    float cutoff = *job.cutoff;
    for (size_t i = 0; i < job.active.size(); ++i) {
      Prefetch(job.active, i + kPrefetchArcs);
      const ActiveToken &token = job.active[i];
      const ArcColumns &arcs = token.arcs;
      out.Reserve(arcs.num_arcs);
      const float least = token.cost + job.costs.least_label_cost;
      const __m256 token_cost = _mm256_set1_ps(token.cost);
      const __m256 cutoffs = _mm256_set1_ps(cutoff);
      __m256 best = infinity;
      size_t size = out.size_;
      uint32_t k = 0;
      for (; k < arcs.num_arcs && least + arcs.weights[k] < cutoff; k += kLanes) {
        const __m256i is_arc =
            _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(arcs.num_arcs - k)), lanes);
        const __m256i labels = _mm256_and_si256(is_arc, _mm256_cvtepu16_epi32(Load8Labels(arcs.labels + k)));
        const __m256 label_costs = Gather8(job.costs.label_costs, arcs.labels + k);
        const __m256 weights = _mm256_loadu_ps(arcs.weights + k);
        const __m256 costs = _mm256_add_ps(_mm256_add_ps(token_cost, label_costs), weights);
        const __m256 is_below =
            _mm256_and_ps(_mm256_cmp_ps(costs, cutoffs, _CMP_LT_OQ), _mm256_castsi256_ps(is_arc));
        const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(is_below));
        if (mask == 0) continue;
        best = _mm256_min_ps(best, _mm256_blendv_ps(infinity, costs, is_below));
        const __m256i kept =
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(kLanesOfMask[mask])));
        _mm256_storeu_ps(&out.costs_[size], _mm256_permutevar8x32_ps(costs, kept));
        const __m256i next_states =
            _mm256_loadu_si256(reinterpret_cast<const __m256i *>(arcs.next_states + k));
        Store(&out.next_states_[size], _mm256_permutevar8x32_epi32(next_states, kept));
        _mm256_storeu_ps(&out.weights_[size], _mm256_permutevar8x32_ps(weights, kept));
        Store(&out.labels_[size], _mm256_permutevar8x32_epi32(labels, kept));
        Store(&out.arcs_[size], _mm256_add_epi32(kept, _mm256_set1_epi32(static_cast<int>(k))));
        Store(&out.active_[size], _mm256_set1_epi32(static_cast<int>(i)));
        size += static_cast<size_t>(__builtin_popcount(mask));
      }
      if (size != out.size_) cutoff = std::min(cutoff, LeastOf(best) + job.costs.beam);
      out.size_ = size;
      *job.num_visited += std::min(k, arcs.num_arcs);
    }
    *job.cutoff = cutoff;
  }

  KERNEL_TARGET_AVX2 static __m128i Load8Labels(const uint16_t *labels) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i *>(labels));
  }

  KERNEL_TARGET_AVX2 static float LeastOf(__m256 vector) {
    __m128 least = _mm_min_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps(vector, 1));
    least = _mm_min_ps(least, _mm_movehl_ps(least, least));
    least = _mm_min_ss(least, _mm_shuffle_ps(least, least, 1));
    return _mm_cvtss_f32(least);
  }

  template <class T>
  KERNEL_TARGET_AVX2 static void Store(T *to, __m256i vector) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), vector);
  }

  // Eight lanes here, too: most states have fewer arcs, and the costs of labels are loaded one by one.
  KERNEL_TARGET_AVX512 static void Avx512(const Job &job) {
    ArcCandidates &out = *job.candidates;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 infinity = _mm256_set1_ps(kInfinity);
    float cutoff = *job.cutoff;
    for (size_t i = 0; i < job.active.size(); ++i) {
      Prefetch(job.active, i + kPrefetchArcs);
      const ActiveToken &token = job.active[i];
      const ArcColumns &arcs = token.arcs;
      out.Reserve(arcs.num_arcs);
      const float least = token.cost + job.costs.least_label_cost;
      const __m256 token_cost = _mm256_set1_ps(token.cost);
      const __m256 cutoffs = _mm256_set1_ps(cutoff);
      __m256 best = infinity;
      size_t size = out.size_;
      uint32_t k = 0;
      for (; k < arcs.num_arcs && least + arcs.weights[k] < cutoff; k += kLanes) {
        const __mmask8 is_arc =
            _mm256_cmpgt_epi32_mask(_mm256_set1_epi32(static_cast<int>(arcs.num_arcs - k)), lanes);
        const __m256i labels = _mm256_maskz_cvtepu16_epi32(is_arc, Load8Labels(arcs.labels + k));
        const __m256 label_costs = Gather8(job.costs.label_costs, arcs.labels + k);
        const __m256 weights = _mm256_loadu_ps(arcs.weights + k);
        const __m256 costs = _mm256_add_ps(_mm256_add_ps(token_cost, label_costs), weights);
        const __mmask8 mask = _mm256_mask_cmp_ps_mask(is_arc, costs, cutoffs, _CMP_LT_OQ);
        if (mask == 0) continue;
        best = _mm256_mask_min_ps(best, mask, best, costs);
        const __m256i next_states =
            _mm256_loadu_si256(reinterpret_cast<const __m256i *>(arcs.next_states + k));
        const __m256i places = _mm256_add_epi32(lanes, _mm256_set1_epi32(static_cast<int>(k)));
        _mm256_storeu_ps(&out.costs_[size], _mm256_maskz_compress_ps(mask, costs));
        Store(&out.next_states_[size], _mm256_maskz_compress_epi32(mask, next_states));
        _mm256_storeu_ps(&out.weights_[size], _mm256_maskz_compress_ps(mask, weights));
        Store(&out.labels_[size], _mm256_maskz_compress_epi32(mask, labels));
        Store(&out.arcs_[size], _mm256_maskz_compress_epi32(mask, places));
        Store(&out.active_[size], _mm256_set1_epi32(static_cast<int>(i)));
        size += static_cast<size_t>(__builtin_popcount(mask));
      }
      if (size != out.size_) cutoff = std::min(cutoff, LeastOf(best) + job.costs.beam);
      out.size_ = size;
      *job.num_visited += std::min(k, arcs.num_arcs);
    }
    *job.cutoff = cutoff;
  }
#endif
};

void FilterArcs(CpuKernels kernels, const ActiveTokens &active, const FrameCosts &costs, float *cutoff,
                ArcCandidates *candidates, int64_t *num_visited) {
  const ArcFilterKernels::Job job{active, costs, cutoff, candidates, num_visited};
#if defined(__x86_64__)
  if (kernels == CpuKernels::kAvx512) return ArcFilterKernels::Avx512(job);
  if (kernels == CpuKernels::kAvx2) return ArcFilterKernels::Avx2(job);
#else
  static_cast<void>(kernels);
#endif
  ArcFilterKernels::Baseline(job);
}

namespace {

float SetLabelCostsFrom(size_t begin, const float *pdf_costs, const std::vector<int32_t> &pdfs, float least,
                        float *label_costs) {
  for (size_t i = begin; i < pdfs.size(); ++i) {
    label_costs[i] = pdf_costs[pdfs[i]];
    least = std::min(least, label_costs[i]);
  }
  return least;
}

#if defined(__x86_64__)
KERNEL_TARGET_AVX2 float SetLabelCostsAvx2(const float *pdf_costs, const std::vector<int32_t> &pdfs,
                                           float *label_costs) {
  constexpr size_t kLanes = 8;
  __m256 best = _mm256_set1_ps(kInfinity);
  size_t i = 0;
  for (; i + kLanes <= pdfs.size(); i += kLanes) {
    const __m256 costs = Gather8(pdf_costs, &pdfs[i]);
    _mm256_storeu_ps(label_costs + i, costs);
    best = _mm256_min_ps(best, costs);
  }
  float lanes[kLanes];
  _mm256_storeu_ps(lanes, best);
  return SetLabelCostsFrom(i, pdf_costs, pdfs, *std::min_element(lanes, lanes + kLanes), label_costs);
}
#endif

}  // namespace

float SetLabelCosts(CpuKernels kernels, const float *pdf_costs, const std::vector<int32_t> &pdfs,
                    float *label_costs) {
#if defined(__x86_64__)
  if (kernels != CpuKernels::kBaseline) return SetLabelCostsAvx2(pdf_costs, pdfs, label_costs);
#else
  static_cast<void>(kernels);
#endif
  return SetLabelCostsFrom(0, pdf_costs, pdfs, kInfinity, label_costs);
}

}  // namespace pykaldi
