// Bindings of the lookahead graphs of csrc/fst.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/graph-compiler.h"
#include "csrc/fst/lookahead-composition.h"
#include "csrc/fst/lookahead-fst.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Path = std::filesystem::path;

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
      .def("start", WithGil(&LookaheadFstReader::Start), "The start state; -1 when the composition is empty.")
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

void CheckSize(const std::string &what, const std::string &bytes, size_t expected) {
  if (bytes.size() == expected) return;
  throw py::value_error("expected " + what + " of " + std::to_string(expected) + " bytes, found " +
                        std::to_string(bytes.size()));
}

void BindCompiledGraph(py::module_ &m) {
  py::class_<CompiledGraph, std::shared_ptr<CompiledGraph>>(
      m, "CompiledGraph",
      "A composed graph in a compact file, which is mapped: all processes share its pages. See\n"
      "csrc/fst/compiled-graph.h.")
      .def_static(
          "read", WithoutGil(+[](const Path &path, bool check) {
            auto graph = std::make_shared<CompiledGraph>(path.string());
            if (check) graph->Check();
            return graph;
          }),
          py::arg("path"), py::arg("check") = true,
          "Opens a file.\n\n"
          "Args:\n"
          "    path: the file.\n"
          "    check: whether to `check` it. Otherwise damage may be found later, by a search, or may\n"
          "        lead to wrong results; it never leads to wild access.\n\n"
          "Raises:\n    FileNotFoundError: there is no such file.\n"
          "    ModelFormatError: the file is damaged or of another kind; names the byte.")
      .def("check", WithoutGil(&CompiledGraph::Check),
           "Goes through the whole file.\n\n"
           "Raises:\n    ModelFormatError: the file is damaged; names the byte.")
      .def("num_bytes", WithGil(&CompiledGraph::NumBytes), "The size of the file.")
      .def_static(
          "read_fingerprint",
          [](const Path &path) { return py::bytes(CompiledGraph::ReadFingerprint(path.string())); },
          py::arg("path"), "What the file says that it was made of, 32 bytes; nothing else is checked.")
      .def_static(
          "read_stamp", [](const Path &path) { return py::bytes(CompiledGraph::ReadStamp(path.string())); },
          py::arg("path"), "The stamp in the file, 16 bytes; nothing else is checked.")
      .def_static(
          "write_stamp",
          [](const Path &path, const std::string &stamp) {
            CheckSize("a stamp", stamp, CompiledGraph::kStampBytes);
            CompiledGraph::WriteStamp(path.string(), stamp);
          },
          py::arg("path"), py::arg("stamp"), "Replaces the stamp in the file.")
      .def("num_states", WithGil(&CompiledGraph::NumStates))
      .def("num_arcs", WithGil(&CompiledGraph::NumArcs))
      .def("max_input_label", WithGil(&CompiledGraph::MaxInputLabel))
      .def("output_labels", WithoutGil(&CompiledGraph::OutputLabels),
           "The output labels of all arcs but 0, as a sorted list.")
      .def("output_symbols", WithGil(&CompiledGraph::OutputSymbols), "The embedded table of words, or None.")
      .def("to_const", WithoutGil(&CompiledGraph::ToConst),
           "Copies the graph as a `StdConstFst`, whose states are in the order of the file.");
}

// Composes without the GIL, takes it to report.
void Compile(const LookaheadFst &fst, const Path &path, const Path &directory, const std::string &fingerprint,
             const std::string &stamp, const py::function &progress) {
  CheckSize("a fingerprint", fingerprint, CompiledGraph::kFingerprintBytes);
  CheckSize("a stamp", stamp, CompiledGraph::kStampBytes);
  const CompileProgress report = [&progress](const char *what, int64_t done, int64_t total) {
    py::gil_scoped_acquire acquire;
    progress(what, done, total);
  };
  py::gil_scoped_release release;
  CompileGraph(fst.Composition(), path.string(), directory.string(), fingerprint, stamp, report);
}

}  // namespace

void BindLookahead(py::module_ &m) {
  BindReader(m);
  BindCompiledGraph(m);
  py::class_<LookaheadFst, std::shared_ptr<LookaheadFst>>(
      m, "LookaheadFst",
      "The composition of HCLr.fst and Gr.fst, made while it is searched; all decoders of a process share "
      "what\n"
      "one of them has visited.")
      .def_static(
          "read",
          WithoutGil(+[](const Path &hcl, const Path &grammar, const std::vector<int32_t> &disambig_tids,
                         size_t store_bytes) {
            return std::make_shared<LookaheadFst>(
                LookaheadComposition::Read(hcl.string(), grammar.string(), disambig_tids), store_bytes);
          }),
          py::arg("hcl"), py::arg("grammar"), py::arg("disambig_tids"),
          py::arg("store_bytes") = LookaheadFst::kDefaultStoreBytes,
          "Reads the two parts; both are mapped, so that all processes share their pages.\n\n"
          "Args:\n"
          "    hcl: HCLr.fst, of OpenFst's type olabel_lookahead.\n"
          "    grammar: Gr.fst, of type ngram, const or vector, with the labels of HCLr.\n"
          "    disambig_tids: input labels of HCLr that mean nothing (disambig_tid.int).\n"
          "    store_bytes: memory for what was visited; beyond it, that is forgotten and composed again.\n\n"
          "Raises:\n    FileNotFoundError: there is no such file.\n"
          "    ModelFormatError: a file is damaged or of another kind; names the byte.")
      .def("reader",
           [](std::shared_ptr<LookaheadFst> fst) {
             if (fst == nullptr) throw py::type_error("expected a LookaheadFst, found None");
             return LookaheadFstReader(std::move(fst));
           })
      .def("max_input_label", [](const LookaheadFst &fst) { return fst.Composition().MaxInputLabel(); })
      .def("output_labels",
           WithoutGil(+[](const LookaheadFst &fst) { return fst.Composition().OutputLabels(); }),
           "The words of the language model, as a sorted list of labels.")
      .def(
          "output_symbols", [](const LookaheadFst &fst) { return fst.Composition().OutputSymbols(); },
          "The table of words that is embedded in Gr.fst, or None.")
      .def(
          "num_visited_states", [](const LookaheadFst &fst) { return fst.Store()->NumStates(); },
          "The number of states in the current store.")
      .def(
          "num_store_bytes", [](const LookaheadFst &fst) { return fst.Store()->NumBytes(); },
          "Memory of the current store, in bytes.")
      .def("compile", &Compile, py::arg("path"), py::arg("directory"), py::arg("fingerprint"),
           py::arg("stamp"), py::arg("progress"),
           "Composes everything and writes a file for `CompiledGraph`.");
}

}  // namespace pykaldi
