#include "csrc/base/output-file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

// A name that no other writer of this path uses at the moment.
std::string PartialName(const std::string &path) {
  static std::atomic<int> num_files{0};
  return path + ".partial-" + std::to_string(getpid()) + "-" + std::to_string(num_files++);
}

std::string WithoutLinks(const std::string &path) {
  char *resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  const std::string result(resolved);
  std::free(resolved);
  return result;
}

bool IsSpecial(const std::string &path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

}  // namespace

OutputFile::OutputFile(const std::string &path)
    : path_(path), target_(WithoutLinks(path)), written_(IsSpecial(path) ? path : PartialName(target_)) {
  stream_.open(written_, std::ios::binary);
  if (!stream_) throw FileError(path_, errno);
}

OutputFile::~OutputFile() {
  if (is_committed_ || written_ == path_) return;
  stream_.close();
  unlink(written_.c_str());
}

void OutputFile::Commit() {
  errno = 0;
  stream_.close();
  if (!stream_) throw FileError(path_, errno != 0 ? errno : EIO);
  if (written_ != path_ && std::rename(written_.c_str(), target_.c_str()) != 0) throw FileError(path_, errno);
  is_committed_ = true;
}

}  // namespace pykaldi
