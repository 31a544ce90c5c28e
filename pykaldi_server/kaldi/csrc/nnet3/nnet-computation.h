// The computation of one chunk of an nnet3 network: commands over one block of memory.
//
// nnet3/plan.py finds out which rows a chunk needs and in which order; nnet3/compile.py gives each matrix its
// place in the memory and adds the commands. Running a chunk loads the rows that the stream kept, copies the
// input, runs the commands, copies the output and keeps the rows for the next chunk. Nothing of a stream
// stays in the memory, so that threads share a few blocks of it.
//
// Sources: Kaldi's nnet3/nnet-computation.h (commands over sub-matrices), nnet3/nnet-compute.cc.
#ifndef PYKALDI_SERVER_NNET3_NNET_COMPUTATION_H_
#define PYKALDI_SERVER_NNET3_NNET_COMPUTATION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "csrc/base/aligned-array.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/nnet3/sub-matrix.h"

namespace pykaldi {

// One step of a computation. Immutable; threads run it at the same time on different memory.
class NnetCommand {
 public:
  virtual ~NnetCommand() = default;
  virtual void Run(float *memory) const = 0;
};

// A command that is a template over vectors: Derived::Compute<Vector>(memory), which must be KERNEL_INLINE.
template <class Derived>
class KernelCommand : public NnetCommand {
 public:
  explicit KernelCommand(CpuKernels kernels) : kernels_(kernels) {}

  void Run(float *memory) const final { RunFor(kernels_, Call{static_cast<const Derived &>(*this), memory}); }

 private:
  struct Call {
    const Derived &command;
    float *memory;
    template <class Vector>
    KERNEL_INLINE void Run() const {
      command.template Compute<Vector>(memory);
    }
  };

  CpuKernels kernels_;
};

// Idle memory of the computations of one model; only a few blocks are kept.
class NnetMemoryPool {
 public:
  using Block = std::unique_ptr<AlignedArray<float>>;

  // Returns a block of at least `size` floats.
  Block Acquire(size_t size);
  void Release(Block block);
  // How many floats each of the idle blocks has, the one that was released last at the end.
  std::vector<size_t> IdleSizes();

 private:
  static constexpr size_t kMaxIdle = 8;

  std::mutex mutex_;
  std::vector<Block> idle_;
};

// A matrix that is given to a chunk. One row may stand for all.
struct ChunkInput {
  const float *data;
  int64_t num_rows, num_cols;
};

class NnetComputation {
 public:
  NnetComputation(std::shared_ptr<NnetMemoryPool> pool, CpuKernels kernels)
      : pool_(std::move(pool)), kernels_(kernels) {}

  CpuKernels Kernels() const { return kernels_; }

  // While the computation is being put together. What takes a matrix throws std::invalid_argument after
  // Finish().

  void AddCommand(std::unique_ptr<NnetCommand> command);
  // Notes the size of a product that a command computes.
  void AddProduct(int64_t rows, int64_t inner, int64_t columns) {
    products_.emplace_back(rows, inner, columns);
  }
  // Checks that the matrix may be part of the computation.
  void Use(const SubMatrix &matrix);
  // Kept rows are copied here before, or from here after the commands. All of them, one after the other, are
  // the stream's state.
  void AddLoad(const SubMatrix &target);
  void AddStore(const SubMatrix &source);
  // Rows first_row, first_row + row_step, ... of an input are copied to `target`.
  void AddInput(int64_t input, int64_t first_row, int64_t row_step, const SubMatrix &target);
  // Rows are appended to the output.
  void AddOutput(const SubMatrix &source);
  // Completes the computation. Throws std::invalid_argument if it has no output.
  void Finish();

  // Once it is complete.

  bool IsFinished() const { return finished_.load(std::memory_order_acquire); }
  int64_t StateSize() const { return state_size_; }           // of the previous chunk, which Run() reads
  int64_t NextStateSize() const { return next_state_size_; }  // which Run() writes
  int64_t NumOutputRows() const { return num_output_rows_; }
  int64_t OutputDim() const { return output_dim_; }
  // Rows, inner dimension and columns of each matrix product, in order.
  const std::vector<std::tuple<int64_t, int64_t, int64_t>> &Products() const { return products_; }
  // Throws std::invalid_argument for inputs that are not what the computation needs.
  void CheckInputs(const std::vector<ChunkInput> &inputs) const;
  // Computes a chunk from checked inputs. `state` and `next_state` may be the same; output is by rows.
  void Run(const std::vector<ChunkInput> &inputs, const float *state, float *next_state, float *output) const;

 private:
  struct InputCopy {
    int64_t input, first_row, row_step;
    SubMatrix target;
  };

  std::shared_ptr<NnetMemoryPool> pool_;
  const CpuKernels kernels_;
  std::atomic<bool> finished_{false};
  std::vector<std::unique_ptr<NnetCommand>> commands_;
  std::vector<SubMatrix> loads_, stores_, outputs_;
  std::vector<InputCopy> inputs_;
  std::vector<std::tuple<int64_t, int64_t, int64_t>> products_;
  int64_t memory_size_ = 0, state_size_ = 0, next_state_size_ = 0, num_output_rows_ = 0, output_dim_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_NNET3_NNET_COMPUTATION_H_
