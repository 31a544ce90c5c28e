// Posteriors of the best Gaussians of a mixture with diagonal covariances, for a block of frames.
//
// The log-likelihood of Gaussian g, with its weight, is linear in x and x^2 (DiagGmm in gmm/diag_gmm.py):
//
//     s_g = gconst_g + sum_d means_invvars_gd x_d - 1/2 sum_d inv_vars_gd x_d^2
//
// which is one product of (x, x^2) with a packed matrix. Of each frame, the num_gselect best are kept, those
// whose share is below the frame's threshold are dropped (but never the best one), and the rest is
// normalised. Source: VectorToPosteriorEntry in Kaldi's hmm/posterior.cc.
#ifndef PYKALDI_SERVER_GMM_GAUSSIAN_POSTERIORS_H_
#define PYKALDI_SERVER_GMM_GAUSSIAN_POSTERIORS_H_

#include <cstdint>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/matrix/packed-product.h"

namespace pykaldi {

// Immutable; any number of threads may use it at once.
class GaussianPosteriors {
 public:
  // `means_invvars` and `inv_vars` have num_gauss rows of dim, `gconsts` has num_gauss elements.
  GaussianPosteriors(const float *means_invvars, const float *inv_vars, const float *gconsts,
                     int32_t num_gauss, int32_t dim, CpuKernels kernels);

  int32_t NumGauss() const { return product_.OutputDim(); }
  int32_t Dim() const { return dim_; }
  CpuKernels Kernels() const { return product_.Kernels(); }

  // Computes the posteriors of a block of frames.
  //   features: (num_frames, Dim()), by rows.
  //   min_post: (num_frames): shares of less are dropped.
  //   posteriors: receives (num_frames, NumGauss()), by rows. Rows sum to 1; where log-likelihoods are not
  //       finite, they are NaN.
  void Compute(const float *features, int64_t num_frames, int32_t num_gselect, const float *min_post,
               float *posteriors) const;

 private:
  int32_t dim_;
  PackedProduct product_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_GMM_GAUSSIAN_POSTERIORS_H_
