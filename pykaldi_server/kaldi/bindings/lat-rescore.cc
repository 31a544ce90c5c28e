// Bindings of csrc/lat: acoustic rescoring.
#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/lat/rescore-lattice.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

void Rescore(const py::array &log_likelihoods, const py::array &id2pdf, Lattice *lattice) {
  const InputArray<float> values(log_likelihoods, "log_likelihoods", {"frames", "pdfs"});
  const InputArray<int32_t> pdfs(id2pdf, "id2pdf", {"transition-ids"});
  const FrameScores scores{values.Data(), values.Shape(0), values.Shape(1), pdfs.Data(), pdfs.Size()};
  py::gil_scoped_release release;
  RescoreLattice(scores, lattice);
}

}  // namespace

void BindLatRescore(py::module_ &m) {
  m.def("rescore_lattice", WithGil(&Rescore), py::arg("log_likelihoods"), py::arg("id2pdf"), py::arg("lat"),
        "Adds the scores of frames to the acoustic costs of a lattice, in place.\n\n"
        "Args:\n"
        "    log_likelihoods: scaled, (frames, pdfs), float32.\n"
        "    id2pdf: pdf of each transition-id, int32; entry 0 is not used.\n"
        "    lat: a state-level lattice in topological order.\n\n"
        "Raises:\n"
        "    LatticeError: the lattice has more frames, or other transition-ids.\n"
        "    TypeError: an array has another dtype.\n"
        "    ValueError: an array has another shape, or is not contiguous.");
}

}  // namespace pykaldi
