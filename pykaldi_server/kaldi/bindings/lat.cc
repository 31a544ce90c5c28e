// Bindings of csrc/lat: lattices and what is done with them. Alignment and minimum Bayes risk decoding are in
// lat-align.cc. The Python functions that people call are in pykaldi_server/kaldi/lat.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "csrc/lat/determinize-lattice-pruned.h"
#include "csrc/lat/lattice-convert.h"
#include "csrc/lat/lattice-functions.h"
#include "csrc/lat/lattice-io.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/lattice.h"
#include "csrc/lat/minimize-lattice.h"
#include "csrc/lat/nbest.h"
#include "csrc/lat/transition-information.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Release = py::call_guard<py::gil_scoped_release>;

template <class L>
void CheckState(const L &lattice, int32_t state) {
  if (state < 0 || state >= lattice.NumStates()) {
    throw py::index_error("expected a state below " + std::to_string(lattice.NumStates()) + ", found " +
                          std::to_string(state));
  }
}

void CheckLabel(int32_t label) {
  if (label < 0) throw py::value_error("expected labels of 0 or more, found " + std::to_string(label));
}

void CheckArc(const LatticeArc &arc) {
  CheckLabel(arc.ilabel);
  CheckLabel(arc.olabel);
}

void CheckArc(const CompactLatticeArc &arc) {
  CheckLabel(arc.label);
  for (int32_t id : arc.weight.string) CheckLabel(id);
}

// Reads a lattice that begins at `offset`; returns it with the offset behind it.
template <class L>
auto Reader(L (*read)(ByteReader *)) {
  return [read](const py::buffer &buffer, size_t offset, const std::string &path) {
    const py::buffer_info info = buffer.request();
    const size_t size = static_cast<size_t>(info.size * info.itemsize);
    if (offset > size) throw py::value_error("expected an offset within the data");
    py::gil_scoped_release release;
    ByteReader reader(static_cast<const char *>(info.ptr), size, path);
    reader.Take(offset, "the data before");
    L lattice = read(&reader);
    return std::make_pair(std::move(lattice), reader.Offset());
  };
}

void BindWeights(py::module_ &m) {
  py::class_<LatticeWeight>(m, "LatticeWeight", "Two costs: ``value1`` of the graph, ``value2`` acoustic.")
      .def(py::init([](float value1, float value2) { return LatticeWeight{value1, value2}; }),
           py::arg("value1"), py::arg("value2"))
      .def_readonly("value1", &LatticeWeight::graph_cost)
      .def_readonly("value2", &LatticeWeight::acoustic_cost)
      .def_static("one", &LatticeWeight::One)
      .def_static("zero", &LatticeWeight::Zero)
      .def("__eq__", [](const LatticeWeight &a, const LatticeWeight &b) { return a == b; })
      .def("__repr__", [](const LatticeWeight &w) {
        return "LatticeWeight(" + std::to_string(w.graph_cost) + ", " + std::to_string(w.acoustic_cost) + ")";
      });
  py::class_<CompactLatticeWeight>(
      m, "CompactLatticeWeight", "Costs (``weight``) and the transition-ids that belong to them (``string``).")
      .def(py::init([](const LatticeWeight &weight, std::vector<int32_t> string) {
             return CompactLatticeWeight{weight, std::move(string)};
           }),
           py::arg("weight"), py::arg("string"))
      .def_readonly("weight", &CompactLatticeWeight::weight)
      .def_readonly("string", &CompactLatticeWeight::string)
      .def_static("one", &CompactLatticeWeight::One)
      .def_static("zero", &CompactLatticeWeight::Zero)
      .def("__eq__", [](const CompactLatticeWeight &a, const CompactLatticeWeight &b) { return a == b; });
}

void BindArcs(py::module_ &m) {
  py::class_<LatticeArc>(m, "LatticeArc",
                         "``ilabel`` (transition-id), ``olabel`` (word), ``weight``, ``nextstate``.")
      .def(py::init([](int32_t ilabel, int32_t olabel, const LatticeWeight &weight, int32_t nextstate) {
             return LatticeArc{ilabel, olabel, weight, nextstate};
           }),
           py::arg("ilabel"), py::arg("olabel"), py::arg("weight"), py::arg("nextstate"))
      .def_readonly("ilabel", &LatticeArc::ilabel)
      .def_readonly("olabel", &LatticeArc::olabel)
      .def_readonly("weight", &LatticeArc::weight)
      .def_readonly("nextstate", &LatticeArc::nextstate);
  py::class_<CompactLatticeArc>(m, "CompactLatticeArc",
                                "``ilabel`` and ``olabel`` (both the word), ``weight``, ``nextstate``.")
      .def(py::init([](int32_t label, CompactLatticeWeight weight, int32_t nextstate) {
             return CompactLatticeArc{label, std::move(weight), nextstate};
           }),
           py::arg("label"), py::arg("weight"), py::arg("nextstate"))
      .def_readonly("ilabel", &CompactLatticeArc::label)
      .def_readonly("olabel", &CompactLatticeArc::label)
      .def_readonly("weight", &CompactLatticeArc::weight)
      .def_readonly("nextstate", &CompactLatticeArc::nextstate);
}

template <class L>
void BindLattice(py::module_ &m, const char *name, const char *doc) {
  py::class_<L>(m, name, doc)
      .def(py::init<>(), "Makes an empty lattice.")
      .def("start", &L::Start, "The start state; -1 when the lattice is empty.")
      .def("num_states", &L::NumStates)
      .def("num_arcs", py::overload_cast<>(&L::NumArcs, py::const_), "The number of all arcs.")
      .def("final", [](const L &lattice, int32_t state) {
        CheckState(lattice, state);
        return lattice.Final(state);
      }, py::arg("state"), "The final weight of a state; zero (infinite costs) when it is not final.")
      .def("arcs", [](const L &lattice, int32_t state) {
        CheckState(lattice, state);
        const auto arcs = lattice.Arcs(state);
        return std::vector<typename L::Arc>(arcs.begin(), arcs.end());
      }, py::arg("state"), "The arcs that leave a state, as a list.")
      .def("add_state", &L::AddState, "Adds a state and returns its number.")
      .def("set_start", [](L &lattice, int32_t state) {
        CheckState(lattice, state);
        lattice.SetStart(state);
      }, py::arg("state"))
      .def("set_final", [](L &lattice, int32_t state, typename L::Weight weight) {
        CheckState(lattice, state);
        lattice.SetFinal(state, std::move(weight));
      }, py::arg("state"), py::arg("weight") = L::Weight::One())
      .def("add_arc", [](L &lattice, int32_t state, const typename L::Arc &arc) {
        CheckState(lattice, state);
        CheckState(lattice, arc.nextstate);
        CheckArc(arc);
        lattice.AddArc(state, arc);
      }, py::arg("state"), py::arg("arc"), "Adds an arc between states that exist.")
      .def("copy", [](const L &lattice) { return L(lattice); }, Release())
      .def("connect", &Connect<L>, Release(), "Removes the states that are on no complete path.")
      .def("topsort", &TopSort<L>, Release(),
           "Numbers the states topologically, dropping those that cannot be reached.\n\n"
           "Raises:\n    LatticeError: there is a cycle.")
      .def("scale", [](L &lattice, float graph_scale, float acoustic_scale) {
        ScaleLattice(graph_scale, acoustic_scale, &lattice);
      }, py::arg("graph_scale"), py::arg("acoustic_scale"), Release(), "Multiplies all costs.")
      .def("write", [](const L &lattice, bool binary) {
        std::string text;
        {
          py::gil_scoped_release release;
          text = WriteLattice(lattice, binary);
        }
        return py::bytes(text);
      }, py::arg("binary") = true, "Kaldi's binary or text form, as it stands in an archive behind the key.");
}

// What has one meaning for both kinds of lattices.
template <class L>
void BindCommonFunctions(py::module_ &m) {
  m.def("compute_lattice_alphas_and_betas", [](const L &lattice, bool viterbi) {
    const LatticeScores scores = ComputeLatticeAlphasAndBetas(lattice, viterbi);
    return std::make_tuple(scores.total, scores.alpha, scores.beta);
  }, py::arg("lat"), py::arg("viterbi"), Release());
  m.def("prune_lattice", [](double beam, L *lattice) { return PruneLattice(beam, lattice); }, py::arg("beam"),
        py::arg("lat"), Release());
  m.def("determinize_lattice_pruned",
        [](const L &lattice, double beam, float delta, int64_t max_mem, int64_t max_states, int64_t max_arcs,
           float retry_cutoff) {
          CompactLattice result;
          const bool complete = DeterminizeLatticePruned(
              lattice, beam, {delta, max_mem, max_states, max_arcs, retry_cutoff}, &result);
          return std::make_pair(complete, std::move(result));
        },
        py::arg("lat"), py::arg("beam"), py::arg("delta"), py::arg("max_mem"), py::arg("max_states"),
        py::arg("max_arcs"), py::arg("retry_cutoff"), Release());
}

void BindDeterminization(py::module_ &m) {
  m.def("determinize_lattice_phone_pruned",
        [](const Lattice &lattice, const TransitionInformation &model, double beam, float delta,
           int64_t max_mem, bool phone_determinize, bool word_determinize, bool minimize) {
          CompactLattice result;
          const bool complete = DeterminizeLatticePhonePruned(
              lattice, model, beam, {delta, max_mem, phone_determinize, word_determinize, minimize}, &result);
          return std::make_pair(complete, std::move(result));
        },
        py::arg("lat"), py::arg("model"), py::arg("beam"), py::arg("delta"), py::arg("max_mem"),
        py::arg("phone_determinize"), py::arg("word_determinize"), py::arg("minimize"), Release());
  m.def("push_compact_lattice_strings", &PushCompactLatticeStrings, py::arg("clat"), Release(),
        "Moves transition-ids that all paths out of a state begin with towards the start.");
  m.def("push_compact_lattice_weights", &PushCompactLatticeWeights, py::arg("clat"), Release(),
        "Moves costs towards the start.");
  m.def("minimize_compact_lattice",
        [](CompactLattice *lattice, float delta) { MinimizeCompactLattice(delta, lattice); }, py::arg("clat"),
        py::arg("delta") = kDeterminizeDelta, Release(), "Joins equivalent states of a pushed lattice.");
}

void BindCompactFunctions(py::module_ &m) {
  m.def("compact_lattice_shortest_path", &CompactLatticeShortestPath, py::arg("clat"), Release(),
        "Returns the path of lowest cost as a linear lattice; empty when there is none.");
  m.def("compact_lattice_depth", [](const CompactLattice &lattice) {
    int32_t num_frames = 0;
    const float depth = CompactLatticeDepth(lattice, &num_frames);
    return std::make_pair(depth, num_frames);
  }, py::arg("clat"), Release(),
        "Returns the mean number of arcs that cross a frame (1 for an empty lattice), and the frames.");
  m.def("compact_lattice_depth_per_frame", &CompactLatticeDepthPerFrame, py::arg("clat"), Release(),
        "Returns the number of arcs that cross each frame.");
  m.def("add_word_ins_pen_to_compact_lattice", &AddWordInsPenToCompactLattice, py::arg("word_ins_penalty"),
        py::arg("clat"), Release(), "Adds a penalty to the graph cost of each word.");
  m.def("longest_sentence_length", &LongestSentenceLength, py::arg("clat"), Release(),
        "Returns the number of words of the longest path.");
  m.def("compact_lattice_state_times", [](const CompactLattice &lattice) {
    std::vector<int32_t> times;
    const int32_t num_frames = CompactLatticeStateTimes(lattice, &times);
    return std::make_pair(num_frames, times);
  }, py::arg("clat"), Release());
  m.def("compact_lattice_to_word_alignment", [](const CompactLattice &linear) {
    std::vector<int32_t> words, begins, lengths;
    for (const WordTime &word : CompactLatticeToWordAlignment(linear)) {
      words.push_back(word.word);
      begins.push_back(word.begin_frame);
      lengths.push_back(word.num_frames);
    }
    return std::make_tuple(words, begins, lengths);
  }, py::arg("clat"),
        "Returns the words of a linear lattice, their first frames and their lengths in frames (lists).\n\n"
        "Word 0 stands for silence. Times are right only when the lattice was aligned with words.\n\n"
        "Raises:\n    LatticeError: the lattice is empty or not linear.");
  m.def("nbest", &Nbest, py::arg("clat"), py::arg("n"), Release());
  m.def("linear_path", [](const CompactLattice &linear) {
    const LinearPath path = GetLinearPath(linear);
    return std::make_tuple(path.alignment, path.words, path.weight);
  }, py::arg("clat"));
}

void BindLatticeFunctions(py::module_ &m) {
  m.def("convert_compact_lattice_to_lattice", &ConvertToLattice, py::arg("clat"), Release(),
        "Returns the same lattice with one transition-id an arc.");
  m.def("convert_lattice_to_compact_lattice", &ConvertToCompactLattice, py::arg("lat"), Release(),
        "Returns the same lattice with chains of arcs joined.");
  m.def("lattice_state_times", [](const Lattice &lattice) {
    std::vector<int32_t> times;
    const int32_t num_frames = LatticeStateTimes(lattice, &times);
    return std::make_pair(num_frames, times);
  }, py::arg("lat"), Release());
  m.def("lattice_forward_backward", [](const Lattice &lattice) {
    const LatticePosteriors result = LatticeForwardBackward(lattice);
    return std::make_tuple(result.total, result.frames, result.acoustic_like_sum);
  }, py::arg("lat"), Release(),
        "Returns the log-probability of the lattice; for each frame the (transition-id, posterior) pairs;\n"
        "and the expected acoustic log-likelihood.");
}

}  // namespace

void BindLat(py::module_ &m) {
  BindWeights(m);
  BindArcs(m);
  BindLattice<Lattice>(m, "LatticeVectorFst",
                       "A state-level lattice: transition-ids in, words out. Costs are negated logarithms.");
  BindLattice<CompactLattice>(m, "CompactLatticeVectorFst",
                              "A lattice of words whose weights carry the transition-ids.");
  py::class_<TransitionInformation>(m, "TransitionInformation",
                                    "What functions on lattices need to know of a transition model.")
      .def(py::init<std::vector<int32_t>, const std::vector<uint8_t> &, const std::vector<uint8_t> &,
                    const std::vector<uint8_t> &>(),
           py::arg("phone"), py::arg("is_self_loop"), py::arg("is_final"), py::arg("is_phone_start"),
           "Takes arrays indexed by transition-id: phone, and three flags.");
  m.def("read_lattice", Reader<Lattice>(&ReadLattice), py::arg("data"), py::arg("offset"), py::arg("path"));
  m.def("read_compact_lattice", Reader<CompactLattice>(&ReadCompactLattice), py::arg("data"), py::arg("offset"),
        py::arg("path"));
  BindCommonFunctions<Lattice>(m);
  BindCommonFunctions<CompactLattice>(m);
  BindDeterminization(m);
  BindCompactFunctions(m);
  BindLatticeFunctions(m);
}

}  // namespace pykaldi
