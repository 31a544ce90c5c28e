// Reads and writes OpenFst files of standard arcs.
//
//   const   mapped and used in place; any alignment (versions 1 and 2)
//   vector  for each state float final cost, int64 number of arcs, and the arcs; read into memory. Without a
//           number of states in the header (-1: it was written to a pipe), the states go on to the end
//
// Sources: const-fst.h and vector-fst.h in OpenFst.
#ifndef PYKALDI_SERVER_FST_FST_IO_H_
#define PYKALDI_SERVER_FST_FST_IO_H_

#include <memory>
#include <ostream>
#include <string>

#include "csrc/fst/const-fst.h"

namespace pykaldi {

// Reads a file; throws FileError or ModelFormatError.
std::shared_ptr<ConstFst> ReadFst(const std::string &path);

// Reads an FST within a file, and moves the reader to its end.
std::shared_ptr<ConstFst> ReadFst(ByteReader *reader, std::shared_ptr<const MappedFile> file);

// The same, when the header has been read already.
std::shared_ptr<ConstFst> ReadFst(const FstHeader &header, ByteReader *reader,
                                  std::shared_ptr<const MappedFile> file);

enum class FstFormat { kConst, kAlignedConst, kVector };

// Writes a file; throws FileError.
void WriteFst(const ConstFst &fst, const std::string &path, FstFormat format);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_FST_IO_H_
