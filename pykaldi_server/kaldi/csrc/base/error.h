// Errors that the core throws; bindings/errors.cc turns each into the Python class of the same name.
#ifndef PYKALDI_SERVER_BASE_ERROR_H_
#define PYKALDI_SERVER_BASE_ERROR_H_

#include <cstdint>
#include <stdexcept>
#include <string>

namespace pykaldi {

// A file or a buffer is damaged, or of another kind than expected.
class ModelFormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  ModelFormatError(const std::string &path, int64_t offset, const std::string &expected,
                   const std::string &found)
      : std::runtime_error(path + ": at byte " + std::to_string(offset) + ": expected " + expected +
                           ", found " + found) {}
};

// A file cannot be opened or written; becomes Python's OSError (FileNotFoundError, PermissionError, ...).
class FileError : public std::runtime_error {
 public:
  // `code` is the errno of the call that failed.
  FileError(const std::string &path, int code)
      : std::runtime_error(path + ": error " + std::to_string(code)), path_(path), code_(code) {}

  const std::string &Path() const { return path_; }
  int Code() const { return code_; }

 private:
  std::string path_;
  int code_;
};

// An object was used in an order, or from several threads at once, in a way that it does not allow.
class DecoderError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A lattice is not what an operation needs: cyclic, empty, or made with another model.
class LatticeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An option is invalid.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_ERROR_H_
