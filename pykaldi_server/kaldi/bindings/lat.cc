// Bindings of csrc/lat: lattices and what is done with them. Alignment and minimum Bayes risk decoding are in
// lat-align.cc. The Python functions that people call are in pykaldi_server/kaldi/lat.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/guarded.h"
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

// The weight of an arc has finite costs; a final weight may also be zero, that is, infinite costs.
void CheckWeight(const LatticeWeight &weight, bool may_be_zero) {
  if (std::isfinite(weight.graph_cost) && std::isfinite(weight.acoustic_cost)) return;
  if (may_be_zero && weight == LatticeWeight::Zero()) return;
  throw py::value_error("expected finite costs, found " + std::to_string(weight.graph_cost) + " and " +
                        std::to_string(weight.acoustic_cost));
}

void CheckWeight(const CompactLatticeWeight &weight, bool may_be_zero) {
  CheckWeight(weight.weight, may_be_zero);
  for (int32_t id : weight.string) CheckLabel(id);
}

void CheckArc(const LatticeArc &arc) {
  CheckLabel(arc.ilabel);
  CheckLabel(arc.olabel);
  CheckWeight(arc.weight, false);
}

void CheckArc(const CompactLatticeArc &arc) {
  CheckLabel(arc.label);
  CheckWeight(arc.weight, false);
}

// The bytes of an object with the buffer protocol, which cannot move or shrink as long as this lives.
class Bytes {
 public:
  // Throws ValueError when the bytes are not contiguous.
  explicit Bytes(const py::buffer &object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) == 0) return;
    PyErr_Clear();
    throw py::value_error("data: expected contiguous bytes, found a buffer that is not contiguous");
  }
  ~Bytes() { PyBuffer_Release(&view_); }
  Bytes(const Bytes &) = delete;
  Bytes &operator=(const Bytes &) = delete;

  const char *Data() const { return static_cast<const char *>(view_.buf); }
  size_t Size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

// Reads a lattice that begins at `offset`; returns it with the offset behind it.
template <class L>
auto Reader(L (*read)(ByteReader *)) {
  return [read](const py::buffer &data, size_t offset, const std::filesystem::path &path) {
    const Bytes bytes(data);
    if (offset > bytes.Size()) {
      throw py::value_error("expected an offset of at most " + std::to_string(bytes.Size()) + ", found " +
                            std::to_string(offset));
    }
    py::gil_scoped_release release;
    ByteReader reader(bytes.Data(), bytes.Size(), path.string());
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
      .def(
          "__eq__", [](const LatticeWeight &a, const LatticeWeight &b) { return a == b; }, py::arg("other"),
          py::is_operator())
      .def("__repr__", [](const LatticeWeight &w) {
        return "LatticeWeight(" + std::to_string(w.graph_cost) + ", " + std::to_string(w.acoustic_cost) + ")";
      });
  py::class_<CompactLatticeWeight>(
      m, "CompactLatticeWeight",
      "Costs (``weight``) and the transition-ids that belong to them (``string``).")
      .def(py::init([](const LatticeWeight &weight, std::vector<int32_t> string) {
             return CompactLatticeWeight{weight, std::move(string)};
           }),
           py::arg("weight"), py::arg("string"))
      .def_readonly("weight", &CompactLatticeWeight::weight)
      .def_readonly("string", &CompactLatticeWeight::string)
      .def_static("one", &CompactLatticeWeight::One)
      .def_static("zero", &CompactLatticeWeight::Zero)
      .def(
          "__eq__", [](const CompactLatticeWeight &a, const CompactLatticeWeight &b) { return a == b; },
          py::arg("other"), py::is_operator());
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
  using Arc = typename L::Arc;
  using Weight = typename L::Weight;
  py::class_<L>(m, name, doc)
      .def(py::init<>(), "Makes an empty lattice.")
      .def("start", WithGil(&L::Start), "The start state; -1 when the lattice is empty.")
      .def("num_states", WithGil(&L::NumStates))
      .def("num_arcs", WithGil(py::overload_cast<>(&L::NumArcs, py::const_)), "The number of all arcs.")
      .def("final", WithGil(+[](const L &lattice, int32_t state) {
             CheckState(lattice, state);
             return lattice.Final(state);
           }),
           py::arg("state"), "The final weight of a state; zero (infinite costs) when it is not final.")
      .def("arcs", WithGil(+[](const L &lattice, int32_t state) {
             CheckState(lattice, state);
             const auto arcs = lattice.Arcs(state);
             return std::vector<Arc>(arcs.begin(), arcs.end());
           }),
           py::arg("state"), "The arcs that leave a state, as a list.")
      .def("add_state", WithGil(&L::AddState), "Adds a state and returns its number.")
      .def("set_start", WithGil(+[](L &lattice, int32_t state) {
             CheckState(lattice, state);
             lattice.SetStart(state);
           }),
           py::arg("state"))
      .def("set_final", WithGil(+[](L &lattice, int32_t state, Weight weight) {
             CheckState(lattice, state);
             CheckWeight(weight, true);
             lattice.SetFinal(state, std::move(weight));
           }),
           py::arg("state"), py::arg("weight") = Weight::One())
      .def("add_arc", WithGil(+[](L &lattice, int32_t state, const Arc &arc) {
             CheckState(lattice, state);
             CheckState(lattice, arc.nextstate);
             CheckArc(arc);
             lattice.AddArc(state, arc);
           }),
           py::arg("state"), py::arg("arc"), "Adds an arc between states that exist.")
      .def("copy", WithoutGil(+[](const L &lattice) { return L(lattice); }))
      .def("connect", WithoutGil(&Connect<L>), "Removes the states that are on no complete path.")
      .def("topsort", WithoutGil(&TopSort<L>),
           "Numbers the states topologically, dropping those that cannot be reached.\n\n"
           "Raises:\n    LatticeError: there is a cycle.")
      .def("scale", WithoutGil(+[](L &lattice, float graph_scale, float acoustic_scale) {
             ScaleLattice(graph_scale, acoustic_scale, &lattice);
           }),
           py::arg("graph_scale"), py::arg("acoustic_scale"),
           "Multiplies all costs.\n\nRaises:\n    ConfigError: a scale is not finite.")
      .def(
          "write",
          [](const L &lattice, bool binary) {
            const auto write = WithoutGil(
                +[](const L &unchanged, bool is_binary) { return WriteLattice(unchanged, is_binary); });
            return py::bytes(write(lattice, binary));
          },
          py::arg("binary") = true, "Kaldi's binary or text form, as it is in an archive after the key.");
}

// What has one meaning for both kinds of lattices.
template <class L>
void BindCommonFunctions(py::module_ &m) {
  m.def("compute_lattice_alphas_and_betas", WithoutGil(+[](const L &lattice, bool viterbi) {
          const LatticeScores scores = ComputeLatticeAlphasAndBetas(lattice, viterbi);
          return std::make_tuple(scores.total, scores.alpha, scores.beta);
        }),
        py::arg("lat"), py::arg("viterbi"));
  m.def("prune_lattice", WithoutGil(&PruneLattice<L>), py::arg("beam"), py::arg("lat"));
  m.def("determinize_lattice_pruned",
        WithoutGil(+[](const L &lattice, double beam, float delta, int64_t max_mem, int64_t max_states,
                       int64_t max_arcs, float retry_cutoff) {
          CompactLattice result;
          const bool complete = DeterminizeLatticePruned(
              lattice, beam, {delta, max_mem, max_states, max_arcs, retry_cutoff}, &result);
          return std::make_pair(complete, std::move(result));
        }),
        py::arg("lat"), py::arg("beam"), py::arg("delta"), py::arg("max_mem"), py::arg("max_states"),
        py::arg("max_arcs"), py::arg("retry_cutoff"));
}

void BindDeterminization(py::module_ &m) {
  m.def("determinize_lattice_phone_pruned",
        WithoutGil(+[](const Lattice &lattice, const TransitionInformation &model, double beam, float delta,
                       int64_t max_mem, bool phone_determinize, bool word_determinize, bool minimize) {
          CompactLattice result;
          const bool complete = DeterminizeLatticePhonePruned(
              lattice, model, beam, {delta, max_mem, phone_determinize, word_determinize, minimize}, &result);
          return std::make_pair(complete, std::move(result));
        }),
        py::arg("lat"), py::arg("model"), py::arg("beam"), py::arg("delta"), py::arg("max_mem"),
        py::arg("phone_determinize"), py::arg("word_determinize"), py::arg("minimize"));
  m.def("push_compact_lattice_strings", WithoutGil(&PushCompactLatticeStrings), py::arg("clat"),
        "Moves transition-ids that all paths out of a state begin with towards the start.");
  m.def("push_compact_lattice_weights", WithoutGil(&PushCompactLatticeWeights), py::arg("clat"),
        "Moves costs towards the start.");
  m.def("minimize_compact_lattice",
        WithoutGil(+[](CompactLattice *lattice, float delta) { MinimizeCompactLattice(delta, lattice); }),
        py::arg("clat"), py::arg("delta") = kDeterminizeDelta,
        "Joins equivalent states of a pushed lattice.");
}

void BindCompactFunctions(py::module_ &m) {
  m.def("compact_lattice_shortest_path", WithoutGil(&CompactLatticeShortestPath), py::arg("clat"),
        "Returns the path of lowest cost as a linear lattice; empty when there is none.");
  m.def("compact_lattice_depth", WithoutGil(+[](const CompactLattice &lattice) {
          int32_t num_frames = 0;
          const float depth = CompactLatticeDepth(lattice, &num_frames);
          return std::make_pair(depth, num_frames);
        }),
        py::arg("clat"),
        "Returns the mean number of arcs that cross a frame (1 for an empty lattice), and the number\n"
        "of frames.");
  m.def("compact_lattice_depth_per_frame", WithoutGil(&CompactLatticeDepthPerFrame), py::arg("clat"),
        "Returns the number of arcs that cross each frame.");
  m.def("add_word_ins_pen_to_compact_lattice", WithoutGil(&AddWordInsPenToCompactLattice),
        py::arg("word_ins_penalty"), py::arg("clat"), "Adds a penalty to the graph cost of each word.");
  m.def("longest_sentence_length", WithoutGil(&LongestSentenceLength), py::arg("clat"),
        "Returns the number of words of the longest path.");
  m.def("compact_lattice_state_times", WithoutGil(+[](const CompactLattice &lattice) {
          std::vector<int32_t> times;
          const int32_t num_frames = CompactLatticeStateTimes(lattice, &times);
          return std::make_pair(num_frames, times);
        }),
        py::arg("clat"));
  m.def("compact_lattice_to_word_alignment", WithGil(+[](const CompactLattice &linear) {
          std::vector<int32_t> words, begins, lengths;
          for (const WordTime &word : CompactLatticeToWordAlignment(linear)) {
            words.push_back(word.word);
            begins.push_back(word.begin_frame);
            lengths.push_back(word.num_frames);
          }
          return std::make_tuple(words, begins, lengths);
        }),
        py::arg("clat"),
        "Returns the words of a linear lattice, their first frames and their lengths in frames (lists).\n\n"
        "Word 0 is silence. Times are right only when the lattice was aligned with words.\n\n"
        "Raises:\n    LatticeError: the lattice is empty or not linear.");
  m.def("nbest", WithoutGil(&Nbest), py::arg("clat"), py::arg("n"));
  m.def("linear_path", WithGil(+[](const CompactLattice &linear) {
          const LinearPath path = GetLinearPath(linear);
          return std::make_tuple(path.alignment, path.words, path.weight);
        }),
        py::arg("clat"));
}

void BindLatticeFunctions(py::module_ &m) {
  m.def("convert_compact_lattice_to_lattice", WithoutGil(&ConvertToLattice), py::arg("clat"),
        "Returns the same lattice with one transition-id per arc.");
  m.def("convert_lattice_to_compact_lattice", WithoutGil(&ConvertToCompactLattice), py::arg("lat"),
        "Returns the same lattice with chains of arcs joined.");
  m.def("lattice_state_times", WithoutGil(+[](const Lattice &lattice) {
          std::vector<int32_t> times;
          const int32_t num_frames = LatticeStateTimes(lattice, &times);
          return std::make_pair(num_frames, times);
        }),
        py::arg("lat"));
  m.def("lattice_forward_backward", WithoutGil(+[](const Lattice &lattice) {
          const LatticePosteriors result = LatticeForwardBackward(lattice);
          return std::make_tuple(result.total, result.frames, result.acoustic_like_sum);
        }),
        py::arg("lat"),
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
  m.def("read_compact_lattice", Reader<CompactLattice>(&ReadCompactLattice), py::arg("data"),
        py::arg("offset"), py::arg("path"));
  BindCommonFunctions<Lattice>(m);
  BindCommonFunctions<CompactLattice>(m);
  BindDeterminization(m);
  BindCompactFunctions(m);
  BindLatticeFunctions(m);
}

}  // namespace pykaldi
