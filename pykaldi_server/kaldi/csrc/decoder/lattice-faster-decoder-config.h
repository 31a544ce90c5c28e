// Options of the search; the defaults are Kaldi's (decoder/lattice-faster-decoder.h).
#ifndef PYKALDI_SERVER_DECODER_LATTICE_FASTER_DECODER_CONFIG_H_
#define PYKALDI_SERVER_DECODER_LATTICE_FASTER_DECODER_CONFIG_H_

#include <cstdint>
#include <limits>
#include <string>

#include "csrc/base/error.h"

namespace pykaldi {

struct LatticeFasterDecoderConfig {
  // Hypotheses whose cost exceeds the best one's by more than this are dropped.
  float beam = 16.0f;
  // Maximum and minimum number of states that are expanded per frame: the beam narrows or widens accordingly.
  int32_t max_active = std::numeric_limits<int32_t>::max();
  int32_t min_active = 200;
  // The lattice keeps what lies within this cost of the best path.
  float lattice_beam = 10.0f;
  // Number of frames after which the tokens of earlier frames are pruned again, to the lattice beam.
  int32_t prune_interval = 25;
  // Added to the beam that max_active or min_active implies.
  float beam_delta = 0.5f;
  // Minimum number of places in the hash table per active state.
  float hash_ratio = 2.0f;
  // Pruning goes on to earlier frames while costs change by more than this times the lattice beam.
  float prune_scale = 0.1f;

  // Throws ConfigError when an option is invalid.
  void Check() const {
    if (!(beam > 0)) Fail("beam", "a number above 0", std::to_string(beam));
    if (max_active <= 1) Fail("max_active", "more than 1", std::to_string(max_active));
    if (min_active < 0 || min_active > max_active) {
      Fail("min_active", "between 0 and max_active", std::to_string(min_active));
    }
    // Tokens that lead nowhere cost infinitely more than the best path: no infinite beam may keep them.
    if (!(lattice_beam > 0 && lattice_beam < std::numeric_limits<float>::infinity())) {
      Fail("lattice_beam", "a finite number above 0", std::to_string(lattice_beam));
    }
    if (prune_interval <= 0) Fail("prune_interval", "1 or more", std::to_string(prune_interval));
    if (!(beam_delta > 0)) Fail("beam_delta", "a number above 0", std::to_string(beam_delta));
    if (!(hash_ratio >= 1 && hash_ratio <= 1000)) Fail("hash_ratio", "1 to 1000", std::to_string(hash_ratio));
    if (!(prune_scale > 0 && prune_scale < 1)) {
      Fail("prune_scale", "between 0 and 1", std::to_string(prune_scale));
    }
  }

 private:
  [[noreturn]] static void Fail(const std::string &name, const std::string &expected,
                                const std::string &found) {
    throw ConfigError("decoder option " + name + ": expected " + expected + ", found " + found);
  }
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_LATTICE_FASTER_DECODER_CONFIG_H_
