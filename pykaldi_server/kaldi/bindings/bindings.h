// One function for each file of this folder; module.cc calls them in the order of their dependencies.
#ifndef PYKALDI_SERVER_BINDINGS_BINDINGS_H_
#define PYKALDI_SERVER_BINDINGS_BINDINGS_H_

#include <pybind11/pybind11.h>

namespace pykaldi {

void BindErrors(pybind11::module_ &m);
void BindMatrix(pybind11::module_ &m);
void BindNnet3(pybind11::module_ &m);
void BindFeat(pybind11::module_ &m);
void BindGmm(pybind11::module_ &m);
void BindIvector(pybind11::module_ &m);
void BindFst(pybind11::module_ &m);
void BindLookahead(pybind11::module_ &m);
void BindLat(pybind11::module_ &m);
void BindLatAlign(pybind11::module_ &m);
void BindLatRescore(pybind11::module_ &m);
void BindLm(pybind11::module_ &m);
void BindDecoder(pybind11::module_ &m);
void BindOnline2(pybind11::module_ &m);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BINDINGS_BINDINGS_H_
