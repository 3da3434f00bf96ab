#ifndef ASALEED_PEER_BIOSIG_H
#define ASALEED_PEER_BIOSIG_H

#include <stddef.h>

/* Opens the file, reads all of it into physical values, closes it: how many values, 0 when it cannot. There only where
 * libbiosig-dev is. */
size_t peer_biosig(const char *path) __attribute__((weak));

#endif
