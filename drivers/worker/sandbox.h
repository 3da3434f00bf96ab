/* The walls around a worker and around a collector. After sandbox_enter() the process can use the descriptors it has,
 * memory and the clock: no file, no socket, no program, no child, no other device. A refused call fails with EPERM. */
#ifndef ASALEED_SANDBOX_H
#define ASALEED_SANDBOX_H

#include <asalee/driver.h>

#define SANDBOX_FILE_MAX (400u << 20) /* the longest file that may grow: the memfds, blobs, or what stdout goes to */
#define SANDBOX_MEMORY_MAX (1ul << 30)

/* Resource limits, no core dump, not traceable, no new privileges; before anything is opened. */
int sandbox_limit(uint32_t cpu_seconds);

/* For good. `bus` gives the ioctls that its transport still needs; 0 for none. Logs when the kernel has no Landlock.
 * Returns 0, or a negative errno: then nothing that a device said may be looked at. */
int sandbox_enter(enum acq_bus bus);

/* For good, for a collector: beneath the folder `tree` it can list and read, in the folder `incoming` make, write and
 * remove files, and it can watch for changes. Without Landlock only the second folder is held to: reading is then as
 * free as the user is. */
int sandbox_enter_collect(int tree, int incoming);

#endif
