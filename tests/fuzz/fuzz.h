/* Fuzz targets: one per file, each with libFuzzer's entry point. Two ways to build one:
 *   with clang's -fsanitize=fuzzer, to search;
 *   with standalone.c, to run a corpus and a fixed number of mutations of it in the normal suite.
 * no_io.c stands for the worker: nothing here may talk to an instrument. A target ends the program when something that
 * must hold does not. */
#ifndef ASALEED_FUZZ_H
#define ASALEED_FUZZ_H

#include "buf.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The i-th input that a file of the corpus folders gives; file = NULL asks for those that need no file. False when
 * there is none; a target may skip a file that does not suit it. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret);

#define FUZZ_CHECK(claim)                                                        \
  do {                                                                           \
    if (!(claim)) {                                                              \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #claim); \
      abort();                                                                   \
    }                                                                            \
  } while (0)

#endif
