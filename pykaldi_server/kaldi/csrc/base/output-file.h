// A file that is written under another name in the same folder, and takes its own when it is complete. So
// nobody sees a part of it, and a file of that name which is mapped, perhaps by the object that is being
// written, stays as it is for whoever has mapped it: a mapped file that is truncated ends the process
// (SIGBUS).
#ifndef PYKALDI_SERVER_BASE_OUTPUT_FILE_H_
#define PYKALDI_SERVER_BASE_OUTPUT_FILE_H_

#include <fstream>
#include <ostream>
#include <string>

namespace pykaldi {

class OutputFile {
 public:
  // Throws FileError when the file cannot be made. What is there and is not a regular file, such as a pipe,
  // is written as it is.
  explicit OutputFile(const std::string &path);
  // Removes what was written, unless it was committed.
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  std::ostream &Stream() { return stream_; }
  // Ends writing and gives the file its name. Throws FileError when something could not be written.
  void Commit();

 private:
  const std::string path_;  // as the caller named it
  std::string target_;      // where the file is in the end: symbolic links are followed
  std::string written_;     // where it is written
  std::ofstream stream_;
  bool is_committed_ = false;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_OUTPUT_FILE_H_
