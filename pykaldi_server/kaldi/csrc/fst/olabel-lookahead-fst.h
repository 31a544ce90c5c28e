// A transducer with what lookahead needs to know of its output labels (OpenFst's type `olabel_lookahead`,
// matcher-fst.h and add-on.h there): HCLr.fst of Kaldi's lookahead graphs.
//
// File: a header that says start -1 and 0 states, int32 magic number, the transducer as a `const` FST with a
// header of its own, and what LabelReachable reads.
#ifndef PYKALDI_SERVER_FST_OLABEL_LOOKAHEAD_FST_H_
#define PYKALDI_SERVER_FST_OLABEL_LOOKAHEAD_FST_H_

#include <cstdint>
#include <memory>
#include <string>

#include "csrc/fst/const-fst.h"
#include "csrc/fst/label-reachable.h"

namespace pykaldi {

class OLabelLookaheadFst {
 public:
  // Reads a file; throws FileError or ModelFormatError.
  explicit OLabelLookaheadFst(const std::string &path);

  // The transducer; the arcs of each state are sorted by output label.
  const ConstFst &Fst() const { return *fst_; }
  const LabelReachable &Reachable() const { return *reachable_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::shared_ptr<ConstFst> fst_;
  std::unique_ptr<LabelReachable> reachable_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_OLABEL_LOOKAHEAD_FST_H_
