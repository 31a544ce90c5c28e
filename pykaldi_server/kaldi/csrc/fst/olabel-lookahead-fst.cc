#include "csrc/fst/olabel-lookahead-fst.h"

#include <string_view>

#include "csrc/base/byte-reader.h"
#include "csrc/base/mapped-file.h"
#include "csrc/fst/fst-header.h"
#include "csrc/fst/fst-io.h"

namespace pykaldi {
namespace {

constexpr int32_t kAddOnMagic = 446681434;
constexpr int32_t kVersion = 1;
// Compositions keep a byte for each input label, and a damaged file must not ask for much memory.
constexpr int32_t kMaxInputLabel = 1 << 26;

void CheckSorted(const ConstFst &fst, const std::string &path) {
  for (int32_t state = 0; state < fst.NumStates(); ++state) {
    int32_t last_label = 0;
    for (const StdArc &arc : fst.Arcs(state)) {
      if (arc.olabel < last_label) {
        throw ModelFormatError(path + ": state " + std::to_string(state) +
                               ": expected arcs sorted by output label, found " + std::to_string(arc.olabel) +
                               " after " + std::to_string(last_label));
      }
      last_label = arc.olabel;
    }
  }
}

}  // namespace

OLabelLookaheadFst::OLabelLookaheadFst(const std::string &path) : file_(std::make_shared<MappedFile>(path)) {
  ByteReader reader(file_->Data(), file_->Size(), path);
  const FstHeader header = FstHeader::Read(&reader);
  if (header.fst_type != "olabel_lookahead") {
    reader.Fail(0, "an FST of type \"olabel_lookahead\"", Printable(header.fst_type));
  }
  if (header.version != kVersion) {
    reader.Fail(0, "version " + std::to_string(kVersion) + " of the format", std::to_string(header.version));
  }
  const size_t magic_offset = reader.Offset();
  const std::string_view magic = reader.Following(sizeof(kAddOnMagic));
  if (reader.Read<int32_t>("the number of lookahead FSTs") != kAddOnMagic) {
    reader.Fail(magic_offset, "the number of lookahead FSTs, " + std::to_string(kAddOnMagic),
                ShowBytes(magic));
  }
  fst_ = ReadFst(&reader, file_);
  CheckSorted(*fst_, path);
  if (fst_->MaxInputLabel() > kMaxInputLabel) {
    throw ModelFormatError(path + ": expected input labels up to " + std::to_string(kMaxInputLabel) +
                           ", found " + std::to_string(fst_->MaxInputLabel()));
  }
  reachable_ = std::make_unique<LabelReachable>(fst_->NumStates(), &reader);
}

}  // namespace pykaldi
