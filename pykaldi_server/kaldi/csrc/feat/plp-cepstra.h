// From mel energies to the cepstra of perceptual linear prediction.
//
// For each frame with mel energies m:
//
//     l    (equal_loudness m)^compress_factor, with the first and the last value repeated: loudness
//     r    idft_bases l: its autocorrelation, of order + 1 lags
//     a    linear prediction coefficients of r by Durbin's recursion; E is the energy that they leave
//     c    cepstrum of 1 / (1 + sum_i a_i z^-i):  c_n = -a_n - 1/n sum_k (n - k) a_k c_{n-k}
//
// In windows without any energy, where Kaldi divides 0 by 0, coefficients are 0.
// Sources: Kaldi's feat/feature-plp.cc and feat/mel-computations.cc (Durbin, Lpc2Cepstrum).
#ifndef PYKALDI_SERVER_FEAT_PLP_CEPSTRA_H_
#define PYKALDI_SERVER_FEAT_PLP_CEPSTRA_H_

#include <cstdint>

namespace pykaldi {

// Computes all of it for a block of frames.
//   mel_energies: (num_frames, num_filters), by rows.
//   equal_loudness: (num_filters).
//   idft_bases: (order + 1, num_filters + 2), by rows.
//   cepstra: receives (num_frames, order + 1), by rows: ln E, but at least the smallest normal number above
//       0, as in Kaldi, and then c.
void ComputePlpCepstra(const float *mel_energies, int64_t num_frames, int32_t num_filters,
                       const float *equal_loudness, float compress_factor, const float *idft_bases,
                       int32_t order, float *cepstra);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_PLP_CEPSTRA_H_
