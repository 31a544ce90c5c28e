#include "csrc/fst/compiled-arc-coding.h"

namespace pykaldi {
namespace {

uint32_t MaskOfBytes(size_t num_bytes) {
  return num_bytes == 4 ? ~uint32_t{0} : (uint32_t{1} << 8 * num_bytes) - 1;
}

// Writes the low bytes of a number and returns how many.
size_t Put(uint32_t value, size_t num_bytes, char *out) {
  std::memcpy(out, &value, num_bytes);
  return num_bytes;
}

}  // namespace

uint8_t CompiledArcCoding::BytesFor(int64_t highest) {
  uint8_t num_bytes = 2;
  while (num_bytes < 4 && highest > MaskOfBytes(num_bytes)) ++num_bytes;
  return num_bytes;
}

CompiledArcCoding::CompiledArcCoding(const ArcCodingParameters &parameters) : parameters_(parameters) {
  for (size_t tag = 0; tag < layouts_.size(); ++tag) layouts_[tag] = MakeLayout(static_cast<uint8_t>(tag));
}

CompiledArcCoding::Layout CompiledArcCoding::MakeLayout(uint8_t tag) const {
  Layout layout{};
  size_t place = 0;
  const auto take = [&place](bool is_there, size_t num_bytes, uint32_t *mask) {
    const uint8_t at = static_cast<uint8_t>(place);
    *mask = is_there ? MaskOfBytes(num_bytes) : 0;
    if (is_there) place += num_bytes;
    return at;
  };
  const size_t weight_kind = (tag & kWeightMask) >> kWeightShift;
  const NextStateKind next = NextState(tag);
  take(!IsEpsilon(tag), parameters_.ilabel_bytes, &layout.ilabel_mask);
  layout.olabel_at = take(tag & kHasOutputLabel, parameters_.olabel_bytes, &layout.olabel_mask);
  layout.weight_at = take(weight_kind == 0, sizeof(float), &layout.weight_mask);
  layout.address_at = take(next == NextStateKind::kAddress, parameters_.address_bytes, &layout.address_mask);
  if (weight_kind != 0) {
    std::memcpy(&layout.weight_bits, &parameters_.common_weights[weight_kind - 1], sizeof(float));
  }
  if (next == NextStateKind::kSame) layout.same_mask = ~uint32_t{0};
  if (next == NextStateKind::kFollowing) layout.following_mask = ~uint32_t{0};
  layout.size = static_cast<uint8_t>(place);
  return layout;
}

uint8_t CompiledArcCoding::Tag(const StdArc &arc, NextStateKind kind) const {
  uint8_t tag = static_cast<uint8_t>(kind);
  if (arc.ilabel != 0) tag |= kHasInputLabel;
  if (arc.olabel != 0) tag |= kHasOutputLabel;
  for (size_t i = 0; i < ArcCodingParameters::kNumCommonWeights; ++i) {
    const float weight = arc.weight;
    if (std::memcmp(&weight, &parameters_.common_weights[i], sizeof(weight)) != 0) continue;
    return tag | static_cast<uint8_t>((i + 1) << kWeightShift);
  }
  return tag;
}

size_t CompiledArcCoding::EncodeBody(const StdArc &arc, uint8_t tag, char *out) const {
  size_t size = 0;
  if (tag & kHasInputLabel)
    size += Put(static_cast<uint32_t>(arc.ilabel), parameters_.ilabel_bytes, out + size);
  if (tag & kHasOutputLabel) {
    size += Put(static_cast<uint32_t>(arc.olabel), parameters_.olabel_bytes, out + size);
  }
  if ((tag & kWeightMask) == 0) {
    uint32_t bits;
    std::memcpy(&bits, &arc.weight, sizeof(bits));
    size += Put(bits, sizeof(bits), out + size);
  }
  if (NextState(tag) == NextStateKind::kAddress) {
    size += Put(static_cast<uint32_t>(arc.nextstate), parameters_.address_bytes, out + size);
  }
  return size;
}

}  // namespace pykaldi
