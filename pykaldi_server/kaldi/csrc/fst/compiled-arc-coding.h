// How arcs are coded in a compiled graph (compiled-graph.h): in as many bytes as they need, and so that they
// are decoded without branches. An arc has a tag, a byte, which says what its body consists of:
//
//   bits 0-1  next state: the same state, the one whose record follows, or an address
//   bit 2     an output label is there
//   bits 3-4  cost: a float is there, or one of three common costs is meant
//   bit 5     an input label is there
//
// and a body:
//
//   2 to 4  input label, if there; how many bytes depends on the highest label of the graph
//   2 to 4  output label, if there
//   4       cost, if there
//   2 to 4  address of the next state, if there; how many bytes depends on the size of the graph
//
// The tags of all arcs of a state are stored together, so that the places of the bodies are found quickly.
#ifndef PYKALDI_SERVER_FST_COMPILED_ARC_CODING_H_
#define PYKALDI_SERVER_FST_COMPILED_ARC_CODING_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "csrc/fst/const-fst.h"

namespace pykaldi {

enum class NextStateKind : uint8_t { kSame, kFollowing, kAddress };

// What the coding of a graph depends on; part of its file.
#pragma pack(push, 1)
struct ArcCodingParameters {
  static constexpr size_t kNumCommonWeights = 3;

  uint8_t ilabel_bytes = 4;
  uint8_t olabel_bytes = 4;
  uint8_t address_bytes = 4;
  uint8_t unused = 0;
  float common_weights[kNumCommonWeights] = {0, 0, 0};
};
#pragma pack(pop)

class CompiledArcCoding {
 public:
  static constexpr size_t kMaxBodyBytes = 16;
  // Maximum number of bytes that decoding reads after the beginning of a part that is not there.
  static constexpr size_t kGuardBytes = 4;

  // The fewest bytes, 2 or more, that hold numbers up to `highest`.
  static uint8_t BytesFor(int64_t highest);

  // The numbers of bytes must be 2 to 4.
  explicit CompiledArcCoding(const ArcCodingParameters &parameters);

  const ArcCodingParameters &Parameters() const { return parameters_; }

  // Bytes of the body that belongs to a tag.
  uint32_t Size(uint8_t tag) const { return layouts_[tag].size; }
  static bool IsEpsilon(uint8_t tag) { return !(tag & kHasInputLabel); }
  static NextStateKind NextState(uint8_t tag) { return static_cast<NextStateKind>(tag & kNextStateMask); }
  // False for tags that no arc has.
  static bool IsTag(uint8_t tag) { return tag <= kTagMask && (tag & kNextStateMask) != kNextStateMask; }

  // Decodes an arc whose body is at `data + address`, and which belongs to the state whose record is at
  // address `state`.
  StdArc Decode(uint8_t tag, const char *data, uint32_t address, uint32_t state) const {
    const char *body = data + address;
    const Layout &layout = layouts_[tag];
    const uint32_t weight = (Load(body + layout.weight_at) & layout.weight_mask) | layout.weight_bits;
    const uint32_t next = (Load(body + layout.address_at) & layout.address_mask) +
                          (state & layout.same_mask) + ((address + layout.size) & layout.following_mask);
    StdArc result;
    result.ilabel = static_cast<int32_t>(Load(body) & layout.ilabel_mask);
    result.olabel = static_cast<int32_t>(Load(body + layout.olabel_at) & layout.olabel_mask);
    std::memcpy(&result.weight, &weight, sizeof(weight));
    result.nextstate = static_cast<int32_t>(next);
    return result;
  }

  uint8_t Tag(const StdArc &arc, NextStateKind kind) const;
  // Codes the body of an arc at `out`, where kMaxBodyBytes have to be free; the next state of the arc is an
  // address. Returns the number of bytes.
  size_t EncodeBody(const StdArc &arc, uint8_t tag, char *out) const;

 private:
  static constexpr uint8_t kNextStateMask = 3;
  static constexpr uint8_t kHasOutputLabel = 1 << 2;
  static constexpr int kWeightShift = 3;
  static constexpr uint8_t kWeightMask = 3 << kWeightShift;
  static constexpr uint8_t kHasInputLabel = 1 << 5;
  static constexpr uint8_t kTagMask = 63;

  // Where the parts of a body are, and masks for what is there.
  struct Layout {
    uint8_t size;
    uint8_t olabel_at;
    uint8_t weight_at;
    uint8_t address_at;
    uint32_t ilabel_mask;
    uint32_t olabel_mask;
    uint32_t weight_mask;
    uint32_t weight_bits;  // of a common cost
    uint32_t address_mask;
    uint32_t same_mask;
    uint32_t following_mask;
  };

  static uint32_t Load(const char *data) {
    uint32_t value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  Layout MakeLayout(uint8_t tag) const;

  ArcCodingParameters parameters_;
  std::array<Layout, kTagMask + 1> layouts_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPILED_ARC_CODING_H_
