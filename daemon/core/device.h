/* The instruments of the site: which are declared (devices.d, or ids of a driver that need no declaration), which are
 * plugged in now (sd-device, live), which driver speaks to each. Nothing here opens a node: only a worker does, for an
 * order. */
#ifndef ASALEED_DEVICE_H
#define ASALEED_DEVICE_H

#include "conf.h"
#include "json.h"
#include <asalee/driver.h>
#include <systemd/sd-event.h>

#define DRIVERS_MAX 64
#define ADAPTERS_MAX 64
#define MATCHES_MAX 16

/* A row of "asaleed-driver list --json". */
struct driver_info {
  char name[ACQ_TEXT_MAX], version[ACQ_TEXT_MAX], label[128];
  char maturity[16], integrity[16];
  unsigned modalities; /* ACQ_MODALITY(...) */
  uint32_t max_seconds, default_seconds, grace_ms;
  struct {
    enum acq_bus bus;
    uint16_t vendor, product;
    uint8_t usb_class;
    bool generic, flat;
    char pattern[ACQ_TEXT_MAX]; /* of files */
  } match[MATCHES_MAX];
  unsigned n_match;
};

struct device {
  struct conf_device conf;
  char node[CONF_TEXT_MAX];   /* "" = not plugged in */
  char serial[CONF_TEXT_MAX]; /* of the adapter, as plugged in last */
  char port[CONF_TEXT_MAX];
  bool gone;           /* its folder could not be gone through */
  bool ambiguous;      /* several adapters fit: none is used */
  int64_t acquisition; /* what it is busy with, 0 = free */
};

struct devices;

int devices_open(sd_event *event, const struct conf *conf, struct devices **ret);
void devices_close(struct devices *d);

/* Runs "asaleed-driver list --json". Without `event` waits for it (--check-config); with it, returns at once: start-up
 * never waits for a driver, and until the answer is there devices_driver() finds nothing; then `loaded` is called.
 */
int devices_load_drivers(struct devices *d, sd_event *event, void (*loaded)(void *arg), void *arg);

struct device *devices_find(struct devices *d, const char *id);
const struct driver_info *devices_driver(const struct devices *d, const char *name);
/* The i-th driver; NULL past the last. */
const struct driver_info *devices_driver_at(const struct devices *d, unsigned i);
/* The driver reads files. */
bool driver_of_files(const struct driver_info *driver);
/* The i-th device; NULL past the last. */
struct device *devices_at(struct devices *d, unsigned i);
/* The folder of an instrument that leaves files was gone through, or is not there (NULL). */
void device_set_folder(struct device *device, const char *folder);
/* The block device of this name is a file system on a stick that the site declares for this device. */
bool device_is_on_media(const struct device *device, const char *name);

/* An acquisition runs on its node, under this name or another that is declared for the same adapter. */
bool device_is_busy(const struct devices *d, const struct device *device);
/* The bus the worker opens the device by. */
enum acq_bus device_bus(const struct devices *d, const struct device *device);

unsigned devices_count(const struct devices *d, unsigned *ret_present);
int devices_json(const struct devices *d, json_t **ret);         /* an array: GET /v1/devices */
int devices_drivers_json(const struct devices *d, json_t **ret); /* an array: GET /v1/drivers */

/* Each declared device names a driver that exists; prints "file:line: message" for those that do not. */
int devices_check(const struct devices *d);

#endif
