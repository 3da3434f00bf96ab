/* The table of drivers, as the worker sees it. */
#ifndef ASALEED_DRIVERS_H
#define ASALEED_DRIVERS_H

#include <asalee/driver.h>

#define DRIVERS_MAX 256 /* a longer table, or match table, has lost its end */
#define MATCHES_MAX 64
#define DRIVERS_WHY_MAX 256

/* Checks every row of a table: 0, or -EINVAL with an English reason that names the driver. */
int drivers_check(const struct acq_driver *const *table, char why[static DRIVERS_WHY_MAX]);

/* By name, or NULL. */
const struct acq_driver *drivers_find(const struct acq_driver *const *table, const char *name);

/* A driver of files that leaves the taking to the worker (driver.h). */
bool drivers_takes_whole_file(const struct acq_driver *driver);

/* True when the driver's match table has a row for that bus. */
bool drivers_has_bus(const struct acq_driver *driver, enum acq_bus bus);

#endif
