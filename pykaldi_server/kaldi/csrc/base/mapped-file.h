// A whole file mapped into memory, read only. The pages are shared by all processes that map the file, and
// are read from disk when they are first touched.
#ifndef PYKALDI_SERVER_BASE_MAPPED_FILE_H_
#define PYKALDI_SERVER_BASE_MAPPED_FILE_H_

#include <cstddef>
#include <string>

namespace pykaldi {

class MappedFile {
 public:
  // Throws FileError when the file cannot be opened, ModelFormatError when it is not a regular file, is
  // packed, or is a Git LFS pointer.
  explicit MappedFile(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  const char *Data() const { return data_; }
  size_t Size() const { return size_; }
  const std::string &Path() const { return path_; }

 private:
  std::string path_;
  char *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_MAPPED_FILE_H_
