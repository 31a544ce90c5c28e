// Bindings of csrc/lm: language models and rescoring of lattices.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/base/output-file.h"
#include "csrc/lm/backoff-lm.h"
#include "csrc/lm/const-arpa-builder.h"
#include "csrc/lm/const-arpa-lm.h"
#include "csrc/lm/lattice-lmrescore.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Path = std::filesystem::path;
using Use = ConcurrentUse<DecoderError>;
// pybind11 holds no pointers to constants; no method that Python sees changes a model.
using SharedLm = std::shared_ptr<ConstArpaLm>;

void CheckState(const ConstArpaLmDeterministicFst &fst, int32_t state) {
  if (state < 0 || state >= fst.NumStates()) {
    throw py::index_error("expected a state below " + std::to_string(fst.NumStates()) + ", found " +
                          std::to_string(state));
  }
}

void BindConstArpaLm(py::module_ &m) {
  py::class_<ConstArpaLm, SharedLm>(
      m, "ConstArpaLm",
      "A constant n-gram model (G.carpa), mapped from disk: its pages are shared by all processes.\n\n"
      "Log-probabilities are natural logarithms. Immutable, shared by all sessions.")
      .def_static("read", WithoutGil(+[](const Path &path) {
                    return std::const_pointer_cast<ConstArpaLm>(ConstArpaLm::Read(path.string()));
                  }),
                  py::arg("path"),
                  "Maps a file.\n\nRaises:\n    FileNotFoundError: there is no such file.\n"
                  "    ModelFormatError: the file is damaged or of another kind; names the byte.")
      .def("get_ngram_log_prob", WithGil(&ConstArpaLm::GetNgramLogprob), py::arg("word"), py::arg("hist"),
           "Log-probability of a word after a history (a list of words, the last one last).")
      .def("history_state_exists", WithGil(&ConstArpaLm::HistoryStateExists), py::arg("hist"),
           "True when the model has words that follow the history.")
      .def("get_bos_symbol", WithGil(&ConstArpaLm::BosSymbol), "The word for the beginning of a sentence.")
      .def("get_eos_symbol", WithGil(&ConstArpaLm::EosSymbol), "The word for the end of a sentence.")
      .def("get_unk_symbol", WithGil(&ConstArpaLm::UnkSymbol), "The unknown word; -1 when there is none.")
      .def("num_words", WithGil(&ConstArpaLm::NumWords), "The highest word plus one.")
      .def("get_ngram_order", WithGil(&ConstArpaLm::NgramOrder))
      .def("write_arpa", WithoutGil(+[](const ConstArpaLm &lm, const Path &path) {
             OutputFile out(path.string());
             lm.WriteArpa(out.Stream());
             out.Commit();
           }),
           py::arg("path"), "Writes an ARPA file with integers for words.");
  py::class_<ConstArpaLmDeterministicFst>(
      m, "ConstArpaLmDeterministicFst",
      "A constant n-gram model as an automaton; states come to exist as arcs lead to them.\n\n"
      "For one thread at a time.")
      .def(py::init([](SharedLm lm) { return ConstArpaLmDeterministicFst(std::move(lm)); }),
           py::arg("lm").none(false))
      .def("start", WithGil(&ConstArpaLmDeterministicFst::Start))
      .def(
          "final",
          [](ConstArpaLmDeterministicFst &fst, int32_t state) {
            CheckState(fst, state);
            return fst.Final(state);
          },
          py::arg("state"), "The cost of ending in a state.")
      .def(
          "get_arc",
          [](ConstArpaLmDeterministicFst &fst, int32_t state, int32_t word) {
            CheckState(fst, state);
            DeterministicOnDemandFst::Arc arc{};
            const bool is_there = fst.GetArc(state, word, &arc);
            return is_there ? std::make_optional(std::make_pair(arc.cost, arc.nextstate)) : std::nullopt;
          },
          py::arg("state"), py::arg("word"), "Cost and next state of the arc for a word; None without one.");
}

// A builder as Python holds it: it refuses a second thread, and works without the GIL. Meanwhile nobody may
// change the table of words.
class SharedBuilder {
 public:
  SharedBuilder(const Path &path, int32_t bos_symbol, int32_t eos_symbol, int32_t unk_symbol,
                std::shared_ptr<SymbolTable> symbols)
      : builder_(path.string(), bos_symbol, eos_symbol, unk_symbol, symbols), symbols_(std::move(symbols)) {}

  // Calls work(builder) without the GIL.
  template <class Work>
  auto Run(const Work &work) {
    py::gil_scoped_release release;
    const Use::Exclusive guard(&use_, "the builder of a language model");
    if (symbols_ == nullptr) return work(builder_);
    const Use::Shared table_guard(symbols_->Use(), "the table of words");
    return work(builder_);
  }

 private:
  ConstArpaLmBuilder builder_;
  std::shared_ptr<SymbolTable> symbols_;  // or null
  Use use_;
};

void BindBuilder(py::module_ &m) {
  py::class_<SharedBuilder>(m, "ConstArpaLmBuilder",
                            "Builds a constant n-gram model from an ARPA file that is fed piece by piece.\n\n"
                            "Every method raises `DecoderError` when another thread is inside the builder.")
      .def(
          py::init<const Path &, int32_t, int32_t, int32_t, std::shared_ptr<SymbolTable>>(), py::arg("path"),
          py::arg("bos_symbol"), py::arg("eos_symbol"), py::arg("unk_symbol"), py::arg("symbols"),
          "Takes the path of the ARPA file for errors, the words for the beginning and the end of sentences\n"
          "and for unknown words (-1: none), and the table of words (None: the words are integers).")
      .def(
          "feed",
          [](SharedBuilder &self, const py::bytes &bytes) {
            const std::string_view view = bytes;
            self.Run([view](ConstArpaLmBuilder &builder) { builder.Feed(view); });
          },
          py::arg("bytes"), "Takes the next bytes of the ARPA file.")
      .def(
          "write",
          [](SharedBuilder &self, const Path &path) {
            self.Run([&path](ConstArpaLmBuilder &builder) { builder.Write(path.string()); });
          },
          py::arg("path"), "Writes the model, when the whole ARPA file was fed.")
      .def(
          "num_skipped",
          [](SharedBuilder &self) {
            return self.Run([](ConstArpaLmBuilder &builder) { return builder.NumSkipped(); });
          },
          "The number of n-grams that were left out, as the table does not have their words.")
      .def(
          "set_max_address_offset",
          [](SharedBuilder &self, int64_t offset) {
            self.Run([offset](ConstArpaLmBuilder &builder) { builder.SetMaxAddressOffset(offset); });
          },
          py::arg("offset"), "For tests; see `csrc/lm/const-arpa-builder.h`.");
}

void BindRescoring(py::module_ &m) {
  py::class_<BackoffLm, std::shared_ptr<BackoffLm>>(
      m, "BackoffLm",
      "An n-gram automaton (G.fst) prepared for rescoring: projected on its output and sorted.\n\n"
      "Immutable, shared by all sessions.")
      .def(py::init(WithoutGil(+[](const ConstFst &fst) { return std::make_shared<BackoffLm>(fst); })),
           py::arg("fst"))
      .def("num_states", WithGil(&BackoffLm::NumStates));
  m.def("lattice_lmrescore", WithoutGil(&LatticeLmRescore), py::arg("clat"), py::arg("lm"),
        py::arg("lm_scale"));
  m.def("lattice_lmrescore_const_arpa",
        WithoutGil(+[](const CompactLattice &lattice, SharedLm lm, float lm_scale) {
          return LatticeLmRescoreConstArpa(lattice, std::move(lm), lm_scale);
        }),
        py::arg("clat"), py::arg("lm").none(false), py::arg("lm_scale"));
  m.def("compose_compact_lattice_deterministic", WithoutGil(+[](const CompactLattice &lattice, SharedLm lm) {
          ConstArpaLmDeterministicFst automaton(std::move(lm));
          return ComposeCompactLatticeDeterministic(lattice, &automaton);
        }),
        py::arg("clat"), py::arg("lm").none(false));
  m.def("compose_compact_lattice_backoff", WithoutGil(&ComposeCompactLatticeBackoff), py::arg("clat"),
        py::arg("lm"));
}

}  // namespace

void BindLm(py::module_ &m) {
  BindConstArpaLm(m);
  BindBuilder(m);
  BindRescoring(m);
}

}  // namespace pykaldi
