// NumPy arrays as the core takes them: of one dtype, contiguous and aligned, without a copy. Any other array
// is refused rather than converted, so that no integer wraps around and no large array is copied unseen.
#ifndef PYKALDI_SERVER_BINDINGS_ARRAYS_H_
#define PYKALDI_SERVER_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace pykaldi {

// An array that Python gave: valid for as long as the caller holds it.
template <class T>
class InputArray {
 public:
  // `name` is the argument's, `axes` are the names of the axes; both are for errors. Throws TypeError for
  // another dtype, ValueError for another number of axes or another layout.
  InputArray(const pybind11::array &array, const char *name, std::initializer_list<const char *> axes)
      : array_(array) {
    const bool has_type = pybind11::isinstance<pybind11::array_t<T>>(array);
    const bool has_layout = (array.flags() & kLayout) == kLayout;
    if (has_type && has_layout && array.ndim() == static_cast<pybind11::ssize_t>(axes.size())) return;
    const std::string text = std::string(name) + ": expected a contiguous array of " +
                             std::string(pybind11::str(pybind11::dtype::of<T>())) + " with the axes " +
                             List(axes) + ", found one of " + Describe(array) +
                             (has_layout ? "" : ", not contiguous");
    if (!has_type) throw pybind11::type_error(text);
    throw pybind11::value_error(text);
  }

  const T *Data() const { return static_cast<const T *>(array_.data()); }
  int64_t Size() const { return array_.size(); }
  int64_t Shape(int axis) const { return array_.shape(axis); }

 private:
  static constexpr int kLayout =
      pybind11::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_;

  static std::string List(std::initializer_list<const char *> axes) {
    std::string text;
    for (const char *axis : axes) text += std::string(text.empty() ? "(" : ", ") + axis;
    return text + ")";
  }

  static std::string Describe(const pybind11::array &array) {
    return std::string(pybind11::str(array.dtype())) + " with the shape " +
           std::string(pybind11::str(array.attr("shape")));
  }

  const pybind11::array &array_;
};

// Copies numbers into a new array. Throws MemoryError when there is no room for it, where pybind11's own
// constructor makes an object without an array, which nobody notices before it is used.
template <class T>
pybind11::array_t<T> CopyToArray(pybind11::array::ShapeContainer shape, const T *values) {
  pybind11::array_t<T> copy(std::move(shape), values);
  if (!copy) throw pybind11::error_already_set();
  return copy;
}

template <class T>
pybind11::array_t<T> ToArray(const std::vector<T> &values) {
  return CopyToArray({static_cast<pybind11::ssize_t>(values.size())}, values.data());
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BINDINGS_ARRAYS_H_
