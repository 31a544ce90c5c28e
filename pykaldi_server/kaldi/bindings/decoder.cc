// Bindings of csrc/decoder. The Python class of the decoder is in kaldi/decoder; it chooses the core class by
// the type of the graph.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/decoder/lattice-faster-online-decoder.h"
#include "csrc/decoder/search-workspace.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-fst.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

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
                const InputArray<int32_t> &id2pdf)
      : decoder_(ReaderOf(std::move(graph)), config,
                 std::vector<int32_t>(id2pdf.Data(), id2pdf.Data() + id2pdf.Size())) {}

  // Calls work(decoder) without the GIL.
  template <class Work>
  auto Run(Work work) {
    py::gil_scoped_release release;
    const ConcurrentUse<DecoderError>::Exclusive guard(&use_, "the decoder");
    return work(decoder_);
  }

 private:
  Decoder decoder_;
  ConcurrentUse<DecoderError> use_;
};

template <class Graph>
std::pair<int32_t, py::array_t<int32_t>> TraceBackChanges(SharedDecoder<Graph> &self) {
  std::vector<int32_t> transition_ids;
  const int32_t first = self.Run([&](auto &decoder) {
    CurrentBestPath &path = decoder.UpdateBestPath();
    const int32_t first_changed = path.TakeFirstChangedFrame();
    for (int32_t f = first_changed; f < path.NumFrames(); ++f) transition_ids.push_back(path.TransitionId(f));
    return first_changed;
  });
  return {first, ToArray(transition_ids)};
}

template <class Graph>
int32_t TrailingSilenceLength(SharedDecoder<Graph> &self, const py::array &is_silence) {
  const InputArray<uint8_t> array(is_silence, "is_silence", {"transition-ids + 1"});
  const uint8_t *mask = array.Data();
  const int64_t size = array.Size();
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
void AdvanceDecoding(SharedDecoder<Graph> &self, const py::array &loglikes) {
  const InputArray<float> array(loglikes, "loglikes", {"frames", "pdfs"});
  const LoglikeBlock block{array.Data(), array.Shape(0), array.Shape(1)};
  self.Run([&](auto &decoder) { decoder.AdvanceDecoding(block); });
}

template <class Graph>
void BindDecoderOf(py::module_ &m, const char *name) {
  using Self = SharedDecoder<Graph>;
  py::class_<Self>(m, name)
      .def(py::init([](std::shared_ptr<Graph> graph, const LatticeFasterDecoderConfig &config,
                       const py::array &id2pdf) {
             return std::make_unique<Self>(std::move(graph), config,
                                           InputArray<int32_t>(id2pdf, "id2pdf", {"transition-ids + 1"}));
           }),
           py::arg("fst").none(false), py::arg("config"), py::arg("id2pdf"))
      .def("init_decoding", [](Self &self) { self.Run([](auto &decoder) { decoder.InitDecoding(); }); })
      .def("advance_decoding", &AdvanceDecoding<Graph>, py::arg("loglikes"))
      .def("finalize_decoding",
           [](Self &self) { self.Run([](auto &decoder) { decoder.FinalizeDecoding(); }); })
      .def("num_frames_decoded",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.NumFramesDecoded(); }); })
      .def("final_relative_cost",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.FinalRelativeCost(); }); })
      .def(
          "get_best_path",
          [](Self &self, bool use_final_probs) {
            return self.Run([=](auto &decoder) { return decoder.GetBestPath(use_final_probs); });
          },
          py::arg("use_final_probs"))
      .def(
          "get_raw_lattice",
          [](Self &self, bool use_final_probs) {
            return self.Run([=](auto &decoder) { return decoder.GetRawLattice(use_final_probs); });
          },
          py::arg("use_final_probs"))
      .def("traceback", &TraceBackChanges<Graph>)
      .def("partial_words",
           [](Self &self) {
             return ToArray(self.Run([](auto &decoder) { return decoder.UpdateBestPath().Words(); }));
           })
      .def("num_stable_words",
           [](Self &self) { return self.Run([](auto &decoder) { return decoder.NumStableWords(); }); })
      .def("trailing_silence_length", &TrailingSilenceLength<Graph>, py::arg("is_silence"))
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
      .def("check", WithGil(&LatticeFasterDecoderConfig::Check));

  py::class_<BestPath>(m, "BestPath", "The best path of a search, with its costs.")
      .def_property_readonly(
          "words", [](const BestPath &path) { return ToArray(path.words); }, "Word ids; int32.")
      .def_property_readonly(
          "alignment", [](const BestPath &path) { return ToArray(path.alignment); },
          "Transition-ids, one per frame; int32.")
      .def_readonly("graph_cost", &BestPath::graph_cost, "Sum of the graph costs, including the final one.")
      .def_readonly("acoustic_cost", &BestPath::acoustic_cost, "Minus the sum of the log-likelihoods.");

  py::class_<SearchStatistics>(m, "SearchStatistics", "What a search has done since its utterance began.")
      .def_readonly("num_tokens", &SearchStatistics::num_tokens, "Tokens created.")
      .def_readonly("num_arcs", &SearchStatistics::num_arcs, "Arcs of the graph visited.")
      .def_readonly("num_links", &SearchStatistics::num_links, "Links between tokens created.");

  m.def("free_idle_workspaces", [] {
    py::gil_scoped_release release;
    return FreeIdleWorkspaces();
  });

  BindDecoderOf<ConstFst>(m, "LatticeFasterOnlineDecoder");
  BindDecoderOf<CompiledGraph>(m, "CompiledFasterOnlineDecoder");
  BindDecoderOf<LookaheadFst>(m, "LookaheadFasterOnlineDecoder");
}

}  // namespace pykaldi
