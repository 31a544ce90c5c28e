#include "csrc/base/mapped-file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr std::string_view kGitLfsMagic = "version https://git-lfs.github.com/spec/";
constexpr std::string_view kGzipMagic = "\x1f\x8b";

// What a file is that only takes the place of a file of a model; null for all others.
const char *FindSubstitute(std::string_view content) {
  if (content.substr(0, kGitLfsMagic.size()) == kGitLfsMagic) {
    return "a Git LFS pointer to it; run 'git lfs pull' in the repository that it comes from";
  }
  if (content.substr(0, kGzipMagic.size()) == kGzipMagic) return "gzip data; unpack it (gunzip)";
  return nullptr;
}

// Closes the descriptor at the end of the scope; a mapping outlives it.
struct Descriptor {
  explicit Descriptor(const std::string &path) : value(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (value < 0) throw FileError(path, errno);
  }
  ~Descriptor() { close(value); }
  int value;
};

}  // namespace

MappedFile::MappedFile(const std::string &path) : path_(path) {
  Descriptor file(path);
  struct stat status;
  if (fstat(file.value, &status) != 0) throw FileError(path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw ModelFormatError(path + ": expected a regular file, found " +
                           (S_ISDIR(status.st_mode) ? "a directory" : "a pipe, socket or device"));
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  void *mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.value, 0);
  if (mapped == MAP_FAILED) throw FileError(path, errno);
  data_ = static_cast<char *>(mapped);
  if (const char *found = FindSubstitute({data_, size_})) {
    munmap(data_, size_);
    throw ModelFormatError(path + ": expected a file of a model, found " + found);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace pykaldi
