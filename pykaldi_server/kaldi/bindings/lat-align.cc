// Bindings of csrc/lat: alignment with words and phones, and minimum Bayes risk decoding.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/base/error.h"
#include "csrc/lat/phone-align-lattice.h"
#include "csrc/lat/sausages.h"
#include "csrc/lat/transition-information.h"
#include "csrc/lat/word-align-lattice-lexicon.h"
#include "csrc/lat/word-align-lattice.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

void CheckLabel(const char *name, int32_t label) {
  if (label < 0) {
    throw ConfigError(std::string(name) + ": expected a word of 0 or more, found " + std::to_string(label));
  }
}

void BindWordBoundary(py::module_ &m) {
  py::class_<WordBoundaryInfo>(m, "WordBoundaryInfo")
      .def(py::init([](const std::vector<int32_t> &phone_to_type, int32_t silence_label,
                       int32_t partial_word_label, bool reorder) {
             CheckLabel("silence_label", silence_label);
             CheckLabel("partial_word_label", partial_word_label);
             WordBoundaryInfo info{{}, silence_label, partial_word_label, reorder};
             for (int32_t type : phone_to_type) {
               if (type < WordBoundaryInfo::kNoPhone || type > WordBoundaryInfo::kNonWordPhone) {
                 throw ConfigError("expected types of phones of 0 to 5, found " + std::to_string(type));
               }
               info.phone_to_type.push_back(static_cast<WordBoundaryInfo::PhoneType>(type));
             }
             return info;
           }),
           py::arg("phone_to_type"), py::arg("silence_label"), py::arg("partial_word_label"),
           py::arg("reorder"));
  m.def("word_align_lattice",
        WithoutGil(+[](const CompactLattice &lattice, const TransitionInformation &model,
                       const WordBoundaryInfo &info, int64_t max_states) {
          CompactLattice aligned;
          const bool ok = WordAlignLattice(lattice, model, info, max_states, &aligned);
          return std::make_pair(ok, std::move(aligned));
        }),
        py::arg("lat"), py::arg("model"), py::arg("info"), py::arg("max_states"));
}

void BindLexicon(py::module_ &m) {
  py::class_<WordAlignLatticeLexiconInfo>(
      m, "WordAlignLatticeLexiconInfo",
      "A lexicon for alignment. Made from entries [word, output word, phone, phone, ...].\n\n"
      "Raises:\n    ConfigError: an entry is too short, or entries contradict each other.")
      .def(py::init<const std::vector<std::vector<int32_t>> &>(), py::arg("lexicon"));
  m.def("word_align_lattice_lexicon",
        WithoutGil(+[](const CompactLattice &lattice, const TransitionInformation &model,
                       const WordAlignLatticeLexiconInfo &lexicon, int32_t partial_word_label, bool reorder,
                       double max_expand) {
          CheckLabel("partial_word_label", partial_word_label);
          CompactLattice aligned;
          const bool ok = WordAlignLatticeLexicon(lattice, model, lexicon,
                                                  {partial_word_label, reorder, max_expand}, &aligned);
          return std::make_pair(ok, std::move(aligned));
        }),
        py::arg("lat"), py::arg("model"), py::arg("lexicon_info"), py::arg("partial_word_label"),
        py::arg("reorder"), py::arg("max_expand"));
}

void BindPhones(py::module_ &m) {
  m.def("phone_align_lattice",
        WithoutGil(+[](const CompactLattice &lattice, const TransitionInformation &model, bool reorder,
                       bool remove_epsilon, bool replace_output_symbols) {
          CompactLattice aligned;
          const bool ok =
              PhoneAlignLattice(lattice, model, {reorder, remove_epsilon, replace_output_symbols}, &aligned);
          return std::make_pair(ok, std::move(aligned));
        }),
        py::arg("lat"), py::arg("model"), py::arg("reorder"), py::arg("remove_epsilon"),
        py::arg("replace_output_symbols"));
}

void BindMinimumBayesRisk(py::module_ &m) {
  using OptionalWords = std::optional<std::vector<int32_t>>;
  py::class_<MinimumBayesRisk>(m, "MinimumBayesRisk")
      .def(py::init(WithoutGil(+[](const CompactLattice &lattice, const OptionalWords &words, bool decode_mbr,
                                   bool print_silence) {
             const MinimumBayesRiskOptions options{decode_mbr, print_silence};
             return words ? MinimumBayesRisk(lattice, *words, options) : MinimumBayesRisk(lattice, options);
           })),
           py::arg("clat"), py::arg("words"), py::arg("decode_mbr"), py::arg("print_silence"))
      .def("get_one_best", WithGil(&MinimumBayesRisk::GetOneBest))
      .def("get_one_best_times", WithGil(&MinimumBayesRisk::GetOneBestTimes))
      .def("get_one_best_confidences", WithGil(&MinimumBayesRisk::GetOneBestConfidences))
      .def("get_bayes_risk", WithGil(&MinimumBayesRisk::GetBayesRisk))
      .def("get_sausage_stats", WithGil(&MinimumBayesRisk::GetSausageStats))
      .def("get_sausage_times", WithGil(&MinimumBayesRisk::GetSausageTimes))
      .def("get_times", WithGil(&MinimumBayesRisk::GetTimes));
}

}  // namespace

void BindLatAlign(py::module_ &m) {
  BindWordBoundary(m);
  BindLexicon(m);
  BindPhones(m);
  BindMinimumBayesRisk(m);
}

}  // namespace pykaldi
