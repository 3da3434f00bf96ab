/*
 * The serial bed as its users see it: libserialport and sd-device, in this process. Run under umockdev-wrapper; the
 * shim is put in front by starting this program again.
 */
#include "serial_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <libserialport.h>
#include <poll.h>
#include <sys/wait.h>
#include <systemd/sd-device.h>
#include <systemd/sd-event.h>
#include <termios.h>
#include <unistd.h>

#define PATIENCE_MS 2000

struct fixture {
  struct serial_bed *bed;
  struct serial_bed_port *port;
};

static int set_up(void **state) {
  static struct fixture f;
  const struct serial_bed_options options = {.serial = "A10K5X2Z"};
  f.bed = serial_bed_create(NULL);
  if (!f.bed || serial_bed_add(f.bed, &options, &f.port) < 0 || serial_bed_plug(f.port) < 0)
    return -1;
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  serial_bed_destroy(f->bed);
  return 0;
}

static struct sp_port *open_port(const char *name) {
  struct sp_port *port = NULL;
  assert_int_equal(sp_get_port_by_name(name, &port), SP_OK);
  assert_int_equal(sp_open(port, SP_MODE_READ_WRITE), SP_OK);
  assert_int_equal(sp_set_baudrate(port, 230400), SP_OK);
  assert_int_equal(sp_set_bits(port, 8), SP_OK);
  assert_int_equal(sp_set_parity(port, SP_PARITY_NONE), SP_OK);
  assert_int_equal(sp_set_stopbits(port, 1), SP_OK);
  assert_int_equal(sp_set_flowcontrol(port, SP_FLOWCONTROL_NONE), SP_OK);
  return port;
}

static void close_port(struct sp_port *port) {
  assert_int_equal(sp_close(port), SP_OK);
  sp_free_port(port);
}

static size_t read_module(struct serial_bed_port *port, uint8_t *buf, size_t len) {
  size_t n = 0;
  struct pollfd pfd = {.fd = serial_bed_fd(port), .events = POLLIN};
  while (n < len && poll(&pfd, 1, PATIENCE_MS) > 0) {
    ssize_t r = read(pfd.fd, buf + n, len - n);
    if (r <= 0)
      break;
    n += (size_t)r;
  }
  return n;
}

static void write_module(struct serial_bed_port *port, const void *bytes, size_t len) {
  assert_int_equal(write(serial_bed_fd(port), bytes, len), len);
}

static void test_usb_facts(void **state) {
  (void)state;
  struct sp_port *port = NULL;
  int vid = 0, pid = 0;
  assert_int_equal(sp_get_port_by_name("/dev/ttyUSB0", &port), SP_OK);
  assert_int_equal(sp_get_port_transport(port), SP_TRANSPORT_USB);
  assert_int_equal(sp_get_port_usb_vid_pid(port, &vid, &pid), SP_OK);
  assert_int_equal(vid, 0x0403);
  assert_int_equal(pid, 0x6001);
  assert_string_equal(sp_get_port_usb_serial(port), "A10K5X2Z");
  assert_string_equal(sp_get_port_usb_manufacturer(port), "FTDI");
  assert_string_equal(sp_get_port_usb_product(port), "FT232R USB UART");
  sp_free_port(port);
}

static void test_list(void **state) {
  struct fixture *f = *state;
  struct serial_bed_port *second;
  const struct serial_bed_options options = {.port = "ttyACM3", .vendor_id = 0x1209, .serial = ""};
  assert_int_equal(serial_bed_add(f->bed, &options, &second), 0);
  assert_int_equal(serial_bed_add(f->bed, &options, &second), -EEXIST);
  assert_int_equal(serial_bed_plug(second), 0);
  struct sp_port **ports = NULL;
  assert_int_equal(sp_list_ports(&ports), SP_OK);
  unsigned usb = 0, acm = 0, count = 0;
  for (; ports[count]; count++) {
    if (strcmp(sp_get_port_name(ports[count]), "/dev/ttyUSB0") == 0)
      usb++;
    if (strcmp(sp_get_port_name(ports[count]), "/dev/ttyACM3") == 0) {
      acm++;
      assert_null(sp_get_port_usb_serial(ports[count]));
    }
  }
  sp_free_port_list(ports);
  assert_int_equal(usb, 1);
  assert_int_equal(acm, 1);
  assert_int_equal(count, 2);

  struct sp_port *a = open_port("/dev/ttyUSB0"), *b = open_port("/dev/ttyACM3");
  uint8_t got[4] = {0};
  write_module(second, "acm", 3);
  assert_int_equal(sp_blocking_read(b, got, 3, PATIENCE_MS), 3);
  assert_memory_equal(got, "acm", 3);
  assert_int_equal(sp_input_waiting(a), 0);
  close_port(a);
  close_port(b);
  assert_int_equal(serial_bed_unplug(second), 0);
}

static void test_bytes(void **state) {
  struct fixture *f = *state;
  uint8_t sent[256], got[256];
  for (unsigned i = 0; i < sizeof(sent); i++)
    sent[i] = (uint8_t)i; /* every value: nothing on the way may be a control character */
  assert_false(serial_bed_look(f->port) & SERIAL_BED_OPEN);
  struct sp_port *port = open_port("/dev/ttyUSB0");
  assert_true(serial_bed_look(f->port) & SERIAL_BED_OPEN);

  assert_int_equal(sp_blocking_write(port, sent, sizeof(sent), PATIENCE_MS), sizeof(sent));
  assert_int_equal(sp_drain(port), SP_OK);
  assert_int_equal(read_module(f->port, got, sizeof(got)), sizeof(got));
  assert_memory_equal(got, sent, sizeof(sent));

  memset(got, 0, sizeof(got));
  write_module(f->port, sent, sizeof(sent));
  assert_int_equal(sp_blocking_read(port, got, sizeof(got), PATIENCE_MS), sizeof(got));
  assert_memory_equal(got, sent, sizeof(sent));
  assert_int_equal(sp_blocking_read(port, got, 1, 50), 0);
  assert_int_equal(read(serial_bed_fd(f->port), got, 1), -1); /* no echo */

  enum sp_signal signals = 0;
  assert_int_equal(sp_get_signals(port, &signals), SP_OK);
  assert_int_equal(signals, SP_SIG_CTS | SP_SIG_DSR | SP_SIG_DCD);
  assert_int_equal(sp_set_rts(port, SP_RTS_ON), SP_OK);
  assert_int_equal(sp_set_dtr(port, SP_DTR_OFF), SP_OK);
  close_port(port);
}

static void test_reopen_is_clean(void **state) {
  struct fixture *f = *state;
  static uint8_t heap[65536];
  uint8_t got[16];
  memset(heap, 0x5A, sizeof(heap));
  for (unsigned round = 0; round < 120; round++) {
    struct sp_port *port = open_port("/dev/ttyUSB0");
    assert_int_equal(sp_input_waiting(port), 0);
    write_module(f->port, "fresh", 5);
    assert_int_equal(sp_blocking_read(port, got, 5, PATIENCE_MS), 5);
    assert_memory_equal(got, "fresh", 5);
    while (write(serial_bed_fd(f->port), heap, sizeof(heap)) > 0)
      ; /* all the line holds */
    close_port(port);
    if (round % 2) /* and without the bed's having had a chance to see it */
      assert_int_equal(serial_bed_look(f->port), SERIAL_BED_PLUGGED | SERIAL_BED_CLOSED);
  }
  assert_int_equal(serial_bed_look(f->port), SERIAL_BED_PLUGGED);
}

/* A user who is killed closes nothing himself: the bed alone has to forget. */
static void test_killed_user(void **state) {
  struct fixture *f = *state;
  int pipe_fd[2];
  char byte;
  assert_int_equal(pipe(pipe_fd), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    int fd = open("/dev/ttyUSB0", O_RDWR | O_NOCTTY);
    if (fd < 0 || write(pipe_fd[1], "o", 1) != 1)
      _exit(1);
    pause();
  }
  assert_int_equal(read(pipe_fd[0], &byte, 1), 1);
  assert_true(serial_bed_look(f->port) & SERIAL_BED_OPEN);
  write_module(f->port, "stale", 5);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  assert_int_equal(serial_bed_look(f->port), SERIAL_BED_PLUGGED | SERIAL_BED_CLOSED);
  struct sp_port *port = open_port("/dev/ttyUSB0");
  assert_int_equal(sp_blocking_read(port, &byte, 1, 30), 0);
  close_port(port);
  close(pipe_fd[0]);
  close(pipe_fd[1]);
}

static void test_drain(void **state) {
  struct fixture *f = *state;
  uint8_t got[100];
  struct sp_port *port = open_port("/dev/ttyUSB0");
  write_module(f->port, "0123456789", 10);
  assert_int_equal(serial_bed_drain(f->port, 20), -ETIMEDOUT);
  assert_int_equal(sp_blocking_read(port, got, 10, PATIENCE_MS), 10);
  assert_int_equal(serial_bed_drain(f->port, 20), 0);
  assert_int_equal(serial_bed_look(f->port), SERIAL_BED_PLUGGED | SERIAL_BED_OPEN);
  close_port(port);
}

static void test_unplug(void **state) {
  struct fixture *f = *state;
  uint8_t got[8];
  int fd = -1;
  for (unsigned round = 0; round < 5; round++) {
    struct sp_port *port = open_port("/dev/ttyUSB0");
    assert_int_equal(sp_get_port_handle(port, &fd), SP_OK);
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 0);

    assert_int_equal(serial_bed_unplug(f->port), 0);
    assert_int_equal(serial_bed_unplug(f->port), -ENODEV);
    assert_int_equal(serial_bed_look(f->port), 0);
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    assert_true(pfd.revents & POLLHUP);
    assert_int_equal(read(fd, got, sizeof(got)), 0);
    assert_int_equal(sp_input_waiting(port), SP_ERR_FAIL);
    assert_true(sp_blocking_write(port, "x", 1, 100) < 0);
    sp_close(port);
    sp_free_port(port);
    assert_int_equal(open("/dev/ttyUSB0", O_RDWR | O_NOCTTY), -1);
    assert_int_not_equal(sp_get_port_by_name("/dev/ttyUSB0", &port), SP_OK);

    assert_int_equal(serial_bed_plug(f->port), 0);
    assert_int_equal(serial_bed_plug(f->port), -EALREADY);
    port = open_port("/dev/ttyUSB0");
    write_module(f->port, "back", 4);
    assert_int_equal(sp_blocking_read(port, got, 4, PATIENCE_MS), 4);
    close_port(port);
  }
}

struct heard {
  unsigned adds, removes;
  bool facts, parent;
};

static int on_device(sd_device_monitor *monitor, sd_device *device, void *userdata) {
  (void)monitor;
  struct heard *heard = userdata;
  sd_device_action_t action;
  const char *serial = "", *path = "", *vendor = "", *model = "", *node = "", *sys_serial = "";
  sd_device *usb = NULL;
  assert_true(sd_device_get_action(device, &action) >= 0);
  sd_device_get_devname(device, &node);
  sd_device_get_property_value(device, "ID_SERIAL_SHORT", &serial);
  sd_device_get_property_value(device, "ID_PATH", &path);
  sd_device_get_property_value(device, "ID_VENDOR_ID", &vendor);
  sd_device_get_property_value(device, "ID_MODEL_ID", &model);
  heard->facts = strcmp(node, "/dev/ttyUSB0") == 0 && strcmp(serial, "A10K5X2Z") == 0 && *path &&
                 strcmp(vendor, "0403") == 0 && strcmp(model, "6001") == 0;
  if (action == SD_DEVICE_REMOVE) {
    heard->removes++;
  } else if (action == SD_DEVICE_ADD) {
    heard->adds++;
    heard->parent = sd_device_get_parent_with_subsystem_devtype(device, "usb", "usb_device", &usb) >= 0 &&
                    sd_device_get_sysattr_value(usb, "serial", &sys_serial) >= 0 && strcmp(sys_serial, "A10K5X2Z") == 0;
  }
  return 0;
}

static void run_until(sd_event *event, const unsigned *count, unsigned want) {
  for (unsigned i = 0; i < 40 && *count < want; i++)
    assert_true(sd_event_run(event, 50000) >= 0);
  assert_int_equal(*count, want);
}

static void test_monitor(void **state) {
  struct fixture *f = *state;
  struct heard heard = {0};
  sd_event *event = NULL;
  sd_device_monitor *monitor = NULL;
  assert_true(sd_event_new(&event) >= 0);
  assert_true(sd_device_monitor_new(&monitor) >= 0);
  assert_true(sd_device_monitor_filter_add_match_subsystem_devtype(monitor, "tty", NULL) >= 0);
  assert_true(sd_device_monitor_attach_event(monitor, event) >= 0);
  assert_true(sd_device_monitor_start(monitor, on_device, &heard) >= 0);
  for (unsigned round = 1; round <= 3; round++) {
    heard.facts = heard.parent = false;
    assert_int_equal(serial_bed_unplug(f->port), 0);
    run_until(event, &heard.removes, round);
    assert_true(heard.facts);
    heard.facts = false;
    assert_int_equal(serial_bed_plug(f->port), 0);
    run_until(event, &heard.adds, round);
    assert_true(heard.facts);
    assert_true(heard.parent);
  }
  sd_device_monitor_unref(monitor);
  sd_event_unref(event);
}

static unsigned enumerate(bool all) {
  sd_device_enumerator *enumerator = NULL;
  unsigned count = 0;
  assert_true(sd_device_enumerator_new(&enumerator) >= 0);
  assert_true(sd_device_enumerator_add_match_subsystem(enumerator, "tty", 1) >= 0);
  if (all)
    assert_true(sd_device_enumerator_allow_uninitialized(enumerator) >= 0);
  for (sd_device *d = sd_device_enumerator_get_device_first(enumerator); d;
       d = sd_device_enumerator_get_device_next(enumerator)) {
    const char *serial = "", *bus = "", *sys_serial = "";
    sd_device *usb = NULL;
    assert_true(sd_device_get_property_value(d, "ID_SERIAL_SHORT", &serial) >= 0);
    assert_string_equal(serial, "A10K5X2Z");
    assert_true(sd_device_get_property_value(d, "ID_BUS", &bus) >= 0);
    assert_string_equal(bus, "usb");
    assert_true(sd_device_get_is_initialized(d) > 0);
    assert_true(sd_device_get_parent_with_subsystem_devtype(d, "usb", "usb_device", &usb) >= 0);
    assert_true(sd_device_get_sysattr_value(usb, "serial", &sys_serial) >= 0);
    assert_string_equal(sys_serial, "A10K5X2Z");
    count++;
  }
  sd_device_enumerator_unref(enumerator);
  return count;
}

static void test_enumerate(void **state) {
  struct fixture *f = *state;
  assert_int_equal(enumerate(false), 1);
  assert_int_equal(enumerate(true), 1);
  assert_int_equal(serial_bed_unplug(f->port), 0);
  assert_int_equal(enumerate(true), 0);
  assert_int_equal(serial_bed_plug(f->port), 0);
  assert_int_equal(enumerate(false), 1);
}

static void test_bad_options(void **state) {
  struct fixture *f = *state;
  struct serial_bed_port *port;
  const struct serial_bed_options bad[] = {
      {.port = "ttyS0"},
      {.port = "ttyUSB"},
      {.port = "ttyUSB999"},
      {.port = "ttyUSB1/../x"},
      {.port = "ttyUSB7", .serial = "a\nE: x"},
      {.port = "ttyUSB7", .product = "back\\slash"},
      {.port = "ttyUSB7", .serial = "0123456789012345678901234567890123456789012345678901234567890123"},
  };
  for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    assert_int_equal(serial_bed_add(f->bed, &bad[i], &port), -EINVAL);
  const struct serial_bed_options longest = {
      .port = "ttyUSB255",
      .serial = "012345678901234567890123456789012345678901234567890123456789012",
      .product = "a product whose name fills all the room that a name is let have",
      .manufacturer = "the manufacturer of it, whose name is every bit as long as that"};
  assert_int_equal(serial_bed_add(f->bed, &longest, &port), 0);
  assert_int_equal(serial_bed_plug(port), 0);
  assert_int_equal(serial_bed_unplug(port), 0);
}

#define BED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv) {
  (void)argc;
  if (!serial_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  if (!strstr(getenv("LD_PRELOAD"), "tty_shim")) {
    char *preload = serial_bed_preload(NULL);
    if (!preload || setenv("LD_PRELOAD", preload, 1) < 0)
      return 1;
    free(preload);
    execv("/proc/self/exe", argv);
    return 1;
  }
  const struct CMUnitTest tests[] = {
      BED_TEST(test_usb_facts),   BED_TEST(test_list),        BED_TEST(test_bytes),  BED_TEST(test_reopen_is_clean),
      BED_TEST(test_killed_user), BED_TEST(test_drain),       BED_TEST(test_unplug), BED_TEST(test_monitor),
      BED_TEST(test_enumerate),   BED_TEST(test_bad_options),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
