/* The subcommands of asaleed-driver. Each returns the program's exit status: 0 well, 1 a failure that was said, 2 wrong
 * arguments. */
#ifndef ASALEED_COMMANDS_H
#define ASALEED_COMMANDS_H

#include <asalee/driver.h>

/* One acquisition, or one decode, for the daemon: wire.h. Ends the process. */
_Noreturn void command_run(const struct acq_driver *const *table);

/* Copies the files of a tree for the daemon: wire.h, "A collector". Ends the process. */
_Noreturn void command_collect(void);

int command_list(const struct acq_driver *const *table, bool json);
int command_udev(const struct acq_driver *const *table);

struct decode_options {
  const char *driver, *file;
  bool raw, samples;
};
int command_decode(const struct acq_driver *const *table, const struct decode_options *options);

#endif
