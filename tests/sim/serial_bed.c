#include "serial_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <umockdev.h>
#include <unistd.h>

#define TEXT_MAX 64u
#define BUS_PATH "/devices/pci0000:00/0000:00:14.0/usb1"
#define PORTS_MAX 32u /* sockets of one hub; also bounds the USB device numbers */

struct serial_bed {
  UMockdevTestbed *testbed;
  struct serial_bed_port *ports;
  unsigned port_count;
};

struct serial_bed_port {
  struct serial_bed *bed;
  struct serial_bed_port *next;
  char name[TEXT_MAX], serial[TEXT_MAX], manufacturer[TEXT_MAX], product[TEXT_MAX];
  uint16_t vendor_id, product_id;
  unsigned tty_major, tty_minor;
  unsigned socket;     /* USB port number, from 1 */
  unsigned usb_number; /* device number on the bus; a new one at each plug, as the kernel does */
  bool acm;

  int master, watch_fd, watch;
  bool was_open;      /* at the last look */
  bool close_pending; /* heard of, while the line had not hung up yet */
  char slave_path[TEXT_MAX];
};

/* ---- preload ---- */

bool serial_bed_available(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload && strstr(preload, "umockdev-preload");
}

static bool is_sanitizer(const char *library) {
  return strstr(library, "libasan") || strstr(library, "libclang_rt.asan") || strstr(library, "libtsan") ||
         strstr(library, "libclang_rt.tsan");
}

#define LIBRARIES_MAX 64u
#define SANITIZER_VARIABLE "SERIAL_BED_SANITIZER"

/* The libraries of list that are, or are not, a sanitizer's run-time, appended to out. */
static void append_libraries(GString *out, const char *list, bool sanitizers) {
  gchar **libraries = g_strsplit_set(list ? list : "", ": ", LIBRARIES_MAX);
  for (gchar **library = libraries; *library; library++) {
    bool is_shim = g_str_has_suffix(*library, "/tty_shim.so");
    if (**library && !is_shim && is_sanitizer(*library) == sanitizers)
      g_string_append_printf(out, "%s%s", out->len ? ":" : "", *library);
  }
  g_strfreev(libraries);
}

char *serial_bed_preload(const char *first) {
  char self[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (n < 0)
    return NULL;
  self[n] = '\0';
  *strrchr(self, '/') = '\0';

  /* A sanitizer's run-time must come first or it refuses to start; the shim must come before umockdev, whose ioctl it
   * corrects. */
  const char *have = getenv("LD_PRELOAD");
  GString *out = g_string_new(first);
  append_libraries(out, getenv(SANITIZER_VARIABLE), true);
  append_libraries(out, have, true);
  g_string_append_printf(out, "%s%s/tty_shim.so", out->len ? ":" : "", self);
  append_libraries(out, have, false);
  return g_string_free(out, FALSE);
}

void serial_bed_without_sanitizer(char **argv) {
  const char *have = getenv("LD_PRELOAD");
  GString *sanitizers = g_string_new(NULL), *others = g_string_new(NULL);
  append_libraries(sanitizers, have, true);
  append_libraries(others, have, false);
  if (sanitizers->len && setenv(SANITIZER_VARIABLE, sanitizers->str, 1) == 0 &&
      setenv("LD_PRELOAD", others->str, 1) == 0)
    execv("/proc/self/exe", argv);
  g_string_free(sanitizers, TRUE);
  g_string_free(others, TRUE);
}

/* ---- files of the mocked machine ---- */

static int root_path(const struct serial_bed *bed, char path[PATH_MAX], const char *rest) {
  char *root = umockdev_testbed_get_root_dir(bed->testbed);
  int n = snprintf(path, PATH_MAX, "%s%s", root, rest);
  g_free(root);
  return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int make_folder(const struct serial_bed *bed, const char *rest) {
  char path[PATH_MAX];
  int r = root_path(bed, path, rest);
  if (r < 0)
    return r;
  return g_mkdir_with_parents(path, 0755) < 0 ? -errno : 0;
}

static int make_link(const struct serial_bed *bed, const char *rest, const char *target) {
  char path[PATH_MAX];
  int r = root_path(bed, path, rest);
  if (r < 0)
    return r;
  if (unlink(path) < 0 && errno != ENOENT)
    return -errno;
  return symlink(target, path) < 0 ? -errno : 0;
}

static void remove_file(const struct serial_bed *bed, const char *rest) {
  char path[PATH_MAX];
  if (root_path(bed, path, rest) == 0)
    unlink(path);
}

/* What udevd keeps about a device it has dealt with: without it sd-device takes the device for uninitialized, and its
 * enumerator leaves it out. tty_shim.so leads /run/udev/data here. */
static int write_database(const struct serial_bed *bed, const char *id, const char *properties) {
  char rest[128], path[PATH_MAX];
  snprintf(rest, sizeof(rest), "/run/udev/data/%s", id);
  int r = make_folder(bed, "/run/udev/data");
  if (r == 0)
    r = root_path(bed, path, rest);
  if (r < 0)
    return r;
  FILE *file = fopen(path, "we");
  if (!file)
    return -errno;
  fprintf(file, "I:1000000\n");
  for (const char *line = properties; *line;) {
    size_t len = strcspn(line, "\n");
    fprintf(file, "E:%.*s\n", (int)len, line);
    line += len + (line[len] == '\n');
  }
  fprintf(file, "G:systemd\nQ:systemd\nV:1\n");
  return fclose(file) == 0 ? 0 : -errno;
}

/* ---- description ---- */

struct places {
  char usb[128], interface[160], tty[224]; /* below /sys */
  char usb_db[32], tty_db[32];             /* names in udev's database */
  char node[80];                           /* /dev/NAME */
};

static void find_places(const struct serial_bed_port *port, struct places *p) {
  snprintf(p->usb, sizeof(p->usb), BUS_PATH "/1-%u", port->socket);
  snprintf(p->interface, sizeof(p->interface), "%s/1-%u:1.0", p->usb, port->socket);
  /* usb-serial adapters have a port device between interface and tty; modems of the ACM class do not. */
  if (port->acm)
    snprintf(p->tty, sizeof(p->tty), "%.159s/tty/%.40s", p->interface, port->name);
  else
    snprintf(p->tty, sizeof(p->tty), "%.120s/%.40s/tty/%.40s", p->interface, port->name, port->name);
  snprintf(p->usb_db, sizeof(p->usb_db), "c189:%u", port->usb_number - 1);
  snprintf(p->tty_db, sizeof(p->tty_db), "c%u:%u", port->tty_major, port->tty_minor);
  snprintf(p->node, sizeof(p->node), "/dev/%s", port->name);
}

/* udev's spelling of a USB string in a property. */
static void property_text(char out[TEXT_MAX], const char *text) {
  size_t i = 0;
  for (; text[i]; i++)
    out[i] = text[i] == ' ' || text[i] == '/' ? '_' : text[i];
  out[i] = '\0';
}

static void usb_properties(const struct serial_bed_port *port, char *out, size_t size) {
  char vendor[TEXT_MAX], model[TEXT_MAX], serial[TEXT_MAX];
  property_text(vendor, port->manufacturer);
  property_text(model, port->product);
  property_text(serial, port->serial);
  int n = snprintf(out, size,
                   "ID_BUS=usb\nID_VENDOR=%s\nID_VENDOR_ID=%04x\nID_MODEL=%s\nID_MODEL_ID=%04x\nID_SERIAL=%s_%s%s%s\n",
                   vendor, port->vendor_id, model, port->product_id, vendor, model, *serial ? "_" : "", serial);
  if (*serial && n >= 0 && (size_t)n < size)
    snprintf(out + n, size - (size_t)n, "ID_SERIAL_SHORT=%s\n", serial);
}

static void append_properties(GString *text, const char *properties) {
  for (const char *line = properties; *line;) {
    size_t len = strcspn(line, "\n");
    g_string_append_printf(text, "E: %.*s\n", (int)len, line);
    line += len + (line[len] == '\n');
  }
}

static void describe(const struct serial_bed_port *port, const struct places *p, const char *usb_props,
                     const char *tty_props, GString *text) {
  g_string_append_printf(text,
                         "P: %s\nN: bus/usb/001/%03u\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n"
                         "E: DEVNAME=/dev/bus/usb/001/%03u\nE: MAJOR=189\nE: MINOR=%u\nE: DRIVER=usb\n"
                         "E: BUSNUM=001\nE: DEVNUM=%03u\n",
                         p->usb, port->usb_number, port->usb_number, port->usb_number - 1, port->usb_number);
  append_properties(text, usb_props);
  g_string_append_printf(
      text,
      "A: dev=189:%u\\n\nA: busnum=1\\n\nA: devnum=%u\\n\nA: devpath=%u\\n\nA: speed=12\\n\n"
      "A: bDeviceClass=00\\n\nA: bConfigurationValue=1\\n\nA: idVendor=%04x\\n\nA: idProduct=%04x\\n\n"
      "A: manufacturer=%s\\n\nA: product=%s\\n\n",
      port->usb_number - 1, port->usb_number, port->socket, port->vendor_id, port->product_id, port->manufacturer,
      port->product);
  if (port->serial[0])
    g_string_append_printf(text, "A: serial=%s\\n\n", port->serial);
  g_string_append_printf(text,
                         "\nP: %s\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\nE: DRIVER=%s\n"
                         "A: bInterfaceNumber=00\\n\nA: bInterfaceClass=%s\\n\n",
                         p->interface, port->acm ? "cdc_acm" : "ftdi_sio", port->acm ? "02" : "ff");
  /* No N: line: umockdev's own terminal cannot be hung up, nor made a second time under the same name. */
  g_string_append_printf(text, "\nP: %s\nE: SUBSYSTEM=tty\nE: DEVNAME=%s\nE: MAJOR=%u\nE: MINOR=%u\n", p->tty, p->node,
                         port->tty_major, port->tty_minor);
  append_properties(text, tty_props);
  g_string_append_printf(text, "A: dev=%u:%u\\n\nL: device=../../../%s\n", port->tty_major, port->tty_minor,
                         port->acm ? strrchr(p->interface, '/') + 1 : port->name);
}

/* ---- terminal ---- */

static void close_fd(int *fd) {
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

static int open_terminal(struct serial_bed_port *port) {
  struct termios mode;
  int slave = -1;
  if (openpty(&port->master, &slave, NULL, NULL, NULL) < 0) {
    port->master = -1;
    return -errno;
  }
  int r = 0;
  if (ptsname_r(port->master, port->slave_path, sizeof(port->slave_path)) != 0 || tcgetattr(slave, &mode) < 0) {
    r = -errno;
  } else {
    cfmakeraw(&mode);
    if (tcsetattr(slave, TCSANOW, &mode) < 0 || fcntl(port->master, F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(port->master, F_SETFD, FD_CLOEXEC) < 0)
      r = -errno;
  }
  close(slave);
  if (r == 0) {
    port->watch = inotify_add_watch(port->watch_fd, port->slave_path, IN_OPEN | IN_CLOSE);
    if (port->watch < 0)
      r = -errno;
  }
  if (r < 0)
    close_fd(&port->master);
  return r;
}

static bool hung_up(const struct serial_bed_port *port) {
  struct pollfd pfd = {.fd = port->master};
  return poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP);
}

/* The bed's own look from the user's side goes straight to the kernel: tty_shim.so takes any close in its process for
 * the user's and forgets what is unread, and umockdev's preload keeps count of what is opened and closed. */
static int open_slave(const struct serial_bed_port *port) {
  long fd = syscall(SYS_openat, AT_FDCWD, port->slave_path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  return fd < 0 ? -errno : (int)fd;
}

static void close_slave(int fd) {
  syscall(SYS_close, fd);
}

/* Bytes sent and not read stay in the terminal for the next user, where a real adapter forgets them: they lie in the
 * terminal's own buffer and in the line to it, which refills the first as soon as it is emptied. */
static void forget_unread(struct serial_bed_port *port) {
  int slave = open_slave(port);
  if (slave < 0)
    return;
  struct pollfd pfd = {.fd = slave, .events = POLLIN};
  for (int round = 0; round < 64; round++) {
    tcflush(port->master, TCOFLUSH);
    tcflush(slave, TCIFLUSH);
    if (poll(&pfd, 1, 0) <= 0) /* poll also lets the line empty itself into the buffer */
      break;
  }
  close_slave(slave);
}

struct watched {
  unsigned opens, closes;
  bool reopened; /* a close, then an open */
};

static struct watched read_watch(struct serial_bed_port *port) {
  _Alignas(struct inotify_event) char buf[4096];
  struct watched seen = {0};
  ssize_t n;
  while ((n = read(port->watch_fd, buf, sizeof(buf))) > 0) {
    for (char *at = buf; at < buf + n;) {
      const struct inotify_event *event = (const struct inotify_event *)(void *)at;
      if (event->wd == port->watch && (event->mask & IN_CLOSE))
        seen.closes++;
      if (event->wd == port->watch && (event->mask & IN_OPEN)) {
        seen.opens++;
        seen.reopened = seen.reopened || seen.closes > 0;
      }
      at += sizeof(*event) + event->len;
    }
  }
  return seen;
}

unsigned serial_bed_look(struct serial_bed_port *port) {
  struct watched seen = read_watch(port);
  if (port->master < 0)
    return 0;
  unsigned state = SERIAL_BED_PLUGGED;
  /* A close is heard of just before the line hangs up; and a user quick enough to close and open again between two
   * looks leaves no hang-up at all, only the order of events. */
  bool reopened = seen.reopened || (port->close_pending && seen.opens > 0);
  bool flush = hung_up(port) ? port->was_open || seen.closes > 0 : reopened;
  port->close_pending = !flush && (port->close_pending || seen.closes > 0);
  for (int round = 0; flush && round < 8; round++) {
    state |= SERIAL_BED_CLOSED;
    forget_unread(port);
    seen = read_watch(port);
    /* One open and one close are our own, from forgetting; more are a user's, who may have been and gone. */
    flush = seen.closes > 1;
  }
  port->was_open = !hung_up(port);
  if (port->was_open)
    state |= SERIAL_BED_OPEN;
  return state;
}

int serial_bed_drain(struct serial_bed_port *port, int timeout_ms) {
  if (port->master < 0)
    return -ENODEV;
  int slave = open_slave(port), r = -ETIMEDOUT;
  if (slave < 0)
    return slave;
  struct pollfd pfd = {.fd = slave, .events = POLLIN};
  unsigned empty = 0;
  for (int waited_us = 0; r < 0 && waited_us / 1000 <= timeout_ms; waited_us += 500) {
    /* Between a read that empties the terminal's buffer and its being refilled from the line it looks empty. */
    empty = poll(&pfd, 1, 0) == 0 ? empty + 1 : 0;
    if (empty == 3)
      r = 0;
    else
      nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  close_slave(slave);
  read_watch(port); /* our own open and close; whoever else came or went shows as a hang-up */
  return r;
}

int serial_bed_fd(const struct serial_bed_port *port) {
  return port->master;
}

int serial_bed_watch_fd(const struct serial_bed_port *port) {
  return port->watch_fd;
}

/* ---- plugging ---- */

#define MAP_MAX (TEXT_MAX + 32)

/* Where umockdev's preload looks up which device number a terminal stands for. */
static void find_map(const struct serial_bed_port *port, char rest[MAP_MAX]) {
  static const char folder[] = "/dev/.ptymap/";
  snprintf(rest, MAP_MAX, "%s%s", folder, port->slave_path);
  for (char *c = rest + sizeof(folder) - 1; *c; c++)
    if (*c == '/')
      *c = '_';
}

int serial_bed_plug(struct serial_bed_port *port) {
  if (port->master >= 0)
    return -EALREADY;
  struct serial_bed *bed = port->bed;
  struct places p;
  char rest[MAP_MAX], device[32], usb_props[512], tty_props[1024];

  port->usb_number = port->usb_number + PORTS_MAX > 127 ? 1 + port->socket : port->usb_number + PORTS_MAX;
  find_places(port, &p);
  int r = open_terminal(port);
  if (r < 0)
    return r;

  usb_properties(port, usb_props, sizeof(usb_props));
  snprintf(tty_props, sizeof(tty_props),
           "%sID_TYPE=generic\nID_USB_DRIVER=%s\nID_USB_INTERFACE_NUM=00\nID_PATH=pci-0000:00:14.0-usb-0:%u:1.0\n",
           usb_props, port->acm ? "cdc_acm" : "ftdi_sio", port->socket);
  r = write_database(bed, p.usb_db, usb_props);
  if (r == 0)
    r = write_database(bed, p.tty_db, tty_props);

  /* The node comes before the device, so that it is there when the first uevent is. umockdev's preload learns from
   * .ptymap which terminal stands for which device number. */
  if (r == 0)
    r = make_folder(bed, "/dev/.ptymap");
  if (r == 0)
    r = make_link(bed, p.node, port->slave_path);
  if (r == 0) {
    find_map(port, rest);
    snprintf(device, sizeof(device), "%u:%u", port->tty_major, port->tty_minor);
    r = make_link(bed, rest, device);
  }
  if (r == 0) {
    GError *error = NULL;
    GString *text = g_string_new(NULL);
    describe(port, &p, usb_props, tty_props, text);
    if (!umockdev_testbed_add_from_string(bed->testbed, text->str, &error)) {
      r = -EIO;
      g_clear_error(&error);
    }
    g_string_free(text, TRUE);
  }
  if (r < 0) {
    remove_file(bed, p.node);
    close_fd(&port->master);
  }
  read_watch(port);
  return r;
}

/* number: of the device's node, as in "c188:0"; NULL for a device without one. */
static void remove_device(const struct serial_bed *bed, const char *place, const char *number) {
  char path[256], rest[96];
  snprintf(path, sizeof(path), "/sys%s", place);
  umockdev_testbed_uevent(bed->testbed, path, "remove");
  if (number) {
    /* umockdev leaves this link behind, and stops the process when it finds it at the next plug */
    snprintf(rest, sizeof(rest), "/sys/dev/char/%s", number + 1);
    remove_file(bed, rest);
    snprintf(rest, sizeof(rest), "/run/udev/data/%s", number);
    remove_file(bed, rest);
  }
  umockdev_testbed_remove_device(bed->testbed, path);
}

int serial_bed_unplug(struct serial_bed_port *port) {
  if (port->master < 0)
    return -ENODEV;
  struct places p;
  char rest[MAP_MAX];
  find_places(port, &p);

  /* The kernel's order: the line hangs up, the node goes, then the news; children before parents. */
  if (port->watch >= 0)
    inotify_rm_watch(port->watch_fd, port->watch);
  port->watch = -1;
  close_fd(&port->master);
  port->was_open = port->close_pending = false;
  read_watch(port);
  remove_file(port->bed, p.node);
  find_map(port, rest);
  remove_file(port->bed, rest);
  remove_device(port->bed, p.tty, p.tty_db);
  remove_device(port->bed, p.interface, NULL);
  remove_device(port->bed, p.usb, p.usb_db);
  return 0;
}

/* ---- life ---- */

struct serial_bed *serial_bed_create(UMockdevTestbed *machine) {
  if (!serial_bed_available()) {
    errno = ENOTSUP;
    return NULL;
  }
  /* The preload takes every path below /dev for a device's, and runs out of room for them. */
  char folder[PATH_MAX];
  if (realpath(g_get_tmp_dir(), folder) && strncmp(folder, "/dev/", 5) == 0) {
    errno = EINVAL;
    return NULL;
  }
  struct serial_bed *bed = calloc(1, sizeof(*bed));
  if (!bed)
    return NULL;
  bed->testbed = machine ? g_object_ref(machine) : umockdev_testbed_new();
  return bed;
}

static void port_free(struct serial_bed_port *port) {
  serial_bed_unplug(port);
  close_fd(&port->watch_fd);
  free(port);
}

void serial_bed_destroy(struct serial_bed *bed) {
  if (!bed)
    return;
  while (bed->ports) {
    struct serial_bed_port *port = bed->ports;
    bed->ports = port->next;
    port_free(port);
  }
  g_object_unref(bed->testbed);
  free(bed);
}

/* Quotes, line ends and backslashes would change the meaning of umockdev's description. */
static int copy_text(char out[TEXT_MAX], const char *text, const char *standard) {
  if (!text)
    text = standard;
  size_t len = strlen(text);
  if (len >= TEXT_MAX)
    return -EINVAL;
  for (size_t i = 0; i < len; i++)
    if (text[i] < 0x20 || text[i] > 0x7E || text[i] == '\\')
      return -EINVAL;
  memcpy(out, text, len + 1);
  return 0;
}

static int parse_name(struct serial_bed_port *port) {
  char *end;
  if (strncmp(port->name, "ttyUSB", 6) != 0 && strncmp(port->name, "ttyACM", 6) != 0)
    return -EINVAL;
  port->acm = port->name[3] == 'A';
  port->tty_major = port->acm ? 166 : 188;
  if (port->name[6] < '0' || port->name[6] > '9')
    return -EINVAL;
  unsigned long minor = strtoul(port->name + 6, &end, 10);
  if (*end || minor > 255)
    return -EINVAL;
  port->tty_minor = (unsigned)minor;
  return 0;
}

int serial_bed_add(struct serial_bed *bed, const struct serial_bed_options *options, struct serial_bed_port **ret) {
  static const struct serial_bed_options standard;
  if (!options)
    options = &standard;
  if (bed->port_count >= PORTS_MAX)
    return -ENOSPC;
  struct serial_bed_port *port = calloc(1, sizeof(*port));
  if (!port)
    return -ENOMEM;
  port->bed = bed;
  port->master = port->watch = port->watch_fd = -1;
  port->vendor_id = options->vendor_id ? options->vendor_id : 0x0403;
  port->product_id = options->product_id ? options->product_id : 0x6001;
  int r = copy_text(port->name, options->port, "ttyUSB0");
  if (r == 0)
    r = copy_text(port->serial, options->serial, "SIM00001");
  if (r == 0)
    r = copy_text(port->manufacturer, options->manufacturer, "FTDI");
  if (r == 0)
    r = copy_text(port->product, options->product, "FT232R USB UART");
  if (r == 0)
    r = parse_name(port);
  for (const struct serial_bed_port *other = bed->ports; r == 0 && other; other = other->next)
    if (strcmp(other->name, port->name) == 0)
      r = -EEXIST;
  if (r == 0) {
    port->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (port->watch_fd < 0)
      r = -errno;
  }
  if (r < 0) {
    free(port);
    return r;
  }
  port->socket = ++bed->port_count;
  port->usb_number = 1 + port->socket;
  port->next = bed->ports;
  bed->ports = port;
  *ret = port;
  return 0;
}
