/* A capture in a file, for developers' eyes and for tests; its blobs are files named by their SHA-256 in the folder
 * "blobs" beside it. */
#ifndef ASALEED_CAPTURE_FILE_H
#define ASALEED_CAPTURE_FILE_H

#include "buf.h"

/* The whole text, and the bytes of all its blobs one after the other; *text and *blobs are the caller's (BUF_INIT is
 * done here). A negative errno; `why` gets the name of the file that could not be read. */
int capture_file_read(const char *path, struct buf *text, struct buf *blobs, char why[static 512]);

/* Reads a file of at most max bytes behind what is in *ret. */
int file_read(const char *path, struct buf *ret);

#endif
