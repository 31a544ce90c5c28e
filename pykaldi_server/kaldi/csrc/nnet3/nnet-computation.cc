#include "csrc/nnet3/nnet-computation.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace pykaldi {
namespace {

const float *CopyIn(const float *source, const SubMatrix &target, float *memory) {
  for (int64_t row = 0; row < target.NumRows(); ++row, source += target.NumCols()) {
    std::copy_n(source, target.NumCols(), target.Row(memory, row));
  }
  return source;
}

float *CopyOut(const SubMatrix &source, const float *memory, float *target) {
  for (int64_t row = 0; row < source.NumRows(); ++row, target += source.NumCols()) {
    std::copy_n(source.Row(memory, row), source.NumCols(), target);
  }
  return target;
}

}  // namespace

NnetMemoryPool::Block NnetMemoryPool::Acquire(size_t size) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto block = idle_.rbegin(); block != idle_.rend(); ++block) {
      if ((*block)->Size() < size) continue;
      Block found = std::move(*block);
      idle_.erase(std::next(block).base());
      return found;
    }
    // A larger one takes the place of one that is too small: there are never more than are in use at a time.
    if (!idle_.empty()) idle_.erase(idle_.begin());
  }
  return std::make_unique<AlignedArray<float>>(AlignedArray<float>::Uninitialised(size));
}

void NnetMemoryPool::Release(Block block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() == kMaxIdle) idle_.erase(idle_.begin());
  idle_.push_back(std::move(block));
}

std::vector<size_t> NnetMemoryPool::IdleSizes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<size_t> sizes;
  for (const Block &block : idle_) sizes.push_back(block->Size());
  return sizes;
}

void NnetComputation::Use(const SubMatrix &matrix) {
  if (IsFinished())
    throw std::invalid_argument("expected a computation that is not complete, found one that is");
  memory_size_ = std::max(memory_size_, matrix.End());
}

void NnetComputation::AddCommand(std::unique_ptr<NnetCommand> command) {
  commands_.push_back(std::move(command));
}

void NnetComputation::AddLoad(const SubMatrix &target) {
  Use(target);
  loads_.push_back(target);
  state_size_ += target.NumRows() * target.NumCols();
}

void NnetComputation::AddStore(const SubMatrix &source) {
  Use(source);
  stores_.push_back(source);
  next_state_size_ += source.NumRows() * source.NumCols();
}

void NnetComputation::AddInput(int64_t input, int64_t first_row, int64_t row_step, const SubMatrix &target) {
  Use(target);
  for (const int64_t number : {input, first_row, row_step}) {
    if (number < 0 || number > SubMatrix::kMaxMemory) {
      throw std::invalid_argument("expected an input and rows from 0 to " +
                                  std::to_string(SubMatrix::kMaxMemory) + ", found " +
                                  std::to_string(number));
    }
  }
  inputs_.push_back({input, first_row, row_step, target});
}

void NnetComputation::AddOutput(const SubMatrix &source) {
  Use(source);
  if (!outputs_.empty() && source.NumCols() != output_dim_) {
    throw std::invalid_argument("expected output of " + std::to_string(output_dim_) + " columns, found " +
                                std::to_string(source.NumCols()));
  }
  outputs_.push_back(source);
  output_dim_ = source.NumCols();
  num_output_rows_ += source.NumRows();
}

void NnetComputation::Finish() {
  if (outputs_.empty()) throw std::invalid_argument("expected a computation with an output, found none");
  finished_.store(true, std::memory_order_release);
}

void NnetComputation::CheckInputs(const std::vector<ChunkInput> &inputs) const {
  for (const InputCopy &copy : inputs_) {
    if (copy.input >= static_cast<int64_t>(inputs.size())) {
      throw std::invalid_argument("expected at least " + std::to_string(copy.input + 1) + " inputs, found " +
                                  std::to_string(inputs.size()));
    }
    const ChunkInput &input = inputs[static_cast<size_t>(copy.input)];
    const int64_t last_row = copy.first_row + (copy.target.NumRows() - 1) * copy.row_step;
    if (input.num_cols != copy.target.NumCols() || (input.num_rows != 1 && input.num_rows <= last_row)) {
      throw std::invalid_argument("input " + std::to_string(copy.input) + ": expected one or more than " +
                                  std::to_string(last_row) + " rows of " +
                                  std::to_string(copy.target.NumCols()) + " columns, found " +
                                  std::to_string(input.num_rows) + " x " + std::to_string(input.num_cols));
    }
  }
}

void NnetComputation::Run(const std::vector<ChunkInput> &inputs, const float *state, float *next_state,
                          float *output) const {
  NnetMemoryPool::Block block = pool_->Acquire(static_cast<size_t>(memory_size_));
  float *memory = block->Data();
  for (const SubMatrix &target : loads_) state = CopyIn(state, target, memory);
  for (const InputCopy &copy : inputs_) {
    const ChunkInput &input = inputs[static_cast<size_t>(copy.input)];
    for (int64_t row = 0; row < copy.target.NumRows(); ++row) {
      const int64_t source = input.num_rows == 1 ? 0 : copy.first_row + row * copy.row_step;
      std::copy_n(input.data + source * input.num_cols, input.num_cols, copy.target.Row(memory, row));
    }
  }
  for (const auto &command : commands_) command->Run(memory);
  for (const SubMatrix &source : outputs_) output = CopyOut(source, memory, output);
  for (const SubMatrix &source : stores_) next_state = CopyOut(source, memory, next_state);
  pool_->Release(std::move(block));
}

}  // namespace pykaldi
