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
constexpr size_t kPrefetchArcs = 16;
// Each lane of a vector has a cutoff of its own. After this many tokens all take the least of them.
constexpr size_t kTokensPerCutoff = 8;

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
  arcs_.resize(room);
  active_.resize(room);
}

// Each kernel is the same loop: over tokens, over vectors of their arcs. Whether there are arcs below the
// cutoff in a vector can hardly be predicted, so it is no branch: vectors are always written, each over what
// does not count of the one before. A job is passed by value, as vectors that are stored might be anywhere
// else.
class ArcFilter {
 public:
  struct Job {
    const uint32_t *words;
    const ActiveToken *active;
    size_t num_active;
    FrameCosts costs;
    float cutoff;
    ArcCandidates *candidates;
  };
  struct Result {
    size_t num_candidates;
    int64_t num_visited;
    float cutoff;
  };

  static Result Run(CpuKernels kernels, const Job &job) {
    if (job.num_active == 0) return {job.candidates->size_, 0, job.cutoff};
    const Result result = RunKernel(kernels, job);
    job.candidates->size_ = result.num_candidates;
    return result;
  }

 private:
  static constexpr uint32_t kLanes = ArcCandidates::kLanes;

  // Where candidates are written, and how many there is room for.
  struct Columns {
    float *costs;
    int32_t *next_states;
    uint32_t *arcs, *active;
    size_t room;
  };

  static Columns ColumnsIn(ArcCandidates *candidates) {
    return {candidates->costs_.data(), candidates->next_states_.data(), candidates->arcs_.data(),
            candidates->active_.data(), candidates->costs_.size()};
  }
  static __attribute__((noinline)) Columns MakeRoom(ArcCandidates *candidates, size_t size, size_t num_more) {
    candidates->size_ = size;
    candidates->Reserve(num_more);
    return ColumnsIn(candidates);
  }

  // Asks for the first arcs of a token. Where a state has few, its columns lie in the same cache lines.
  static KERNEL_INLINE void Prefetch(const Job &job, size_t i) {
    const ArcColumns arcs = ColumnsOf(job.words, job.active[std::min(i, job.num_active - 1)].arcs);
    __builtin_prefetch(arcs.next_states);
    __builtin_prefetch(arcs.weights);
    __builtin_prefetch(arcs.labels);
  }

  static Result RunKernel(CpuKernels kernels, const Job &job) {
#if defined(__x86_64__)
    if (kernels == CpuKernels::kAvx512) return Avx512(job);
    if (kernels == CpuKernels::kAvx2) return Avx2(job);
#else
    static_cast<void>(kernels);
#endif
    return Baseline(job);
  }

  static Result Baseline(const Job job) {
    Columns out = ColumnsIn(job.candidates);
    size_t size = job.candidates->size_;
    int64_t num_visited = 0;
    float cutoff = job.cutoff;
    for (size_t i = 0; i < job.num_active; ++i) {
      Prefetch(job, i + kPrefetchArcs);
      const ArcColumns arcs = ColumnsOf(job.words, job.active[i].arcs);
      if (size + arcs.num_arcs + kLanes > out.room) out = MakeRoom(job.candidates, size, arcs.num_arcs);
      const float token_cost = job.active[i].cost, least = token_cost + job.costs.least_label_cost;
      uint32_t k = 0;
      for (; k < arcs.num_arcs && least + arcs.weights[k] < cutoff; ++k) {
        const float cost = token_cost + job.costs.label_costs[arcs.labels[k]] + arcs.weights[k];
        out.costs[size] = cost;
        out.next_states[size] = arcs.next_states[k];
        out.arcs[size] = k;
        out.active[size] = static_cast<uint32_t>(i);
        size += cost < cutoff;
        cutoff = std::min(cutoff, cost + job.costs.beam);
      }
      num_visited += k;
    }
    return {size, num_visited, cutoff};
  }

#if defined(__x86_64__)
  // Vectors are loaded beyond the last arc, too: records are padded. The lanes behind it do not count. A cost
  // that is not a number, in a damaged graph, is below no cutoff, and does not become one.
  KERNEL_TARGET_AVX2 static Result Avx2(const Job job) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 infinity = _mm256_set1_ps(kInfinity), beam = _mm256_set1_ps(job.costs.beam);
    Columns out = ColumnsIn(job.candidates);
    size_t size = job.candidates->size_;
    int64_t num_visited = 0;
    float cutoff = job.cutoff;
    __m256 cutoffs = _mm256_set1_ps(cutoff);
    for (size_t i = 0; i < job.num_active; ++i) {
      Prefetch(job, i + kPrefetchArcs);
      const ArcColumns arcs = ColumnsOf(job.words, job.active[i].arcs);
      if (size + arcs.num_arcs + kLanes > out.room) out = MakeRoom(job.candidates, size, arcs.num_arcs);
      const float least = job.active[i].cost + job.costs.least_label_cost;
      const __m256 token_cost = _mm256_set1_ps(job.active[i].cost);
      uint32_t k = 0;
      do {
        const __m256i num_left = _mm256_set1_epi32(static_cast<int>(arcs.num_arcs - k));
        const __m256 is_arc = _mm256_castsi256_ps(_mm256_cmpgt_epi32(num_left, lanes));
        const __m256 label_costs = Gather8(job.costs.label_costs, arcs.labels + k);
        const __m256 sums =
            _mm256_add_ps(_mm256_add_ps(token_cost, label_costs), _mm256_loadu_ps(arcs.weights + k));
        const __m256 costs = _mm256_blendv_ps(infinity, sums, is_arc);
        const unsigned mask =
            static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(costs, cutoffs, _CMP_LT_OQ)));
        cutoffs = _mm256_min_ps(_mm256_add_ps(costs, beam), cutoffs);
        const __m256i kept =
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(kLanesOfMask[mask])));
        _mm256_storeu_ps(out.costs + size, _mm256_permutevar8x32_ps(costs, kept));
        Store(out.next_states + size, _mm256_permutevar8x32_epi32(Load(arcs.next_states + k), kept));
        Store(out.arcs + size, _mm256_add_epi32(kept, _mm256_set1_epi32(static_cast<int>(k))));
        Store(out.active + size, _mm256_set1_epi32(static_cast<int>(i)));
        size += static_cast<size_t>(_mm_popcnt_u32(mask));
        k += kLanes;
      } while (k < arcs.num_arcs && least + arcs.weights[k] < cutoff);
      num_visited += std::min(k, arcs.num_arcs);
      if (i % kTokensPerCutoff == 0) {
        cutoff = LeastOf(cutoffs);
        cutoffs = _mm256_set1_ps(cutoff);
      }
    }
    return {size, num_visited, LeastOf(cutoffs)};
  }

  // Eight lanes here, too: most states have fewer arcs, and the costs of labels are loaded one by one.
  KERNEL_TARGET_AVX512 static Result Avx512(const Job job) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 beam = _mm256_set1_ps(job.costs.beam);
    Columns out = ColumnsIn(job.candidates);
    size_t size = job.candidates->size_;
    int64_t num_visited = 0;
    float cutoff = job.cutoff;
    __m256 cutoffs = _mm256_set1_ps(cutoff);
    for (size_t i = 0; i < job.num_active; ++i) {
      Prefetch(job, i + kPrefetchArcs);
      const ArcColumns arcs = ColumnsOf(job.words, job.active[i].arcs);
      if (size + arcs.num_arcs + kLanes > out.room) out = MakeRoom(job.candidates, size, arcs.num_arcs);
      const float least = job.active[i].cost + job.costs.least_label_cost;
      const __m256 token_cost = _mm256_set1_ps(job.active[i].cost);
      uint32_t k = 0;
      do {
        const __m256i num_left = _mm256_set1_epi32(static_cast<int>(arcs.num_arcs - k));
        const __mmask8 is_arc = _mm256_cmpgt_epi32_mask(num_left, lanes);
        const __m256 label_costs = Gather8(job.costs.label_costs, arcs.labels + k);
        const __m256 costs =
            _mm256_add_ps(_mm256_add_ps(token_cost, label_costs), _mm256_loadu_ps(arcs.weights + k));
        const __mmask8 mask = _mm256_mask_cmp_ps_mask(is_arc, costs, cutoffs, _CMP_LT_OQ);
        cutoffs = _mm256_mask_min_ps(cutoffs, is_arc, _mm256_add_ps(costs, beam), cutoffs);
        const __m256i places = _mm256_add_epi32(lanes, _mm256_set1_epi32(static_cast<int>(k)));
        _mm256_storeu_ps(out.costs + size, _mm256_maskz_compress_ps(mask, costs));
        Store(out.next_states + size, _mm256_maskz_compress_epi32(mask, Load(arcs.next_states + k)));
        Store(out.arcs + size, _mm256_maskz_compress_epi32(mask, places));
        Store(out.active + size, _mm256_set1_epi32(static_cast<int>(i)));
        size += static_cast<size_t>(_mm_popcnt_u32(mask));
        k += kLanes;
      } while (k < arcs.num_arcs && least + arcs.weights[k] < cutoff);
      num_visited += std::min(k, arcs.num_arcs);
      if (i % kTokensPerCutoff == 0) {
        cutoff = LeastOf(cutoffs);
        cutoffs = _mm256_set1_ps(cutoff);
      }
    }
    return {size, num_visited, LeastOf(cutoffs)};
  }

  template <class T>
  KERNEL_TARGET_AVX2 static __m256i Load(const T *from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
  }
  template <class T>
  KERNEL_TARGET_AVX2 static void Store(T *to, __m256i vector) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), vector);
  }
  KERNEL_TARGET_AVX2 static float LeastOf(__m256 vector) {
    __m128 least = _mm_min_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps(vector, 1));
    least = _mm_min_ps(least, _mm_movehl_ps(least, least));
    least = _mm_min_ss(least, _mm_shuffle_ps(least, least, 1));
    return _mm_cvtss_f32(least);
  }
#endif
};

void FilterArcs(CpuKernels kernels, const uint32_t *words, const ActiveTokens &active,
                const FrameCosts &costs, float *cutoff, ArcCandidates *candidates, int64_t *num_visited) {
  const ArcFilter::Result result =
      ArcFilter::Run(kernels, {words, active.data(), active.size(), costs, *cutoff, candidates});
  *cutoff = result.cutoff;
  *num_visited += result.num_visited;
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
