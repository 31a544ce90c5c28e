// Bindings of the lookahead graphs of csrc/fst.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "csrc/fst/lookahead-composition.h"
#include "csrc/fst/lookahead-fst.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Release = py::call_guard<py::gil_scoped_release>;

void CheckState(const LookaheadFstReader &reader, int32_t state) {
  if (state < 0 || state >= reader.NumStates()) {
    throw py::index_error("expected a state below " + std::to_string(reader.NumStates()) + ", found " +
                          std::to_string(state));
  }
}

void BindReader(py::module_ &m) {
  py::class_<LookaheadFstReader, std::shared_ptr<LookaheadFstReader>>(
      m, "LookaheadFstReader",
      "Walks through a `LookaheadFst`, state by state; a state exists once an arc to it was seen.")
      .def("start", &LookaheadFstReader::Start, "The start state; -1 when the composition is empty.")
      .def(
          "final",
          [](const LookaheadFstReader &reader, int32_t state) {
            CheckState(reader, state);
            return reader.Final(state);
          },
          py::arg("state"), "The final cost of a state; infinity when it is not final.")
      .def(
          "num_input_epsilons",
          [](const LookaheadFstReader &reader, int32_t state) {
            CheckState(reader, state);
            return reader.NumInputEpsilons(state);
          },
          py::arg("state"))
      .def(
          "arcs",
          [](const LookaheadFstReader &reader, int32_t state) {
            CheckState(reader, state);
            const ArcSpan arcs = reader.Arcs(state);
            return std::vector<StdArc>(arcs.begin(), arcs.end());
          },
          py::arg("state"), "The arcs that leave a state, as a list of `StdArc`.");
}

}  // namespace

void BindLookahead(py::module_ &m) {
  BindReader(m);
  py::class_<LookaheadFst, std::shared_ptr<LookaheadFst>>(
      m, "LookaheadFst",
      "The composition of HCLr.fst and Gr.fst, made while it is searched; all decoders of a process share "
      "what\n"
      "one of them has visited.")
      .def_static(
          "read",
          [](const std::string &hcl, const std::string &grammar, const std::vector<int32_t> &disambig_tids,
             size_t store_bytes) {
            return std::make_shared<LookaheadFst>(LookaheadComposition::Read(hcl, grammar, disambig_tids),
                                                  store_bytes);
          },
          py::arg("hcl"), py::arg("grammar"), py::arg("disambig_tids"),
          py::arg("store_bytes") = LookaheadFst::kDefaultStoreBytes, Release(),
          "Reads the two parts; both are mapped, so that all processes share their pages.\n\n"
          "Args:\n"
          "    hcl: HCLr.fst, of OpenFst's type olabel_lookahead.\n"
          "    grammar: Gr.fst, of type ngram, const or vector, with the labels of HCLr.\n"
          "    disambig_tids: input labels of HCLr that stand for nothing (disambig_tid.int).\n"
          "    store_bytes: memory for what was visited; beyond it, it is forgotten and composed anew.\n\n"
          "Raises:\n    FileNotFoundError: there is no such file.\n"
          "    ModelFormatError: a file is damaged or of another kind; names the byte.")
      .def("reader", [](std::shared_ptr<LookaheadFst> fst) { return LookaheadFstReader(std::move(fst)); })
      .def("max_input_label", [](const LookaheadFst &fst) { return fst.Composition().MaxInputLabel(); })
      .def(
          "output_symbols", [](const LookaheadFst &fst) { return fst.Composition().OutputSymbols(); },
          "The table of words that is embedded in Gr.fst, or None.")
      .def(
          "num_visited_states", [](const LookaheadFst &fst) { return fst.Store()->NumStates(); },
          "States in the present store.")
      .def(
          "num_store_bytes", [](const LookaheadFst &fst) { return fst.Store()->NumBytes(); },
          "Memory of the present store.");
}

}  // namespace pykaldi
