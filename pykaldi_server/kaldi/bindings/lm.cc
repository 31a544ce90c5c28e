// Bindings of csrc/lm: language models and rescoring of lattices.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "csrc/base/error.h"
#include "csrc/lm/backoff-lm.h"
#include "csrc/lm/const-arpa-builder.h"
#include "csrc/lm/const-arpa-lm.h"
#include "csrc/lm/lattice-lmrescore.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Release = py::call_guard<py::gil_scoped_release>;
// pybind11 holds no pointers to constants; no method that Python sees changes a model.
using SharedLm = std::shared_ptr<ConstArpaLm>;

void BindConstArpaLm(py::module_ &m) {
  py::class_<ConstArpaLm, SharedLm>(
      m, "ConstArpaLm",
      "A constant n-gram model (G.carpa), mapped from disk: its pages are shared by all processes.\n\n"
      "Log-probabilities are natural logarithms. Immutable, shared by all sessions.")
      .def_static("read", [](const std::string &path) {
        return std::const_pointer_cast<ConstArpaLm>(ConstArpaLm::Read(path));
      }, py::arg("path"), Release(),
                  "Maps a file.\n\nRaises:\n    FileNotFoundError: there is no such file.\n"
                  "    ModelFormatError: the file is damaged or of another kind; names the byte.")
      .def("get_ngram_log_prob", &ConstArpaLm::GetNgramLogprob, py::arg("word"), py::arg("hist"),
           "Log-probability of a word after a history (a list of words, the last one last).")
      .def("history_state_exists", &ConstArpaLm::HistoryStateExists, py::arg("hist"),
           "True when the model has words that follow the history.")
      .def("get_bos_symbol", &ConstArpaLm::BosSymbol, "The word for the beginning of a sentence.")
      .def("get_eos_symbol", &ConstArpaLm::EosSymbol, "The word for the end of a sentence.")
      .def("get_unk_symbol", &ConstArpaLm::UnkSymbol, "The unknown word; -1 when there is none.")
      .def("num_words", &ConstArpaLm::NumWords, "The highest word plus one.")
      .def("get_ngram_order", &ConstArpaLm::NgramOrder)
      .def("write_arpa", [](const ConstArpaLm &lm, const std::string &path) {
        std::ofstream out(path, std::ios::binary);
        if (out) lm.WriteArpa(out);
        out.close();
        if (!out) throw FileError(path, errno);
      }, py::arg("path"), Release(), "Writes an ARPA file with integers for words.");
  py::class_<ConstArpaLmDeterministicFst>(
      m, "ConstArpaLmDeterministicFst",
      "A constant n-gram model as an automaton; states come to exist as arcs lead to them.\n\n"
      "For one thread at a time.")
      .def(py::init([](SharedLm lm) { return ConstArpaLmDeterministicFst(std::move(lm)); }), py::arg("lm"))
      .def("start", &ConstArpaLmDeterministicFst::Start)
      .def("final", [](ConstArpaLmDeterministicFst &fst, int32_t state) {
        if (state < 0 || state >= fst.NumStates()) throw py::index_error("expected a state that exists");
        return fst.Final(state);
      }, py::arg("state"), "The cost of ending in a state.")
      .def("get_arc", [](ConstArpaLmDeterministicFst &fst, int32_t state, int32_t word) -> py::object {
        if (state < 0 || state >= fst.NumStates()) throw py::index_error("expected a state that exists");
        DeterministicOnDemandFst::Arc arc{};
        if (!fst.GetArc(state, word, &arc)) return py::none();
        return py::make_tuple(arc.cost, arc.nextstate);
      }, py::arg("state"), py::arg("word"), "Cost and next state of the arc for a word; None without one.");
}

void BindBuilder(py::module_ &m) {
  py::class_<ConstArpaLmBuilder>(m, "ConstArpaLmBuilder")
      .def(py::init([](const std::string &path, int32_t bos_symbol, int32_t eos_symbol, int32_t unk_symbol,
                       std::shared_ptr<SymbolTable> symbols) {
             return std::make_unique<ConstArpaLmBuilder>(path, bos_symbol, eos_symbol, unk_symbol, symbols);
           }),
           py::arg("path"), py::arg("bos_symbol"), py::arg("eos_symbol"), py::arg("unk_symbol"),
           py::arg("symbols"))
      .def("feed", [](ConstArpaLmBuilder &builder, const py::bytes &bytes) {
        const std::string_view view = bytes;
        py::gil_scoped_release release;
        builder.Feed(view);
      }, py::arg("bytes"))
      .def("write", &ConstArpaLmBuilder::Write, py::arg("path"), Release())
      .def("num_skipped", &ConstArpaLmBuilder::NumSkipped)
      .def("set_max_address_offset", &ConstArpaLmBuilder::SetMaxAddressOffset, py::arg("offset"));
}

void BindRescoring(py::module_ &m) {
  py::class_<BackoffLm, std::shared_ptr<BackoffLm>>(
      m, "BackoffLm",
      "An n-gram automaton (G.fst) prepared for rescoring: projected on its output and sorted.\n\n"
      "Immutable, shared by all sessions.")
      .def(py::init<const ConstFst &>(), py::arg("fst"), Release())
      .def("num_states", &BackoffLm::NumStates);
  m.def("lattice_lmrescore", &LatticeLmRescore, py::arg("clat"), py::arg("lm"), py::arg("lm_scale"), Release());
  m.def("lattice_lmrescore_const_arpa", [](const CompactLattice &lattice, SharedLm lm, float lm_scale) {
    return LatticeLmRescoreConstArpa(lattice, std::move(lm), lm_scale);
  }, py::arg("clat"), py::arg("lm"), py::arg("lm_scale"), Release());
  m.def("compose_compact_lattice_deterministic", [](const CompactLattice &lattice, SharedLm lm) {
    ConstArpaLmDeterministicFst automaton(std::move(lm));
    return ComposeCompactLatticeDeterministic(lattice, &automaton);
  }, py::arg("clat"), py::arg("lm"), Release());
  m.def("compose_compact_lattice_backoff", &ComposeCompactLatticeBackoff, py::arg("clat"), py::arg("lm"),
        Release());
}

}  // namespace

void BindLm(py::module_ &m) {
  BindConstArpaLm(m);
  BindBuilder(m);
  BindRescoring(m);
}

}  // namespace pykaldi
