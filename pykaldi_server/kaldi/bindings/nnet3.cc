// Bindings of csrc/nnet3.
#include <pybind11/stl.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/nnet3/nnet-commands.h"
#include "csrc/nnet3/nnet-computation.h"
#include "csrc/nnet3/sub-matrix.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

using Offsets = std::vector<std::pair<int64_t, int64_t>>;

constexpr char kMismatch[] =
    "\n\nRaises:\n    ValueError: the arguments do not fit each other, or the computation is complete.";

std::string Doc(const std::string &text) { return text + kMismatch; }

FloatVector ToVector(const py::array &array, const char *name) {
  const InputArray<float> values(array, name, {"columns"});
  return FloatVector(values.Data(), values.Data() + values.Size());
}

FloatVector ToVector(const std::optional<py::array> &array, const char *name) {
  return array.has_value() ? ToVector(*array, name) : FloatVector();
}

WindowRows ToWindow(const py::array &array) {
  const InputArray<int64_t> rows(array, "rows", {"rows of y", "positions"});
  // An array without rows may claim any number of positions.
  if (rows.Shape(1) < 1 || rows.Shape(1) > SubMatrix::kMaxMemory) {
    throw py::value_error("rows: expected 1 to " + std::to_string(SubMatrix::kMaxMemory) +
                          " positions, found " + std::to_string(rows.Shape(1)));
  }
  return {std::vector<int64_t>(rows.Data(), rows.Data() + rows.Size()), rows.Shape(1)};
}

// Checks the matrices of a command, then adds it.
void Add(NnetComputation *computation, std::initializer_list<const SubMatrix *> matrices,
         NnetCommandPtr command) {
  for (const SubMatrix *matrix : matrices) computation->Use(*matrix);
  computation->AddCommand(std::move(command));
}

// An array that the computation writes, of a given size.
float *Writable(py::array *array, const char *name, std::initializer_list<const char *> axes, int64_t size) {
  const InputArray<float> checked(*array, name, axes);
  if (checked.Size() != size) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(size) + " numbers, found " +
                          std::to_string(checked.Size()));
  }
  if (!array->writeable())
    throw py::value_error(std::string(name) + ": expected a writable array, found one that is not");
  return static_cast<float *>(array->mutable_data());
}

void Run(const NnetComputation &computation, const std::vector<py::array> &inputs, py::array state,
         py::array next_state, py::array output) {
  if (!computation.IsFinished())
    throw py::value_error("expected a complete computation, found one that is not");
  std::vector<ChunkInput> checked;
  checked.reserve(inputs.size());
  for (const py::array &array : inputs) {
    const InputArray<float> input(array, "inputs", {"rows", "columns"});
    checked.push_back({input.Data(), input.Shape(0), input.Shape(1)});
  }
  computation.CheckInputs(checked);
  const float *from = Writable(&state, "state", {"state_size"}, computation.StateSize());
  float *to = Writable(&next_state, "next_state", {"next_state_size"}, computation.NextStateSize());
  const InputArray<float> shaped(output, "output", {"output_rows", "output_dim"});
  if (shaped.Shape(0) != computation.NumOutputRows() || shaped.Shape(1) != computation.OutputDim()) {
    throw py::value_error("output: expected " + std::to_string(computation.NumOutputRows()) + " x " +
                          std::to_string(computation.OutputDim()) + " numbers, found " +
                          std::to_string(shaped.Shape(0)) + " x " + std::to_string(shaped.Shape(1)));
  }
  float *result = Writable(&output, "output", {"output_rows", "output_dim"}, shaped.Size());
  const py::gil_scoped_release release;
  computation.Run(checked, from, to, result);
}

void BindSubMatrix(py::module_ &m) {
  py::class_<SubMatrix>(m, "SubMatrix",
                        "A matrix in the memory of a computation: row r consists of `num_cols` numbers from\n"
                        "`offset + r * stride` on.")
      .def(py::init<int64_t, int64_t, int64_t, int64_t>(), py::arg("offset"), py::arg("num_rows"),
           py::arg("num_cols"), py::arg("stride"),
           "Raises:\n    ValueError: the matrix is empty, or ends beyond 2^30 numbers.")
      .def_property_readonly("offset", WithGil(&SubMatrix::Offset), "Where the first row begins.")
      .def_property_readonly("num_rows", WithGil(&SubMatrix::NumRows), "Number of rows.")
      .def_property_readonly("num_cols", WithGil(&SubMatrix::NumCols), "Number of columns.")
      .def_property_readonly("stride", WithGil(&SubMatrix::Stride),
                             "Numbers from one row to the next; 0: all rows are the same.");
}

using Class = py::class_<NnetComputation, std::shared_ptr<NnetComputation>>;

void BindElementCommands(Class *computation) {
  (*computation)
      .def(
          "copy",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, float scale, bool accumulate) {
            Add(&c, {&x, &y}, MakeCopy(x, y, scale, accumulate, c.Kernels()));
          },
          py::arg("x"), py::arg("y"), py::arg("scale") = 1.0f, py::arg("accumulate") = false,
          Doc("Adds: y = scale x, or y += scale x.").c_str())
      .def(
          "fill",
          [](NnetComputation &c, const SubMatrix &y, float value, bool accumulate) {
            Add(&c, {&y}, MakeFill(y, value, accumulate, c.Kernels()));
          },
          py::arg("y"), py::arg("value"), py::arg("accumulate") = false,
          Doc("Adds: y = value, or y += value.").c_str())
      .def(
          "set_rows",
          [](NnetComputation &c, const SubMatrix &y, const py::array &row) {
            Add(&c, {&y}, MakeSetRows(y, ToVector(row, "row")));
          },
          py::arg("y"), py::arg("row"), Doc("Adds: each row of y is `row`, (columns,) float32.").c_str())
      .def(
          "affine",
          [](NnetComputation &c, const std::shared_ptr<PackedProduct> &product, const SubMatrix &x,
             const SubMatrix &y) {
            if (product == nullptr) throw py::type_error("product: expected a PackedProduct, found None");
            Add(&c, {&x, &y}, MakeAffine(product, x, y));
            c.AddProduct(x.NumRows(), x.NumCols(), y.NumCols());
          },
          py::arg("product"), py::arg("x"), py::arg("y"), Doc("Adds: y = product of x.").c_str())
      .def(
          "scale_and_offset",
          [](NnetComputation &c, const SubMatrix &y, const std::optional<py::array> &scale,
             const std::optional<py::array> &offset) {
            Add(&c, {&y},
                MakeScaleAndOffset(y, ToVector(scale, "scale"), ToVector(offset, "offset"), c.Kernels()));
          },
          py::arg("y"), py::arg("scale"), py::arg("offset"),
          Doc("Adds: y = scale y + offset, with vectors (columns,) float32; None means 1 and 0.").c_str())
      .def(
          "multiply",
          [](NnetComputation &c, const SubMatrix &a, const SubMatrix &b, const SubMatrix &y) {
            Add(&c, {&a, &b, &y}, MakeMultiply(a, b, y, c.Kernels()));
          },
          py::arg("a"), py::arg("b"), py::arg("y"), Doc("Adds: y = a b, by elements.").c_str())
      .def(
          "interpolate",
          [](NnetComputation &c, const SubMatrix &hidden, const SubMatrix &gate, const SubMatrix &previous,
             const SubMatrix &y) {
            Add(&c, {&hidden, &gate, &previous, &y}, MakeInterpolate(hidden, gate, previous, y, c.Kernels()));
          },
          py::arg("hidden"), py::arg("gate"), py::arg("previous"), py::arg("y"),
          Doc("Adds: y = (1 - gate) hidden + gate previous, by elements.").c_str())
      .def(
          "lstm",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, const py::array &weights,
             bool use_dropout) {
            const InputArray<float> checked(weights, "weights", {"3", "cell_dim"});
            FloatVector values(checked.Data(), checked.Data() + checked.Size());
            Add(&c, {&x, &y}, MakeLstm(x, y, std::move(values), use_dropout, c.Kernels()));
          },
          py::arg("x"), py::arg("y"), py::arg("weights"), py::arg("use_dropout"),
          Doc("Adds the nonlinearity of an LSTM; `weights` are w_ic, w_fc and w_oc, (3, cell_dim) float32.")
              .c_str());
  const auto bind_nonlinearity = [&](const char *name, Nonlinearity kind, const char *text) {
    computation->def(
        name,
        [kind](NnetComputation &c, const SubMatrix &y) {
          Add(&c, {&y}, MakeNonlinearity(y, kind, c.Kernels()));
        },
        py::arg("y"), Doc(text).c_str());
  };
  bind_nonlinearity("rectify", Nonlinearity::kRectifier, "Adds: y = max(y, 0).");
  bind_nonlinearity("sigmoid", Nonlinearity::kSigmoid, "Adds: y = 1 / (1 + exp(-y)).");
  bind_nonlinearity("tanh", Nonlinearity::kTanh, "Adds: y = tanh(y).");
  bind_nonlinearity("softmax", Nonlinearity::kSoftmax, "Adds: each row is its softmax, at least 1e-20.");
  bind_nonlinearity("log_softmax", Nonlinearity::kLogSoftmax,
                    "Adds: each row is the logarithm of its softmax.");
}

void BindColumnCommands(Class *computation) {
  (*computation)
      .def(
          "normalize",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, int64_t block_dim, float target_rms,
             bool add_log_stddev) {
            Add(&c, {&x, &y}, MakeNormalize(x, y, block_dim, target_rms, add_log_stddev, c.Kernels()));
          },
          py::arg("x"), py::arg("y"), py::arg("block_dim"), py::arg("target_rms"), py::arg("add_log_stddev"),
          Doc("Adds: y = blocks of x, each with the root mean square `target_rms`.").c_str())
      .def(
          "pnorm",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y) {
            Add(&c, {&x, &y}, MakePnorm(x, y));
          },
          py::arg("x"), py::arg("y"), Doc("Adds: y = norms of groups of neighbouring columns.").c_str())
      .def(
          "sum_blocks",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, float scale) {
            Add(&c, {&x, &y}, MakeSumBlock(x, y, scale));
          },
          py::arg("x"), py::arg("y"), py::arg("scale"),
          Doc("Adds: y = `scale` times the sum of the blocks of x that are as wide as y.").c_str())
      .def(
          "sum_groups",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, std::vector<int64_t> sizes) {
            Add(&c, {&x, &y}, MakeSumGroup(x, y, std::move(sizes)));
          },
          py::arg("x"), py::arg("y"), py::arg("sizes"),
          Doc("Adds: y = sums of groups of neighbouring columns, of these sizes.").c_str())
      .def(
          "max_of_columns",
          [](NnetComputation &c, const SubMatrix &x, const SubMatrix &y, const py::array &columns) {
            const InputArray<int64_t> checked(columns, "columns", {"selections", "columns of y"});
            std::vector<int64_t> values(checked.Data(), checked.Data() + checked.Size());
            Add(&c, {&x, &y}, MakeMaxOfColumns(x, y, std::move(values)));
          },
          py::arg("x"), py::arg("y"), py::arg("columns"),
          Doc("Adds: y = maximum over selections of columns of x, (selections, columns of y) int64.")
              .c_str());
}

void BindWindowCommands(Class *computation) {
  (*computation)
      .def(
          "attention",
          [](NnetComputation &c, const SubMatrix &source, const py::array &rows, const SubMatrix &scratch,
             const SubMatrix &y, int64_t num_heads, int64_t key_dim, int64_t value_dim, int64_t left,
             bool output_context, float key_scale) {
            const AttentionShape shape{num_heads, key_dim, value_dim, left, output_context, key_scale};
            Add(&c, {&source, &scratch, &y}, MakeAttention(source, ToWindow(rows), shape, scratch, y));
          },
          py::arg("source"), py::arg("rows"), py::arg("scratch"), py::arg("y"), py::arg("num_heads"),
          py::arg("key_dim"), py::arg("value_dim"), py::arg("left"), py::arg("output_context"),
          py::arg("key_scale"),
          Doc("Adds restricted attention over the source's `rows`, (rows of y, positions) int64, -1 where "
              "one\n"
              "is missing; `scratch` is a row of as many numbers as there are positions.")
              .c_str())
      .def(
          "patches",
          [](NnetComputation &c, const SubMatrix &source, const py::array &rows, const SubMatrix &y,
             int64_t height_in, int64_t height_out, int64_t height_step, int64_t filters_in,
             Offsets offsets) {
            PatchShape shape{height_in, height_out, height_step, filters_in, std::move(offsets)};
            Add(&c, {&source, &y}, MakePatches(source, ToWindow(rows), std::move(shape), y));
          },
          py::arg("source"), py::arg("rows"), py::arg("y"), py::arg("height_in"), py::arg("height_out"),
          py::arg("height_step"), py::arg("filters_in"), py::arg("offsets"),
          Doc("Adds: each row of y consists of a patch per output height, with the filters at the offsets\n"
              "(position in `rows`, height); zero where there are none.")
              .c_str())
      .def(
          "extract_statistics",
          [](NnetComputation &c, const SubMatrix &source, const py::array &rows, const SubMatrix &y,
             bool include_variance) {
            Add(&c, {&source, &y},
                MakeExtractStatistics(source, ToWindow(rows), include_variance, y, c.Kernels()));
          },
          py::arg("source"), py::arg("rows"), py::arg("y"), py::arg("include_variance"),
          Doc("Adds: y = count, sum and, if asked for, sum of squares of the source's rows.").c_str())
      .def(
          "pool_statistics",
          [](NnetComputation &c, const SubMatrix &source, const py::array &rows, const SubMatrix &scratch,
             const SubMatrix &y, int64_t num_log_counts, std::optional<float> variance_floor) {
            Add(&c, {&source, &scratch, &y},
                MakePoolStatistics(source, ToWindow(rows), num_log_counts, variance_floor, scratch, y,
                                   c.Kernels()));
          },
          py::arg("source"), py::arg("rows"), py::arg("scratch"), py::arg("y"), py::arg("num_log_counts"),
          py::arg("variance_floor"),
          Doc("Adds: y = log counts, means and, with a floor, standard deviations from added statistics;\n"
              "`scratch` is a row as wide as the source.")
              .c_str());
}

void BindTransfers(Class *computation) {
  (*computation)
      .def(
          "load", [](NnetComputation &c, const SubMatrix &y) { c.AddLoad(y); }, py::arg("y"),
          Doc("Copies the next rows of the state to y before the commands.").c_str())
      .def(
          "store", [](NnetComputation &c, const SubMatrix &x) { c.AddStore(x); }, py::arg("x"),
          Doc("Copies x to the next rows of the new state after the commands.").c_str())
      .def(
          "input",
          [](NnetComputation &c, int64_t input, int64_t first_row, int64_t row_step, const SubMatrix &y) {
            c.AddInput(input, first_row, row_step, y);
          },
          py::arg("input"), py::arg("first_row"), py::arg("row_step"), py::arg("y"),
          Doc("Copies rows of an input to y before the commands.").c_str())
      .def(
          "output", [](NnetComputation &c, const SubMatrix &x) { c.AddOutput(x); }, py::arg("x"),
          Doc("Copies x to the next rows of the output after the commands.").c_str())
      .def(
          "finish", [](NnetComputation &c) { c.Finish(); },
          "Completes the computation, which cannot be changed any more.\n\n"
          "Raises:\n    ValueError: it has no output.")
      .def_property_readonly("state_size", WithGil(&NnetComputation::StateSize),
                             "Numbers of the state that `run` reads.")
      .def_property_readonly("next_state_size", WithGil(&NnetComputation::NextStateSize),
                             "Numbers of the state that `run` writes.")
      .def_property_readonly(
          "kernels", [](const NnetComputation &c) { return CpuKernelsName(c.Kernels()); },
          "Name of the kernels that `run` uses.")
      .def_property_readonly(
          "products", [](const NnetComputation &c) { return c.Products(); },
          "Rows, inner dimension and columns of each matrix product, in order.")
      .def_property_readonly(
          "output_shape",
          [](const NnetComputation &c) { return std::make_pair(c.NumOutputRows(), c.OutputDim()); },
          "Rows and columns of the output.")
      .def("run", &Run, py::arg("inputs"), py::arg("state"), py::arg("next_state"), py::arg("output"),
           "Computes a chunk. Threads may do so at the same time.\n\n"
           "Args:\n"
           "    inputs: matrices (rows, columns) float32; one row stands for all.\n"
           "    state: what the previous chunk wrote, (state_size,) float32.\n"
           "    next_state: is overwritten, (next_state_size,) float32; may be `state`.\n"
           "    output: is overwritten, `output_shape` float32.\n\n"
           "Raises:\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: an array has another shape or is not contiguous, or the computation is not\n"
           "        complete.");
}

}  // namespace

void BindNnet3(py::module_ &m) {
  BindSubMatrix(m);
  py::class_<NnetMemoryPool, std::shared_ptr<NnetMemoryPool>>(
      m, "NnetMemoryPool", "Memory that the computations of a model share; threads may, too.")
      .def(py::init<>())
      .def("idle_sizes", WithGil(&NnetMemoryPool::IdleSizes),
           "Floats in each block that no computation is using, the one used last at the end.");
  Class computation(m, "NnetComputation",
                    "The computation of a chunk of a network; see `csrc/nnet3/nnet-computation.h`.\n\n"
                    "It is put together by methods that add commands, then completed by `finish`, and run.");
  computation.def(py::init([](const std::shared_ptr<NnetMemoryPool> &pool) {
                    if (pool == nullptr) throw py::type_error("pool: expected an NnetMemoryPool, found None");
                    return std::make_shared<NnetComputation>(pool, DefaultCpuKernels());
                  }),
                  py::arg("pool"),
                  "Begins a computation that uses the kernels `default_cpu_kernels`.\n\n"
                  "Raises:\n    ConfigError: see `default_cpu_kernels`.");
  BindElementCommands(&computation);
  BindColumnCommands(&computation);
  BindWindowCommands(&computation);
  BindTransfers(&computation);
}

}  // namespace pykaldi
