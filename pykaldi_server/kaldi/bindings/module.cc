// The extension module pykaldi_server.kaldi._core. Python code imports it only from the packages that
// re-export its classes under PyKaldi's names.
#include "bindings/bindings.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of the Kaldi runtime.";
  pykaldi::BindErrors(m);
  pykaldi::BindMatrix(m);
  pykaldi::BindNnet3(m);
  pykaldi::BindFeat(m);
  pykaldi::BindGmm(m);
  pykaldi::BindIvector(m);
  pykaldi::BindFst(m);
  pykaldi::BindLookahead(m);
  pykaldi::BindLat(m);
  pykaldi::BindLatAlign(m);
  pykaldi::BindLatRescore(m);
  pykaldi::BindLm(m);
  pykaldi::BindDecoder(m);
  pykaldi::BindOnline2(m);
}
