// Writes a composition as a compiled graph (compiled-graph.h).
//
// Order of the records: each state is followed by one that is likely to come next, namely the cheapest of its
// next states that has no place yet; where there is none, the first state without a place begins a new chain.
// So a search continues in the same or the next cache line. States have numbers in this order, too, but those
// with arcs without input label come first.
#ifndef PYKALDI_SERVER_FST_GRAPH_COMPILER_H_
#define PYKALDI_SERVER_FST_GRAPH_COMPILER_H_

#include <string>

#include "csrc/fst/expanded-graph.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

// Writes `path`, which is not a compiled graph until everything is written. Temporary files, about twice as
// large, are made in `directory`. `fingerprint` has CompiledGraph::kFingerprintBytes and `stamp` has
// kStampBytes. Throws FileError, ModelFormatError when there is nothing to write or when it does not fit into
// the format, and what `progress` throws.
void CompileGraph(const LookaheadComposition &composition, const std::string &path,
                  const std::string &directory, const std::string &fingerprint, const std::string &stamp,
                  const CompileProgress &progress);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_GRAPH_COMPILER_H_
