// Bindings of csrc/decoder. The Python class of the decoder is in kaldi/decoder; it chooses the core class by
// the type of the graph.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "csrc/base/error.h"
#include "csrc/base/exclusive-use.h"
#include "csrc/decoder/lattice-faster-online-decoder.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-fst.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using IntArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using ByteArray = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

py::array_t<int32_t> ToArray(const std::vector<int32_t> &values) {
  return py::array_t<int32_t>(static_cast<py::ssize_t>(values.size()), values.data());
}

// What a decoder searches: the graph that all share, or a reader of its own.
std::shared_ptr<const ConstFst> ReaderOf(std::shared_ptr<ConstFst> graph) { return graph; }
std::shared_ptr<const CompiledGraph> ReaderOf(std::shared_ptr<CompiledGraph> graph) { return graph; }
std::shared_ptr<LookaheadFstReader> ReaderOf(std::shared_ptr<LookaheadFst> graph) {
  return std::make_shared<LookaheadFstReader>(std::move(graph));
}

// A decoder as Python holds it: it refuses a second thread, and works without the GIL.
template <class Graph>
class SharedDecoder {
 public:
  using Reader = typename decltype(ReaderOf(std::shared_ptr<Graph>()))::element_type;
  using Decoder = LatticeFasterOnlineDecoder<Reader>;

  SharedDecoder(std::shared_ptr<Graph> graph, const LatticeFasterDecoderConfig &config,
                const IntArray &id2pdf)
      : decoder_(ReaderOf(std::move(graph)), config,
                 std::vector<int32_t>(id2pdf.data(), id2pdf.data() + id2pdf.size())) {}

  // Calls work(decoder) without the GIL.
  template <class Work>
  auto Run(Work work) {
    py::gil_scoped_release release;
    ExclusiveUse::Guard guard(&use_, "the decoder");
    return work(decoder_);
  }

 private:
  Decoder decoder_;
  ExclusiveUse use_;
};

template <class Graph>
py::tuple TraceBackChanges(SharedDecoder<Graph> &self) {
  std::vector<int32_t> transition_ids;
  const int32_t first = self.Run([&](auto &decoder) {
    CurrentBestPath &path = decoder.UpdateBestPath();
    const int32_t first_changed = path.TakeFirstChangedFrame();
    for (int32_t f = first_changed; f < path.NumFrames(); ++f) transition_ids.push_back(path.TransitionId(f));
    return first_changed;
  });
  return py::make_tuple(first, ToArray(transition_ids));
}

template <class Graph>
int32_t TrailingSilenceLength(SharedDecoder<Graph> &self, const ByteArray &is_silence) {
  const uint8_t *mask = is_silence.data();
  const int64_t size = is_silence.size();
  return self.Run([&](auto &decoder) {
    if (size <= decoder.MaxTransitionId()) {
      throw DecoderError("expected a mask of more than " + std::to_string(decoder.MaxTransitionId()) +
                         " transition-ids, found " + std::to_string(size));
    }
    const CurrentBestPath &path = decoder.UpdateBestPath();
    int32_t frame = path.NumFrames();
    while (frame > 0 && mask[path.TransitionId(frame - 1)]) --frame;
    return path.NumFrames() - frame;
  });
}

template <class Graph>
void AdvanceDecoding(SharedDecoder<Graph> &self, const FloatArray &loglikes) {
  if (loglikes.ndim() != 2) {
    throw DecoderError("expected log-likelihoods of shape (frames, pdfs), found " +
                       std::to_string(loglikes.ndim()) + " dimensions");
  }
  const LoglikeBlock block{loglikes.data(), loglikes.shape(0), loglikes.shape(1)};
  self.Run([&](auto &decoder) { decoder.AdvanceDecoding(block); });
}

template <class Graph>
void BindDecoderOf(py::module_ &m, const char *name) {
  using Self = SharedDecoder<Graph>;
  py::class_<Self>(m, name)
      .def(py::init<std::shared_ptr<Graph>, const LatticeFasterDecoderConfig &, const IntArray &>())
      .def("init_decoding", [](Self &self) { self.Run([](auto &decoder) { decoder.InitDecoding(); }); })
      .def("advance_decoding", &AdvanceDecoding<Graph>)
      .def("finalize_decoding",
           [](Self &self) { self.Run([](auto &decoder) { decoder.FinalizeDecoding(); }); })
      .def("num_frames_decoded",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.NumFramesDecoded(); }); })
      .def("final_relative_cost",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.FinalRelativeCost(); }); })
      .def("get_best_path",
           [](Self &self, bool use_final_probs) {
             return self.Run([=](auto &decoder) { return decoder.GetBestPath(use_final_probs); });
           })
      .def("get_raw_lattice",
           [](Self &self, bool use_final_probs) {
             return self.Run([=](auto &decoder) { return decoder.GetRawLattice(use_final_probs); });
           })
      .def("traceback", &TraceBackChanges<Graph>)
      .def("partial_words",
           [](Self &self) {
             return ToArray(self.Run([](auto &decoder) { return decoder.UpdateBestPath().Words(); }));
           })
      .def("trailing_silence_length", &TrailingSilenceLength<Graph>)
      .def("statistics",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.Statistics(); }); });
}

}  // namespace

void BindDecoder(py::module_ &m) {
  py::class_<LatticeFasterDecoderConfig>(m, "LatticeFasterDecoderConfig")
      .def(py::init<>())
      .def_readwrite("beam", &LatticeFasterDecoderConfig::beam)
      .def_readwrite("max_active", &LatticeFasterDecoderConfig::max_active)
      .def_readwrite("min_active", &LatticeFasterDecoderConfig::min_active)
      .def_readwrite("lattice_beam", &LatticeFasterDecoderConfig::lattice_beam)
      .def_readwrite("prune_interval", &LatticeFasterDecoderConfig::prune_interval)
      .def_readwrite("beam_delta", &LatticeFasterDecoderConfig::beam_delta)
      .def_readwrite("hash_ratio", &LatticeFasterDecoderConfig::hash_ratio)
      .def_readwrite("prune_scale", &LatticeFasterDecoderConfig::prune_scale)
      .def("check", &LatticeFasterDecoderConfig::Check);

  py::class_<BestPath>(m, "BestPath", "The best path of a search, with its costs.")
      .def_property_readonly(
          "words", [](const BestPath &path) { return ToArray(path.words); }, "Word ids; int32.")
      .def_property_readonly(
          "alignment", [](const BestPath &path) { return ToArray(path.alignment); },
          "Transition-ids, one a frame; int32.")
      .def_readonly("graph_cost", &BestPath::graph_cost, "The graph's costs, the final one included.")
      .def_readonly("acoustic_cost", &BestPath::acoustic_cost, "Minus the sum of the log-likelihoods.");

  py::class_<SearchStatistics>(m, "SearchStatistics", "What a search has done since its utterance began.")
      .def_readonly("num_tokens", &SearchStatistics::num_tokens, "Tokens created.")
      .def_readonly("num_arcs", &SearchStatistics::num_arcs, "Arcs of the graph visited.")
      .def_readonly("num_links", &SearchStatistics::num_links, "Links between tokens created.");

  BindDecoderOf<ConstFst>(m, "LatticeFasterOnlineDecoder");
  BindDecoderOf<CompiledGraph>(m, "CompiledFasterOnlineDecoder");
  BindDecoderOf<LookaheadFst>(m, "LookaheadFasterOnlineDecoder");
}

}  // namespace pykaldi
