#include "csrc/decoder/best-path.h"

#include <algorithm>

namespace pykaldi {

BestPath TraceBack(const TokenLattice &lattice, int32_t token) {
  BestPath path;
  BackwardWalk walk(lattice, token);
  while (const Link *link = walk.Next()) {
    if (link->olabel != 0) path.words.push_back(link->olabel);
    if (link->ilabel != 0) path.alignment.push_back(link->ilabel);
    path.graph_cost += link->graph_cost;
    path.acoustic_cost += link->acoustic_cost;
  }
  std::reverse(path.words.begin(), path.words.end());
  std::reverse(path.alignment.begin(), path.alignment.end());
  return path;
}

void CurrentBestPath::Clear() {
  steps_.clear();
  words_.clear();
  reported_states_.clear();
  stable_boundary_ = kNoBoundary;
}

void CurrentBestPath::Update(const TokenLattice &lattice, int32_t token) {
  new_steps_.clear();
  new_words_.clear();
  BackwardWalk walk(lattice, token);
  int32_t num_kept_steps = 0, num_kept_words = 0;
  while (const Link *link = walk.Next()) {
    if (link->olabel != 0) new_words_.push_back(link->olabel);
    if (link->ilabel == 0) continue;
    const int32_t frame = walk.Boundary(), state = walk.SourceToken().state;
    new_steps_.push_back({state, link->ilabel, static_cast<int32_t>(new_words_.size())});
    if (frame < NumFrames() && steps_[frame].state == state) {
      num_kept_steps = frame;
      num_kept_words = steps_[frame].num_words;
      break;
    }
  }
  words_.resize(num_kept_words);
  words_.insert(words_.end(), new_words_.rbegin(), new_words_.rend());
  const int32_t num_words = static_cast<int32_t>(words_.size());
  steps_.resize(num_kept_steps);
  for (size_t i = new_steps_.size(); i-- > 0;) {
    const Step &step = new_steps_[i];
    steps_.push_back({step.state, step.ilabel, num_words - step.num_words});
  }
}

int32_t CurrentBestPath::NumStableWords(const TokenLattice &lattice, float cutoff) {
  const TokenVector &newest = lattice.Newest().tokens;
  tokens_.clear();
  for (size_t i = 0; i < newest.size(); ++i) {
    if (newest[i].tot_cost <= cutoff) tokens_.push_back(static_cast<int32_t>(i));
  }
  for (int32_t boundary = lattice.NumFrames(); boundary > std::max(stable_boundary_, 0);) {
    const TokenVector &before = lattice.Frame(boundary - 1).tokens;
    sources_.clear();
    is_source_.assign(before.size(), false);
    for (const int32_t token : tokens_) {
      const int32_t source = lattice.SourceOnBoundaryBefore(boundary, token);
      if (!is_source_[source]) sources_.push_back(source);
      is_source_[source] = true;
    }
    tokens_.swap(sources_);
    --boundary;
    if (tokens_.size() == 1) {
      stable_boundary_ = boundary;
      break;
    }
  }
  return stable_boundary_ == kNoBoundary ? 0 : steps_[stable_boundary_].num_words;
}

int32_t CurrentBestPath::TakeFirstChangedFrame() {
  const int32_t num_reported = static_cast<int32_t>(reported_states_.size());
  reported_states_.resize(steps_.size());
  int32_t frame = NumFrames();
  while (frame > 0 && !(frame <= num_reported && reported_states_[frame - 1] == steps_[frame - 1].state)) {
    --frame;
    reported_states_[frame] = steps_[frame].state;
  }
  return frame;
}

}  // namespace pykaldi
