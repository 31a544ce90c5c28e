#include <cerrno>
#include <exception>

#include "bindings/bindings.h"
#include "csrc/base/error.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

void Raise(const char *name, const std::exception &e) {
  py::object type = py::module_::import("pykaldi_server.errors").attr(name);
  PyErr_SetString(type.ptr(), e.what());
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
