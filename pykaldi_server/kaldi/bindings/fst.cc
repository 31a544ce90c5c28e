// Bindings of csrc/fst: StdArc, StdConstFst, StdVectorFst, SymbolTable.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/base/output-file.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/fst-io.h"
#include "csrc/fst/symbol-table.h"
#include "csrc/fst/vector-fst.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using ConstFstClass = py::class_<ConstFst, std::shared_ptr<ConstFst>>;
using VectorFstClass = py::class_<VectorFst>;
using Path = std::filesystem::path;
using Use = ConcurrentUse<DecoderError>;

constexpr const char *kTable = "the table of symbols";

template <class Fst>
void CheckState(const Fst &fst, int32_t state) {
  if (state < 0 || state >= fst.NumStates()) {
    throw py::index_error("expected a state below " + std::to_string(fst.NumStates()) + ", found " +
                          std::to_string(state));
  }
}

// Symbols of old models need not be UTF-8; those bytes become U+FFFD.
py::str ToStr(std::string_view text) {
  PyObject *decoded = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

using WriteMethod = void (SymbolTable::*)(std::ostream &) const;

void WriteTable(const SymbolTable &table, const Path &path, WriteMethod method) {
  py::gil_scoped_release release;
  const Use::Shared guard(table.Use(), kTable);
  OutputFile out(path.string());
  (table.*method)(out.Stream());
  out.Commit();
}

// Writes an FST with its tables, which nobody may change meanwhile.
void WriteFstWithTables(const ConstFst &fst, const Path &path, FstFormat format) {
  const SymbolTable none;
  const auto table_use = [&none](const std::shared_ptr<SymbolTable> &table) {
    return table == nullptr ? none.Use() : table->Use();
  };
  const Use::Shared guard(fst.Use(), "the FST");
  const Use::Shared input_guard(table_use(fst.InputSymbols()), kTable);
  const Use::Shared output_guard(table_use(fst.OutputSymbols()), kTable);
  WriteFst(fst, path.string(), format);
}

void SetSymbols(ConstFst *fst, std::shared_ptr<SymbolTable> table,
                void (ConstFst::*method)(std::shared_ptr<SymbolTable>)) {
  const Use::Exclusive guard(fst->Use(), "the FST");
  (fst->*method)(std::move(table));
}

void BindArc(py::module_ &m) {
  py::class_<StdArc>(m, "StdArc",
                     "An arc: ``ilabel``, ``olabel`` (0: epsilon), ``weight`` (a cost), ``nextstate``.")
      .def(py::init([](int32_t ilabel, int32_t olabel, float weight, int32_t nextstate) {
             return StdArc{ilabel, olabel, weight, nextstate};
           }),
           py::arg("ilabel"), py::arg("olabel"), py::arg("weight"), py::arg("nextstate"))
      .def_property_readonly("ilabel", [](const StdArc &arc) { return int32_t{arc.ilabel}; })
      .def_property_readonly("olabel", [](const StdArc &arc) { return int32_t{arc.olabel}; })
      .def_property_readonly("weight", [](const StdArc &arc) { return float{arc.weight}; })
      .def_property_readonly("nextstate", [](const StdArc &arc) { return int32_t{arc.nextstate}; })
      .def("__repr__", [](const StdArc &arc) {
        return "StdArc(" + std::to_string(arc.ilabel) + ", " + std::to_string(arc.olabel) + ", " +
               std::to_string(arc.weight) + ", " + std::to_string(arc.nextstate) + ")";
      });
}

void DefineConstFst(ConstFstClass *fst_class) {
  fst_class
      ->def(py::init([](const VectorFst &fst) { return fst.ToConst(); }), py::arg("fst"),
            "Copies an FST; raises ModelFormatError when a state, label or weight in it is invalid.")
      .def_static("read", WithoutGil(+[](const Path &path) { return ReadFst(path.string()); }),
                  py::arg("path"),
                  "Reads an OpenFst file of type const or vector, with its symbol tables.\n\n"
                  "Raises:\n    FileNotFoundError: there is no such file.\n"
                  "    ModelFormatError: the file is damaged or of another kind; names the byte.")
      .def("write", WithoutGil(&WriteFstWithTables), py::arg("path"), py::arg("format") = FstFormat::kConst,
           "Writes an OpenFst file.")
      .def("start", WithGil(&ConstFst::Start), "The start state; -1 when the FST is empty.")
      .def("num_states", WithGil(&ConstFst::NumStates))
      .def("num_arcs", WithGil(&ConstFst::NumArcs), "The number of all arcs.")
      .def(
          "num_arcs",
          [](const ConstFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.Arcs(state).size();
          },
          py::arg("state"), "The number of arcs that leave a state.")
      .def(
          "num_input_epsilons",
          [](const ConstFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.NumInputEpsilons(state);
          },
          py::arg("state"))
      .def(
          "final",
          [](const ConstFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.Final(state);
          },
          py::arg("state"), "The final cost of a state; infinity when it is not final.")
      .def(
          "arcs",
          [](const ConstFst &fst, int32_t state) {
            CheckState(fst, state);
            const ArcSpan arcs = fst.Arcs(state);
            return std::vector<StdArc>(arcs.begin(), arcs.end());
          },
          py::arg("state"), "The arcs that leave a state, as a list of `StdArc`.")
      .def("max_input_label", WithGil(&ConstFst::MaxInputLabel))
      .def("max_output_label", WithGil(&ConstFst::MaxOutputLabel))
      .def("output_labels", WithoutGil(&ConstFst::OutputLabels),
           "The output labels of all arcs but 0, as a sorted list.")
      .def("input_symbols", WithGil(&ConstFst::InputSymbols), "The embedded table of input symbols, or None.")
      .def("output_symbols", WithGil(&ConstFst::OutputSymbols),
           "The embedded table of output symbols, or None.")
      .def(
          "set_input_symbols",
          [](ConstFst &fst, std::shared_ptr<SymbolTable> table) {
            SetSymbols(&fst, std::move(table), &ConstFst::SetInputSymbols);
          },
          py::arg("table"))
      .def(
          "set_output_symbols",
          [](ConstFst &fst, std::shared_ptr<SymbolTable> table) {
            SetSymbols(&fst, std::move(table), &ConstFst::SetOutputSymbols);
          },
          py::arg("table"));
}

void DefineVectorFst(VectorFstClass *fst_class) {
  fst_class->def(py::init<>(), "Makes an empty FST.")
      .def(py::init<const ConstFst &>(), py::arg("fst"), "Copies an FST.")
      .def("start", WithGil(&VectorFst::Start))
      .def("num_states", WithGil(&VectorFst::NumStates))
      .def("add_state", WithGil(&VectorFst::AddState), "Adds a state and returns its number.")
      .def(
          "set_start",
          [](VectorFst &fst, int32_t state) {
            CheckState(fst, state);
            fst.SetStart(state);
          },
          py::arg("state"))
      .def(
          "final",
          [](const VectorFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.Final(state);
          },
          py::arg("state"))
      .def(
          "set_final",
          [](VectorFst &fst, int32_t state, float weight) {
            CheckState(fst, state);
            fst.SetFinal(state, weight);
          },
          py::arg("state"), py::arg("weight") = 0.0f, "Makes a state final at a cost.")
      .def(
          "add_arc",
          [](VectorFst &fst, int32_t state, const StdArc &arc) {
            CheckState(fst, state);
            fst.AddArc(state, arc);
          },
          py::arg("state"), py::arg("arc"), "Adds an arc; its next state may come to exist later.")
      .def(
          "arcs",
          [](const VectorFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.Arcs(state);
          },
          py::arg("state"));
}

void BindSymbolTable(py::module_ &m) {
  py::class_<SymbolTable, std::shared_ptr<SymbolTable>>(
      m, "SymbolTable", "Symbols (words, phones) and their integer keys; OpenFst's text and binary forms.")
      .def(py::init<std::string>(), py::arg("name") = "")
      .def_static("read_text",
                  WithoutGil(+[](const Path &path) { return SymbolTable::ReadText(path.string()); }),
                  py::arg("path"),
                  "Reads a text file: one symbol and its key per line.\n\n"
                  "Raises:\n    FileNotFoundError: there is no such file.\n"
                  "    ModelFormatError: a line has another form; names the byte.")
      .def_static("read", WithoutGil(+[](const Path &path) { return SymbolTable::Read(path.string()); }),
                  py::arg("path"), "Reads OpenFst's binary form; raises as `read_text`.")
      .def(
          "write_text",
          [](const SymbolTable &table, const Path &path) {
            WriteTable(table, path, &SymbolTable::WriteText);
          },
          py::arg("path"))
      .def(
          "write",
          [](const SymbolTable &table, const Path &path) { WriteTable(table, path, &SymbolTable::Write); },
          py::arg("path"))
      .def(
          "add_symbol",
          [](SymbolTable &table, std::string_view symbol) {
            const Use::Exclusive guard(table.Use(), kTable);
            return table.AddSymbol(symbol);
          },
          py::arg("symbol"), "Adds a symbol with the next free key, and returns its key.")
      .def(
          "add_pair",
          [](SymbolTable &table, std::string_view symbol, int64_t key) {
            if (key < 0) throw py::value_error("expected a key of 0 or more, found " + std::to_string(key));
            const Use::Exclusive guard(table.Use(), kTable);
            return table.AddSymbol(symbol, key);
          },
          py::arg("symbol"), py::arg("key"), "Adds a symbol, and returns the key that it has.")
      .def(
          "find_symbol", [](const SymbolTable &table, int64_t key) { return ToStr(table.FindSymbol(key)); },
          py::arg("key"), "The symbol of a key; '' when there is none.")
      .def("find_index", WithGil(&SymbolTable::FindKey), py::arg("symbol"),
           "The key of a symbol; -1 when there is none.")
      .def(
          "member_index",
          [](const SymbolTable &table, int64_t key) { return table.FindSymbol(key).data() != nullptr; },
          py::arg("key"))
      .def(
          "member_symbol",
          [](const SymbolTable &table, std::string_view symbol) {
            return table.FindKey(symbol) != SymbolTable::kNoSymbol;
          },
          py::arg("symbol"))
      .def("name", [](const SymbolTable &table) { return ToStr(table.Name()); })
      .def("num_symbols", WithGil(&SymbolTable::NumSymbols))
      .def("available_key", WithGil(&SymbolTable::AvailableKey), "The highest key plus one.")
      .def("__len__", WithGil(&SymbolTable::NumSymbols))
      .def(
          "items",
          [](const SymbolTable &table) {
            std::vector<std::pair<int64_t, py::str>> items;
            items.reserve(table.NumSymbols());
            for (size_t i = 0; i < table.NumSymbols(); ++i) {
              items.emplace_back(table.NthKey(i), ToStr(table.NthSymbol(i)));
            }
            return items;
          },
          "All (key, symbol) pairs, as a list, in the order in which they were added.");
}

}  // namespace

void BindFst(py::module_ &m) {
  BindArc(m);
  BindSymbolTable(m);
  py::enum_<FstFormat>(m, "FstFormat", "How an FST is written: see csrc/fst/fst-io.h.")
      .value("CONST", FstFormat::kConst)
      .value("ALIGNED_CONST", FstFormat::kAlignedConst)
      .value("VECTOR", FstFormat::kVector);
  // Both classes are made before their methods, whose signatures name the other one.
  VectorFstClass vector_class(m, "StdVectorFst", "A transducer that is built state by state.");
  ConstFstClass const_class(
      m, "StdConstFst",
      "A read-only transducer of standard arcs; weights are costs. Made from a `StdVectorFst`, or read from "
      "an\n"
      "OpenFst file; a file of type ``const`` is mapped, so that all processes share its pages.");
  DefineVectorFst(&vector_class);
  DefineConstFst(&const_class);
}

}  // namespace pykaldi
