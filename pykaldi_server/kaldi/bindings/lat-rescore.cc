// Bindings of csrc/lat: acoustic rescoring.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"
#include "csrc/lat/rescore-lattice.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

void Rescore(const Floats &log_likelihoods, const Ints &id2pdf, Lattice *lattice) {
  if (log_likelihoods.ndim() != 2 || id2pdf.ndim() != 1) {
    throw py::value_error("expected log-likelihoods (frames, pdfs) and the pdfs of the transition-ids");
  }
  const FrameScores scores{log_likelihoods.data(), log_likelihoods.shape(0), log_likelihoods.shape(1),
                           id2pdf.data(), id2pdf.shape(0)};
  py::gil_scoped_release release;
  RescoreLattice(scores, lattice);
}

}  // namespace

void BindLatRescore(py::module_ &m) {
  m.def("rescore_lattice", &Rescore, py::arg("log_likelihoods"), py::arg("id2pdf"), py::arg("lat"),
        "Adds the scores of frames to the acoustic costs of a lattice, in place.\n\n"
        "Args:\n"
        "    log_likelihoods: scaled, (frames, pdfs), float32.\n"
        "    id2pdf: pdf of each transition-id, int32; entry 0 is not used.\n"
        "    lat: a state-level lattice in topological order.\n\n"
        "Raises:\n    LatticeError: the lattice has more frames, or other transition-ids.");
}

}  // namespace pykaldi
