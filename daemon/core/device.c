#include "device.h"

#include "buf.h"
#include "child.h"
#include "log.h"
#include "str.h"
#include <asalee/record.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-device.h>
#include <unistd.h>

#define CATALOGUE_MAX (1u << 20)

/* A tty or a USB device that is plugged in now, declared or not. */
struct adapter {
  enum acq_bus bus;
  char syspath[CONF_PATH_MAX];
  char node[CONF_TEXT_MAX], serial[CONF_TEXT_MAX], port[CONF_TEXT_MAX], id_path[CONF_TEXT_MAX];
  uint16_t vendor, product;       /* 0 when it is no USB adapter */
  char interfaces[CONF_TEXT_MAX]; /* udev's ID_USB_INTERFACES, ":0f0000:080650:" */
};

struct devices {
  struct device *list;
  unsigned n;
  struct driver_info drivers[DRIVERS_MAX];
  unsigned n_drivers;
  json_t *catalogue; /* as the worker program printed it */
  struct adapter adapters[ADAPTERS_MAX];
  unsigned n_adapters;
  sd_device_monitor *monitor;
  char driver_program[CONF_PATH_MAX];
  void (*loaded)(void *arg); /* the catalogue is there */
  void *loaded_arg;
  struct buf output; /* of the running "asaleed-driver list" */
  sd_event_source *output_source;
  int output_fd;
  pid_t pid;
};

/* ---- hot-plug ---- */

static void text_of(char *field, size_t size, const char *value) {
  if (!value || !str_copy(field, size, value) || !str_is_clean_utf8(field, strlen(field)))
    field[0] = 0;
}

static uint16_t usb_id(sd_device *parent, const char *name) {
  const char *text;
  uint8_t id[2];
  if (sd_device_get_sysattr_value(parent, name, &text) < 0 || strlen(text) != 4 || !str_unhex(text, id, 2))
    return 0;
  return (uint16_t)(id[0] << 8 | id[1]);
}

#define HUB_CLASS "09"

/* The USB device that this is, or that it hangs on; NULL when there is none. */
static sd_device *usb_device(sd_device *dev, enum acq_bus bus) {
  sd_device *parent;
  return bus == ACQ_USB                                                                        ? dev
         : sd_device_get_parent_with_subsystem_devtype(dev, "usb", "usb_device", &parent) >= 0 ? parent
                                                                                               : NULL;
}

static bool adapter_read(sd_device *dev, struct adapter *ret) {
  struct adapter a = {0};
  const char *syspath, *node, *subsystem, *value = NULL;
  if (sd_device_get_subsystem(dev, &subsystem) < 0)
    return false;
  a.bus = strcmp(subsystem, "usb") ? ACQ_SERIAL : ACQ_USB;
  if (a.bus == ACQ_USB && sd_device_get_sysattr_value(dev, "bDeviceClass", &value) >= 0 && !strcmp(value, HUB_CLASS))
    return false;
  if (sd_device_get_syspath(dev, &syspath) < 0 || sd_device_get_devname(dev, &node) < 0 ||
      !str_copy(a.syspath, sizeof a.syspath, syspath) || !str_copy(a.node, sizeof a.node, node))
    return false;
  if (sd_device_get_property_value(dev, "ID_PATH", &value) >= 0)
    text_of(a.id_path, sizeof a.id_path, value);
  if (sd_device_get_property_value(dev, "ID_USB_INTERFACES", &value) >= 0)
    text_of(a.interfaces, sizeof a.interfaces, value);
  sd_device *parent = usb_device(dev, a.bus);
  if (parent) {
    a.vendor = usb_id(parent, "idVendor");
    a.product = usb_id(parent, "idProduct");
    if (sd_device_get_sysattr_value(parent, "serial", &value) >= 0)
      text_of(a.serial, sizeof a.serial, value);
    if (sd_device_get_sysname(parent, &value) >= 0)
      text_of(a.port, sizeof a.port, value);
  }
  *ret = a;
  return true;
}

/* Every part that the declaration gives must fit. An adapter of a serial instrument is also a USB device of its own:
 * the driver's bus says which of the two is meant. */
static bool adapter_is(const struct adapter *a, enum acq_bus bus, const struct conf_device *c) {
  return a->bus == bus && (!c->usb_serial[0] || !strcmp(c->usb_serial, a->serial)) &&
         (!c->port[0] || !strcmp(c->port, a->port) || !strcmp(c->port, a->id_path)) &&
         (!c->node[0] || !strcmp(c->node, a->node));
}

static void devices_bind(struct devices *d) {
  for (unsigned i = 0; i < d->n; i++) {
    struct device *dev = &d->list[i];
    const struct adapter *found = NULL;
    unsigned matches = 0;
    if (dev->conf.folder[0]) /* who goes through it says whether it is there */
      continue;
    for (unsigned k = 0; k < d->n_adapters; k++)
      if (adapter_is(&d->adapters[k], dev->conf.stick ? ACQ_USB : device_bus(d, dev), &dev->conf) && !matches++)
        found = &d->adapters[k];
    /* Two adapters with one serial number: an order for one room must not read the other's patient. */
    if (matches > 1) {
      if (!dev->ambiguous)
        log_error("device %s: %u adapters fit its declaration: unplug one, or tell them apart by port", dev->conf.id,
                  matches);
      found = NULL;
    }
    dev->ambiguous = matches > 1;
    bool was = dev->node[0] != 0;
    text_of(dev->node, sizeof dev->node, found ? found->node : "");
    if (found) {
      text_of(dev->serial, sizeof dev->serial, found->serial);
      text_of(dev->port, sizeof dev->port, found->port);
    }
    if (was != (found != NULL))
      log_notice("device %s: %s%s", dev->conf.id, found ? "plugged in at " : "unplugged", dev->node);
  }
}

static void adapter_remove(struct devices *d, const char *syspath) {
  for (unsigned i = 0; i < d->n_adapters; i++)
    if (!strcmp(d->adapters[i].syspath, syspath)) {
      d->adapters[i] = d->adapters[--d->n_adapters];
      return;
    }
}

/* The kernel may move a device (a Bluetooth port when it connects): its node is the same, its path another. */
static void adapter_add(struct devices *d, const struct adapter *a) {
  adapter_remove(d, a->syspath);
  for (unsigned i = 0; i < d->n_adapters; i++)
    if (!strcmp(d->adapters[i].node, a->node))
      d->adapters[i--] = d->adapters[--d->n_adapters];
  if (d->n_adapters == ADAPTERS_MAX)
    log_warning("devices: more than %d serial ports and USB devices, %s is not watched", ADAPTERS_MAX, a->node);
  else
    d->adapters[d->n_adapters++] = *a;
}

static int on_uevent(sd_device_monitor *monitor, sd_device *dev, void *arg) {
  (void)monitor;
  struct devices *d = arg;
  sd_device_action_t action;
  struct adapter a;
  const char *syspath;
  if (sd_device_get_action(dev, &action) < 0 || sd_device_get_syspath(dev, &syspath) < 0)
    return 0;
  if (action == SD_DEVICE_REMOVE)
    adapter_remove(d, syspath);
  else if (adapter_read(dev, &a))
    adapter_add(d, &a);
  devices_bind(d);
  return 0;
}

/* Not a virtual console, of which /sys/class/tty lists 64: they have no device behind them. Nor has a Bluetooth port
 * that is not connected: it is one when a declaration names it. Not an interface of a USB device. */
static bool is_candidate(const struct devices *d, sd_device *dev) {
  const char *subsystem = "", *devtype = "", *node = "";
  sd_device *parent;
  sd_device_get_subsystem(dev, &subsystem);
  sd_device_get_devtype(dev, &devtype);
  if (!strcmp(subsystem, "usb"))
    return !strcmp(devtype, "usb_device");
  if (sd_device_get_parent(dev, &parent) >= 0)
    return true;
  sd_device_get_devname(dev, &node);
  for (unsigned i = 0; i < d->n; i++)
    if (!strcmp(d->list[i].conf.node, node))
      return true;
  return false;
}

static int devices_scan(struct devices *d) {
  sd_device_enumerator *e = NULL;
  int r = sd_device_enumerator_new(&e);
  if (r >= 0)
    r = sd_device_enumerator_allow_uninitialized(e);
  if (r >= 0)
    r = sd_device_enumerator_add_match_subsystem(e, "tty", true);
  if (r >= 0)
    r = sd_device_enumerator_add_match_subsystem(e, "usb", true);
  for (sd_device *dev = r < 0 ? NULL : sd_device_enumerator_get_device_first(e); dev;
       dev = sd_device_enumerator_get_device_next(e)) {
    struct adapter a;
    if (is_candidate(d, dev) && adapter_read(dev, &a))
      adapter_add(d, &a);
  }
  sd_device_enumerator_unref(e);
  devices_bind(d);
  return r < 0 ? r : 0;
}

int devices_open(sd_event *event, const struct conf *conf, struct devices **ret) {
  struct devices *d = calloc(1, sizeof *d);
  if (!d)
    return -ENOMEM;
  d->output_fd = -1;
  d->n = conf->n_devices;
  d->list = calloc(d->n ? d->n : 1, sizeof *d->list);
  if (!d->list) {
    free(d);
    return -ENOMEM;
  }
  str_copy(d->driver_program, sizeof d->driver_program, conf->driver_program);
  for (unsigned i = 0; i < d->n; i++)
    d->list[i].conf = conf->devices[i];
  int r = 0;
  if (event) {
    /* The monitor runs before the scan, so that nothing plugged in between is missed. */
    r = sd_device_monitor_new(&d->monitor);
    if (r >= 0)
      r = sd_device_monitor_filter_add_match_subsystem_devtype(d->monitor, "tty", NULL);
    if (r >= 0)
      r = sd_device_monitor_filter_add_match_subsystem_devtype(d->monitor, "usb", "usb_device");
    if (r >= 0)
      r = sd_device_monitor_attach_event(d->monitor, event);
    if (r >= 0)
      r = sd_device_monitor_start(d->monitor, on_uevent, d);
    if (r >= 0)
      r = devices_scan(d);
  }
  if (r < 0) {
    devices_close(d);
    return log_errno(LOG_ERROR, r, "devices: cannot watch for instruments");
  }
  *ret = d;
  return 0;
}

void devices_close(struct devices *d) {
  if (!d)
    return;
  sd_device_monitor_unref(d->monitor);
  sd_event_source_disable_unref(d->output_source);
  fd_finish(&d->output_fd);
  if (d->pid > 0)
    kill(d->pid, SIGKILL);
  buf_finish(&d->output);
  json_decref(d->catalogue);
  free(d->list);
  free(d);
}

/* ---- the drivers ---- */

static int driver_read(const json_t *j, struct driver_info *ret) {
  struct driver_info i = {0};
  int64_t max, normal, grace, v;
  const json_t *matches = json_object_get(j, "match"), *modalities = json_object_get(j, "modalities"), *m;
  const struct {
    const char *key;
    char *field;
    size_t size;
  } texts[] = {
      {"name", i.name, sizeof i.name},
      {"version", i.version, sizeof i.version},
      {"label", i.label, sizeof i.label},
      {"maturity", i.maturity, sizeof i.maturity},
      {"integrity", i.integrity, sizeof i.integrity},
  };
  for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
    const char *text = json_text(j, texts[k].key);
    if (!text || !str_copy(texts[k].field, texts[k].size, text))
      return -EPROTO;
  }
  const json_t *limits = json_object_get(j, "limits");
  if (json_int(limits, "max_seconds", 1, 86400, &max) < 0 || json_int(limits, "default_seconds", 1, max, &normal) < 0 ||
      json_int(limits, "grace_ms", 1, 600000, &grace) < 0 || json_array_size(matches) > MATCHES_MAX)
    return -EPROTO;
  i.max_seconds = (uint32_t)max;
  i.default_seconds = (uint32_t)normal;
  i.grace_ms = (uint32_t)grace;
  size_t k;
  json_array_foreach(modalities, k, m) {
    enum acq_modality modality = json_is_string(m) ? acq_modality_find(json_string_value(m)) : 0;
    if (!modality)
      return -EPROTO;
    i.modalities |= ACQ_MODALITY(modality);
  }
  json_array_foreach(matches, k, m) {
    const char *bus = json_text(m, "bus");
    for (enum acq_bus b = ACQ_SERIAL; bus && b <= ACQ_FILE; b++)
      if (!strcmp(bus, acq_bus_name(b)))
        i.match[k].bus = b;
    i.match[k].generic = json_is_true(json_object_get(m, "generic"));
    i.match[k].flat = json_is_true(json_object_get(m, "flat"));
    const char *pattern = json_text(m, "pattern");
    if (!pattern || !str_copy(i.match[k].pattern, sizeof i.match[k].pattern, pattern))
      return -EPROTO;
    if (json_int(m, "vendor", 0, UINT16_MAX, &v) == 0)
      i.match[k].vendor = (uint16_t)v;
    if (json_int(m, "product", 0, UINT16_MAX, &v) == 0)
      i.match[k].product = (uint16_t)v;
    if (json_int(m, "class", 0, UINT8_MAX, &v) == 0)
      i.match[k].usb_class = (uint8_t)v;
    if (!i.match[k].bus)
      return -EPROTO;
    i.n_match++;
  }
  *ret = i;
  return 0;
}

static int catalogue_read(struct devices *d) {
  json_error_t error;
  _json_cleanup_ json_t *list = json_loadb((const char *)d->output.data, d->output.len, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_array(list) || json_array_size(list) > DRIVERS_MAX) {
    log_error("drivers: %s list --json does not answer with a list", d->driver_program);
    return -EPROTO;
  }
  size_t k;
  json_t *item;
  d->n_drivers = 0;
  json_array_foreach(list, k, item) {
    if (driver_read(item, &d->drivers[d->n_drivers]) < 0) {
      log_error("drivers: %s is of another version: row %zu is not understood", d->driver_program, k);
      return -EPROTO;
    }
    d->n_drivers++;
  }
  json_decref(d->catalogue);
  d->catalogue = json_incref(list);
  return 0;
}

/* 1 while there may be more, 0 when the catalogue is read. */
static int catalogue_more(struct devices *d) {
  char bytes[16384];
  ssize_t n = read(d->output_fd, bytes, sizeof bytes);
  if (n < 0)
    return errno == EAGAIN || errno == EINTR ? 1 : -errno;
  if (n > 0)
    return buf_add(&d->output, bytes, (size_t)n) < 0 ? d->output.err : 1;
  /* In this order: a copy of this process that has just been made may still have the pipe, and what is closed before it
   * is taken out goes on waking the loop as long as anybody has it. */
  d->output_source = sd_event_source_disable_unref(d->output_source);
  fd_finish(&d->output_fd);
  siginfo_t info = {0};
  waitid(P_PID, (id_t)d->pid, &info, WEXITED); /* it has closed its output: it is ending */
  d->pid = 0;
  int r = catalogue_read(d);
  buf_finish(&d->output);
  return r;
}

static int on_catalogue(sd_event_source *source, int fd, uint32_t revents, void *arg) {
  (void)source;
  (void)fd;
  (void)revents;
  struct devices *d = arg;
  int r = catalogue_more(d);
  if (r <= 0) {
    d->output_source = sd_event_source_disable_unref(d->output_source);
    if (r == 0) {
      devices_bind(d); /* now it is known on which bus each instrument is */
      devices_check(d);
      d->loaded(d->loaded_arg);
    } else
      log_errno(LOG_ERROR, r, "drivers: cannot read the list of drivers; no acquisition is possible");
  }
  return 0;
}

int devices_load_drivers(struct devices *d, sd_event *event, void (*loaded)(void *arg), void *arg) {
  int pipe_fd[2];
  d->loaded = loaded;
  d->loaded_arg = arg;
  if (pipe2(pipe_fd, O_CLOEXEC | (event ? O_NONBLOCK : 0)) < 0)
    return -errno;
  d->output = BUF_INIT(CATALOGUE_MAX);
  d->output_fd = pipe_fd[0];
  _fd_cleanup_ int out = pipe_fd[1];
  static const char *const args[] = {"list", "--json", NULL};
  int r = child_spawn(d->driver_program, args, out, NULL, 0, &d->pid);
  fd_finish(&out);
  if (r < 0)
    return log_errno(LOG_ERROR, r, "drivers: cannot run %s", d->driver_program);
  if (event) {
    r = sd_event_add_io(event, &d->output_source, d->output_fd, EPOLLIN, on_catalogue, d);
    return r < 0 ? r : 0;
  }
  while ((r = catalogue_more(d)) > 0)
    ;
  return r;
}

const struct driver_info *devices_driver(const struct devices *d, const char *name) {
  for (unsigned i = 0; i < d->n_drivers; i++)
    if (!strcmp(d->drivers[i].name, name))
      return &d->drivers[i];
  return NULL;
}

const struct driver_info *devices_driver_at(const struct devices *d, unsigned i) {
  return i < d->n_drivers ? &d->drivers[i] : NULL;
}

bool driver_of_files(const struct driver_info *driver) {
  return driver->n_match && driver->match[0].bus == ACQ_FILE;
}

struct device *devices_at(struct devices *d, unsigned i) {
  return i < d->n ? &d->list[i] : NULL;
}

void device_set_folder(struct device *device, const char *folder) {
  text_of(device->node, sizeof device->node, folder ? folder : "");
  device->gone = !folder;
}

bool device_is_on_media(const struct device *device, const char *name) {
  sd_device *dev = NULL;
  struct adapter a = {.bus = ACQ_USB};
  const char *value = NULL;
  bool is = false;
  if (!device->conf.stick || sd_device_new_from_subsystem_sysname(&dev, "block", name) < 0)
    return false;
  sd_device *parent = usb_device(dev, ACQ_SERIAL);
  if (parent) {
    if (sd_device_get_property_value(dev, "ID_PATH", &value) >= 0)
      text_of(a.id_path, sizeof a.id_path, value);
    if (sd_device_get_sysattr_value(parent, "serial", &value) >= 0)
      text_of(a.serial, sizeof a.serial, value);
    if (sd_device_get_sysname(parent, &value) >= 0)
      text_of(a.port, sizeof a.port, value);
    is = adapter_is(&a, ACQ_USB, &device->conf);
  }
  sd_device_unref(dev);
  return is;
}

/* What a declaration of an instrument that leaves files needs besides. */
static const char *check_files(const struct conf_device *c, const struct driver_info *driver) {
  const bool by_files = c->folder[0] || c->stick;
  if (driver_of_files(driver) != by_files)
    return by_files ? "has a folder or a stick, but its driver reads no files"
                    : "reads files: it needs \"folder = PATH\", or \"stick = yes\" with usb-serial or port";
  return NULL;
}

int devices_check(const struct devices *d) {
  int r = 0;
  for (unsigned i = 0; i < d->n; i++) {
    const struct conf_device *c = &d->list[i].conf;
    const struct driver_info *driver = devices_driver(d, c->driver);
    const char *wrong = driver ? check_files(c, driver) : NULL;
    if (!driver)
      log_error("%s: [device %s] names the driver %s, which does not exist (asaleectl drivers)", c->where, c->id,
                c->driver);
    else if (wrong)
      log_error("%s: [device %s] %s", c->where, c->id, wrong);
    if (!driver || wrong)
      r = -EINVAL;
  }
  return r;
}

struct device *devices_find(struct devices *d, const char *id) {
  for (unsigned i = 0; i < d->n; i++)
    if (!strcmp(d->list[i].conf.id, id))
      return &d->list[i];
  return NULL;
}

bool device_is_busy(const struct devices *d, const struct device *device) {
  for (unsigned i = 0; i < d->n; i++)
    if (d->list[i].acquisition && (&d->list[i] == device || !strcmp(d->list[i].node, device->node)))
      return true;
  return false;
}

enum acq_bus device_bus(const struct devices *d, const struct device *device) {
  const struct driver_info *driver = devices_driver(d, device->conf.driver);
  return driver && driver->n_match ? driver->match[0].bus : ACQ_SERIAL;
}

unsigned devices_count(const struct devices *d, unsigned *ret_present) {
  *ret_present = 0;
  for (unsigned i = 0; i < d->n; i++)
    *ret_present += d->list[i].node[0] != 0;
  return d->n;
}

static bool match_fits(const struct driver_info *driver, unsigned k, const struct adapter *a) {
  char class[8];
  snprintf(class, sizeof class, ":%02x", driver->match[k].usb_class);
  if (!a->vendor || driver->match[k].bus != a->bus || (!driver->match[k].vendor && !driver->match[k].usb_class))
    return false;
  return (!driver->match[k].vendor ||
          (driver->match[k].vendor == a->vendor && driver->match[k].product == a->product)) &&
         (!driver->match[k].usb_class || strstr(a->interfaces, class));
}

static json_t *modalities_json(const struct driver_info *driver) {
  json_t *list = json_array();
  for (enum acq_modality m = ACQ_ECG; driver && m <= ACQ_MEASUREMENT; m++)
    if (driver->modalities & ACQ_MODALITY(m))
      json_array_append_new(list, json_string(acq_modality_name(m)));
  return list;
}

/* A plugged-in adapter that no device declares but a driver could speak through. */
static json_t *unbound_json(const struct devices *d, const struct adapter *a) {
  for (unsigned i = 0; i < d->n; i++)
    if (!strcmp(d->list[i].node, a->node))
      return NULL;
  for (unsigned i = 0; i < d->n_drivers; i++)
    for (unsigned k = 0; k < d->drivers[i].n_match; k++) {
      if (!match_fits(&d->drivers[i], k, a))
        continue;
      char hint[1024];
      snprintf(hint, sizeof hint, "[device NOM]\ndriver = %s\n%s = %s\n", d->drivers[i].name,
               a->serial[0] ? "usb-serial" : "port", a->serial[0] ? a->serial : a->port);
      return json_pack("{s:b, s:s, s:b, s:s, s:s, s:n, s:s, s:s, s:o, s:s, s:b, s:s?, s:s?}", "bound", 0, "bus",
                       acq_bus_name(a->bus), "busy", 0, "driver", d->drivers[i].name, "hint", hint, "id", "label",
                       d->drivers[i].label, "maturity", d->drivers[i].maturity, "modalities",
                       modalities_json(&d->drivers[i]), "node", a->node, "present", 1, "port",
                       a->port[0] ? a->port : NULL, "serial", a->serial[0] ? a->serial : NULL);
    }
  return NULL;
}

int devices_json(const struct devices *d, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  for (unsigned i = 0; i < d->n; i++) {
    const struct device *dev = &d->list[i];
    const struct driver_info *driver = devices_driver(d, dev->conf.driver);
    json_t *item =
        json_pack("{s:b, s:s, s:b, s:s, s:s, s:s, s:s?, s:o, s:s?, s:b, s:s?, s:s?}", "bound", 1, "bus",
                  acq_bus_name(device_bus(d, dev)), "busy", device_is_busy(d, dev), "driver", dev->conf.driver, "id",
                  dev->conf.id, "label", dev->conf.label, "maturity", driver ? driver->maturity : NULL, "modalities",
                  modalities_json(driver), "node", dev->node[0] ? dev->node : NULL, "present", dev->node[0] != 0,
                  "port", dev->port[0] ? dev->port : NULL, "serial", dev->serial[0] ? dev->serial : NULL);
    if (!item || json_array_append_new(items, item) < 0)
      return -ENOMEM;
  }
  for (unsigned i = 0; i < d->n_adapters; i++) {
    json_t *item = unbound_json(d, &d->adapters[i]);
    if (item && json_array_append_new(items, item) < 0)
      return -ENOMEM;
  }
  *ret = json_incref(items);
  return items ? 0 : -ENOMEM;
}

int devices_drivers_json(const struct devices *d, json_t **ret) {
  *ret = d->catalogue ? json_incref(d->catalogue) : json_array();
  return *ret ? 0 : -ENOMEM;
}
