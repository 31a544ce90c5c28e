#include <cerrno>
#include <exception>
#include <string_view>

#include "bindings/bindings.h"
#include "csrc/base/error.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Paths need not be UTF-8; Python shows their other bytes as it shows them elsewhere.
void Raise(const char *name, const std::exception &e) {
  const py::object type = py::module_::import("pykaldi_server.errors").attr(name);
  const std::string_view text = e.what();
  const auto decoded = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
  if (decoded) PyErr_SetObject(type.ptr(), decoded.ptr());
}

}  // namespace

void BindErrors(py::module_ &) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const ModelFormatError &e) {
      Raise("ModelFormatError", e);
    } catch (const FileError &e) {
      errno = e.Code();
      PyErr_SetFromErrnoWithFilename(PyExc_OSError, e.Path().c_str());
    } catch (const DecoderError &e) {
      Raise("DecoderError", e);
    } catch (const LatticeError &e) {
      Raise("LatticeError", e);
    } catch (const ConfigError &e) {
      Raise("ConfigError", e);
    }
  });
}

}  // namespace pykaldi
