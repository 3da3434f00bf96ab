/* libbiosig's reading of a file, for file_rate: built and linked only where libbiosig-dev is installed. */
#include "peer_biosig.h"

#include <biosig.h>

size_t peer_biosig(const char *path) {
  HDRTYPE *header = sopen(path, "r", NULL);
  size_t values = 0;
  if (header && !serror2(header)) {
    sread(NULL, 0, (size_t)header->NRec, header);
    values = header->data.size[0] * header->data.size[1];
  }
  sclose(header);
  destructHDR(header);
  return values;
}
