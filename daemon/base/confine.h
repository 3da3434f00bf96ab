/* The walls that every process of ours puts around itself before it looks at bytes that somebody else chose: resource
 * limits, and Landlock, without any rule or with a few folders. What calls remain is each program's own matter (its
 * seccomp filter). */
#ifndef ASALEED_CONFINE_H
#define ASALEED_CONFINE_H

#include <stddef.h>
#include <stdint.h>

struct confine_limits {
  uint32_t cpu_seconds, descriptors;
  uint64_t file_max, memory_max; /* bytes: the longest file that may grow, and all memory */
};

/* Resource limits, no core dump, not traceable, no child, no new privileges; a write past file_max fails with EFBIG.
 * 0 or a negative errno. */
int confine_limit(const struct confine_limits *limits);

/* For good: no file, and where the kernel can, no TCP, no abstract socket and no signal to others. Logs a warning when
 * the kernel has no Landlock. 0 or a negative errno. */
int confine_files(void);

/* The same, but for what lies beneath these folders. */
struct confine_folder {
  int fd;                                      /* of the folder, open; stays the caller's */
  enum { CONFINE_READ, CONFINE_WRITE } rights; /* list and read; or make, write and remove files, but read none */
};
int confine_to(const struct confine_folder *folders, size_t n);

#endif
