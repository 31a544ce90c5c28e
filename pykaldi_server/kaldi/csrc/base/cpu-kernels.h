// Which instructions numerical code may use: chosen when the program runs, not when it is compiled.
//
// Code that profits from wide vectors is written once, as a template over the vector type, and compiled for
// each of these kinds (KERNEL_TARGET_...). All of them compute the same numbers except for rounding.
#ifndef PYKALDI_SERVER_BASE_CPU_KERNELS_H_
#define PYKALDI_SERVER_BASE_CPU_KERNELS_H_

#include <optional>
#include <string>
#include <vector>

namespace pykaldi {

enum class CpuKernels {
  kBaseline,  // what every processor of this architecture has (SSE2 on x86-64)
  kAvx2,      // AVX2 and FMA
  kAvx512,    // AVX-512 with the extensions F, BW, DQ and VL
};

// What one instruction of the three kinds processes.
typedef float Vector4f __attribute__((vector_size(16)));
typedef float Vector8f __attribute__((vector_size(32)));
typedef float Vector16f __attribute__((vector_size(64)));

#if defined(__x86_64__)
#define KERNEL_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define KERNEL_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#else
#define KERNEL_TARGET_AVX2
#define KERNEL_TARGET_AVX512
#endif
// Code that is compiled for the instructions of the function that calls it.
#define KERNEL_INLINE inline __attribute__((always_inline))

// Sets a vector from memory, which need not be aligned. (A template cannot take a vector type that is less
// aligned: it drops the attribute.)
template <class Vector, class T>
KERNEL_INLINE void LoadVector(const T *source, Vector *vector) {
  __builtin_memcpy(vector, source, sizeof(Vector));
}

// Writes a vector to memory, which need not be aligned.
template <class Vector, class T>
KERNEL_INLINE void StoreVector(const Vector &vector, T *target) {
  __builtin_memcpy(target, &vector, sizeof(Vector));
}

// Returns "baseline", "avx2" or "avx512".
const char *CpuKernelsName(CpuKernels kernels);

// Returns the kernels that this processor can run, the best ones last.
std::vector<CpuKernels> AvailableCpuKernels();

// Returns the kernels with this name. Throws ConfigError if there are none, or this processor cannot run
// them.
CpuKernels FindCpuKernels(const char *name);

// Returns the kernels to use: those named by the environment variable PYKALDI_SERVER_KERNELS, otherwise the
// best ones. Throws ConfigError like FindCpuKernels.
CpuKernels DefaultCpuKernels();

// Returns the kernels with this name, or the default ones if there is none.
inline CpuKernels ChosenCpuKernels(const std::optional<std::string> &name) {
  return name.has_value() ? FindCpuKernels(name->c_str()) : DefaultCpuKernels();
}

// Calls work.Run<Vector>() compiled for these kernels. Run must be KERNEL_INLINE, and so must be what it
// calls, for this to have an effect.
template <class Work>
void RunForBaseline(const Work &work) {
  work.template Run<Vector4f>();
}

template <class Work>
KERNEL_TARGET_AVX2 void RunForAvx2(const Work &work) {
  work.template Run<Vector8f>();
}

template <class Work>
KERNEL_TARGET_AVX512 void RunForAvx512(const Work &work) {
  work.template Run<Vector16f>();
}

template <class Work>
void RunFor(CpuKernels kernels, const Work &work) {
  switch (kernels) {
    case CpuKernels::kAvx512:
      return RunForAvx512(work);
    case CpuKernels::kAvx2:
      return RunForAvx2(work);
    case CpuKernels::kBaseline:
      return RunForBaseline(work);
  }
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_CPU_KERNELS_H_
