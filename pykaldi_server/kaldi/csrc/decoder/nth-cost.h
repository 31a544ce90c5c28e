// The n-th least cost of tokens, which bounds how many of them a frame expands (max_active).
//
// Sound that is no clear speech has thousands of tokens more than are wanted in each frame, and a search for
// the n-th of so many compares each several times, with a result that cannot be predicted. So costs are
// counted in a histogram first, and only those in the interval of the n-th one are compared.
#ifndef PYKALDI_SERVER_DECODER_NTH_COST_H_
#define PYKALDI_SERVER_DECODER_NTH_COST_H_

#include <cstddef>

#include "csrc/base/uninitialized-vector.h"
#include "csrc/decoder/token-lattice.h"

namespace pykaldi {

// Returns the n-th least total cost, counted from 0, of tokens of which none costs less than `least`. More
// than `n` must cost at most `most`, which may be infinite. `costs` is scratch memory.
float NthCost(const TokenVector &tokens, size_t n, float least, float most,
              UninitializedVector<float> *costs);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_NTH_COST_H_
