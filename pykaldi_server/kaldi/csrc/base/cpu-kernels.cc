#include "csrc/base/cpu-kernels.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr CpuKernels kAllKernels[] = {CpuKernels::kBaseline, CpuKernels::kAvx2, CpuKernels::kAvx512};

bool IsAvailable(CpuKernels kernels) {
#if defined(__x86_64__)
  switch (kernels) {
    case CpuKernels::kBaseline:
      return true;
    case CpuKernels::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case CpuKernels::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return kernels == CpuKernels::kBaseline;
}

}  // namespace

const char *CpuKernelsName(CpuKernels kernels) {
  switch (kernels) {
    case CpuKernels::kAvx2:
      return "avx2";
    case CpuKernels::kAvx512:
      return "avx512";
    case CpuKernels::kBaseline:
      break;
  }
  return "baseline";
}

std::vector<CpuKernels> AvailableCpuKernels() {
  std::vector<CpuKernels> available;
  for (const CpuKernels kernels : kAllKernels) {
    if (IsAvailable(kernels)) available.push_back(kernels);
  }
  return available;
}

CpuKernels FindCpuKernels(const char *name) {
  std::string names;
  for (const CpuKernels kernels : AvailableCpuKernels()) {
    if (std::strcmp(name, CpuKernelsName(kernels)) == 0) return kernels;
    names += std::string(names.empty() ? "" : ", ") + CpuKernelsName(kernels);
  }
  throw ConfigError("expected kernels that this processor can run (" + names + "), found " + name);
}

CpuKernels DefaultCpuKernels() {
  const char *name = std::getenv("PYKALDI_SERVER_KERNELS");
  if (name != nullptr && *name != '\0') {
    try {
      return FindCpuKernels(name);
    } catch (const ConfigError &e) {
      throw ConfigError(std::string("PYKALDI_SERVER_KERNELS: ") + e.what());
    }
  }
  return AvailableCpuKernels().back();
}

}  // namespace pykaldi
