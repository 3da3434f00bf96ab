/* Configuration files: what is right is taken, what is wrong is said with its file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf.h"
#include "log.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
  char dir[64], file[128];
  struct conf conf;
  char said[4096];
};

static int setup(void **state) {
  struct place *p = calloc(1, sizeof *p);
  snprintf(p->dir, sizeof p->dir, "/tmp/asaleed-conf-XXXXXX");
  if (!mkdtemp(p->dir))
    return -1;
  snprintf(p->file, sizeof p->file, "%s/a.conf", p->dir);
  conf_defaults(&p->conf);
  *state = p;
  return 0;
}

static int one_removed(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  (void)kind;
  (void)at;
  return remove(path);
}

static int teardown(void **state) {
  struct place *p = *state;
  nftw(p->dir, one_removed, 8, FTW_DEPTH | FTW_PHYS);
  free(p);
  return 0;
}

static void write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

/* Calls with standard error kept in p->said. */
static int hear(struct place *p, int (*call)(struct place *)) {
  fflush(stderr);
  int keep = dup(STDERR_FILENO);
  FILE *f = tmpfile();
  dup2(fileno(f), STDERR_FILENO);
  int r = call(p);
  fflush(stderr);
  dup2(keep, STDERR_FILENO);
  close(keep);
  rewind(f);
  p->said[fread(p->said, 1, sizeof p->said - 1, f)] = 0;
  fclose(f);
  return r;
}

static int read_it(struct place *p) {
  return conf_read(&p->conf, p->file, false);
}

static int read_bytes(struct place *p, const void *bytes, size_t n) {
  conf_defaults(&p->conf);
  write_file(p->file, bytes, n);
  return hear(p, read_it);
}

static void check_error(struct place *p, const char *text, unsigned line, const char *what) {
  char expected[256];
  int r = read_bytes(p, text, strlen(text));
  snprintf(expected, sizeof expected, "%s:%u: ", p->file, line);
  if (r != -EINVAL || !strstr(p->said, expected) || !strstr(strstr(p->said, expected), what))
    fail_msg("\"%s\": %d, expected %s%s, said:\n%s", text, r, expected, what, p->said);
}

static void test_defaults(void **state) {
  struct place *p = *state;
  assert_string_equal(p->conf.store, "/var/lib/asaleed");
  assert_string_equal(p->conf.socket, "/run/asaleed/api.sock");
  assert_string_equal(p->conf.listen, "");
  assert_int_equal(p->conf.claim_minutes, 30);
  assert_int_equal(p->conf.due_hours_ecg, 24);
  assert_int_equal(p->conf.n_devices, 0);
  assert_int_equal(p->conf.due_hours_fundus, 72);
  static const struct conf_view protocol[] = {{"R", "macula"}, {"R", "disc"}, {"L", "macula"}, {"L", "disc"}};
  assert_int_equal(p->conf.views.n, 4);
  assert_memory_equal(p->conf.views.list, protocol, sizeof protocol);
  assert_int_equal(conf_read(&p->conf, "/nonexistent/asaleed.conf", true), 0);
  snprintf(p->file, sizeof p->file, "/nonexistent/asaleed.conf");
  assert_int_equal(hear(p, read_it), -ENOENT);
  assert_non_null(strstr(p->said, p->file));
  snprintf(p->file, sizeof p->file, "%s", p->dir); /* a folder is no file */
  assert_true(hear(p, read_it) < 0);
  assert_non_null(strstr(p->said, p->dir));
}

static void test_right(void **state) {
  struct place *p = *state;
  static const char text[] =
      "# a comment\r\n; another\n\n  [daemon]  \nstore=/srv/a = b\n\tsocket =\nlisten = [::1]:0\n"
      "driver-program = /x/driver\nexport-program = /x/export\ndevices = /x/d\nmessages = /x/m\nlog-level = debug\n"
      "[queue]\nclaim-minutes = 1440\ndue-hours-ecg = 1\ndue-hours-fundus = 2\n"
      "[fundus]\nviews = L:macula   R:other  R:other L:disc\n"
      "[device ecg-1_A]\ndriver = emi\nlabel = ECG de la salle é\nusb-serial = X Y\nport = 1-1.2\n"
      "node = /dev/ttyS0\n[device b]\ndriver = d\nnode = /dev/ttyS1";
  assert_int_equal(read_bytes(p, text, sizeof text - 1), 0);
  assert_string_equal(p->said, "");
  assert_string_equal(p->conf.store, "/srv/a = b");
  assert_string_equal(p->conf.socket, "");
  assert_string_equal(p->conf.listen, "[::1]:0");
  assert_string_equal(p->conf.driver_program, "/x/driver");
  assert_string_equal(p->conf.export_program, "/x/export");
  assert_string_equal(p->conf.devices_dir, "/x/d");
  assert_string_equal(p->conf.messages, "/x/m");
  assert_int_equal(p->conf.log_level, LOG_DEBUG);
  assert_int_equal(p->conf.claim_minutes, 1440);
  assert_int_equal(p->conf.due_hours_ecg, 1);
  assert_int_equal(p->conf.due_hours_fundus, 2);
  static const struct conf_view views[] = {{"L", "macula"}, {"R", "other"}, {"R", "other"}, {"L", "disc"}};
  assert_int_equal(p->conf.views.n, 4);
  assert_memory_equal(p->conf.views.list, views, sizeof views);
  assert_int_equal(p->conf.n_devices, 2);
  const struct conf_device *d = &p->conf.devices[0];
  assert_string_equal(d->id, "ecg-1_A");
  assert_string_equal(d->driver, "emi");
  assert_string_equal(d->label, "ECG de la salle é");
  assert_string_equal(d->usb_serial, "X Y");
  assert_string_equal(d->port, "1-1.2");
  assert_string_equal(d->node, "/dev/ttyS0");
  assert_string_equal(p->conf.devices[1].label, "b");
  char where[160];
  snprintf(where, sizeof where, "%s:19", p->file);
  assert_string_equal(d->where, where);
  assert_int_equal(read_bytes(p, "", 0), 0);
}

static void test_wrong(void **state) {
  struct place *p = *state;
  static const struct {
    const char *text;
    unsigned line;
    const char *what;
  } cases[] = {
      {"[daemno]\n", 1, "unknown section [daemno]"},
      {"[daemon x]\n", 1, "unknown section"},
      {"[]\n", 1, "unknown section"},
      {"[device]\n", 1, "unknown section"},
      {"[daemon\n", 1, "ends with ]"},
      {"store = /a\n", 1, "no known section"},
      {"[daemon]\n\nstroe = /a\n", 3, "unknown key stroe in [daemon]"},
      {"[queue]\nstore = /a\n", 2, "unknown key store in [queue]"},
      {"[daemon]\nstore\n", 2, "\"key = value\" is expected"},
      {"[daemon]\nstore = /a\nstore = /b\n", 3, "given twice"},
      {"[daemon]\nstore = /a\n[queue]\n[daemon]\nstore = /b\n", 5, "given twice"},
      {"[daemon]\nstore = a\n", 2, "absolute path"},
      {"[daemon]\nlisten = 192.168.0.1:80\n", 2, "loopback"},
      {"[daemon]\nlog-level = loud\n", 2, "error, warning"},
      {"[queue]\nclaim-minutes = 0\n", 2, "from 1 to 1440"},
      {"[queue]\nclaim-minutes = 1441\n", 2, "from 1 to 1440"},
      {"[queue]\nclaim-minutes = -1\n", 2, "whole number"},
      {"[queue]\nclaim-minutes = 1.5\n", 2, "whole number"},
      {"[queue]\nclaim-minutes = \n", 2, "whole number"},
      {"[queue]\ndue-hours-ecg = 99999999999999999999\n", 2, "whole number"},
      {"[fundus]\nviews =\n", 2, "at least one view"},
      {"[fundus]\n\nviews = R:macula R\n", 3, "not \"R\""},
      {"[fundus]\nviews = R:macula,L:disc\n", 2, "is expected, not"},
      {"[fundus]\nviews = B:macula\n", 2, "is expected, not"},
      {"[fundus]\nviews = R:nose\n", 2, "not \"R:nose\""},
      {"[fundus]\nviews = R:macula R:disc R:macula\n", 2, "R:macula is given twice"},
      {"[fundus]\nviews = R:other R:other R:other R:other R:other R:other R:other R:other R:other R:other R:other "
       "R:other"
       " R:other R:other R:other R:other R:other\n",
       2, "more than 16 views"},
      {"[fundus R]\nviews = R:disc\n", 1, "unknown section"},
      {"\n[device x]\nnode = /dev/a\n\n", 2, "has no driver"},
      {"[device x]\ndriver = d\n[device y]\n", 1, "no usb-serial, port, node or folder"},
      {"[device x]\ndriver = d\nnode = ttyS0\n", 3, "absolute path"},
      {"[device x]\ndriver = d\nnode = /dev/a\n[device x]\ndriver = d\nnode = /dev/b\n", 4, "already described"},
      {"[device x]\ndriver = d\nnode = /dev/a\n[device y]\ndriver = d\nnode = /dev/a\n", 4, "same adapter"},
      {"[device x]\ndriver = d\nnode = /dev/a # left\n", 3, "line of its own"},
      {"[device x]\ndriver = d\nnode = /dev/a\nlabel =\n", 4, "a value is expected"},
      {"[device a b]\n", 1, "letters, digits"},
      {"[device é]\n", 1, "letters, digits"},
      {"[device ../x]\n", 1, "letters, digits"},
      {"[device ]\n", 1, "letters, digits"},
      {"[device xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\n", 1, "at most 63"},
      {"[daemon]\nstore = /\xff\n", 2, "not UTF-8"},
      {"[daemon]\nstore = /a\x1b[0m\n", 2, "not UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_error(p, cases[i].text, cases[i].line, cases[i].what);
  print_message("# %zu wrong files\n", sizeof cases / sizeof *cases);
  /* All of a file's errors are said, not only the first. */
  assert_int_equal(read_bytes(p, "[daemon]\nx = 1\ny = 2\n[z]\n", 26), -EINVAL);
  assert_non_null(strstr(p->said, ":2: "));
  assert_non_null(strstr(p->said, ":3: "));
  assert_non_null(strstr(p->said, ":4: "));
  /* Too long a value, too long a line, a NUL. */
  char text[3000], expected[64];
  int n = snprintf(text, sizeof text, "[device x]\ndriver = d\nlabel = %0300d\n", 1);
  assert_int_equal(read_bytes(p, text, (size_t)n), -EINVAL);
  assert_non_null(strstr(p->said, "longer than 255"));
  n = snprintf(text, sizeof text, "[daemon]\nstore = /%02000d\n", 1);
  assert_int_equal(read_bytes(p, text, (size_t)n), -EINVAL);
  assert_non_null(strstr(p->said, ":2: a line has at most"));
  assert_int_equal(read_bytes(p, "[daemon]\nstore = /a\0b\n", 22), -EINVAL);
  assert_non_null(strstr(p->said, ":2: "));
  /* Two that cannot be found are not the same one. */
  static const char lost[] = "[device x]\ndriver = d\n[device y]\ndriver = d\n";
  assert_int_equal(read_bytes(p, lost, sizeof lost - 1), -EINVAL);
  assert_null(strstr(p->said, "same adapter"));
  /* A mark before the text, and line ends of another system, are no error. */
  static const char marked[] = "\xef\xbb\xbf[daemon]\r\nstore = /a\r\n";
  assert_int_equal(read_bytes(p, marked, sizeof marked - 1), 0);
  assert_string_equal(p->conf.store, "/a");
  /* One device too many. */
  FILE *f = fopen(p->file, "w");
  for (int i = 0; i <= CONF_DEVICES_MAX; i++)
    fprintf(f, "[device d%d]\ndriver = d\nnode = /dev/t%d\n", i, i);
  fclose(f);
  conf_defaults(&p->conf);
  assert_int_equal(hear(p, read_it), -EINVAL);
  snprintf(expected, sizeof expected, ":%d: more than %d devices", 3 * CONF_DEVICES_MAX + 1, CONF_DEVICES_MAX);
  assert_non_null(strstr(p->said, expected));
}

static int read_devices(struct place *p) {
  snprintf(p->conf.devices_dir, sizeof p->conf.devices_dir, "%s", p->dir);
  return conf_read_devices(&p->conf);
}

static void test_devices(void **state) {
  struct place *p = *state;
  char path[160];
  static const char *const names[] = {"b.conf", "a.conf", ".hidden.conf", "c.conf~", "d.txt", ".conf"};
  for (int i = 0; i < 6; i++) {
    char text[128];
    snprintf(path, sizeof path, "%s/%s", p->dir, names[i]);
    snprintf(text, sizeof text, "[device d%d]\ndriver = d\nnode = /dev/t%d\n", i, i);
    write_file(path, text, strlen(text));
  }
  assert_int_equal(hear(p, read_devices), 0);
  assert_int_equal(p->conf.n_devices, 2);
  assert_string_equal(p->conf.devices[0].id, "d1"); /* by name */
  assert_string_equal(p->conf.devices[1].id, "d0");
  /* The same name in another file; the other files are read all the same. */
  snprintf(path, sizeof path, "%s/aa.conf", p->dir);
  write_file(path, "[device d1]\ndriver = d\nnode = /dev/t9\n", 39);
  conf_defaults(&p->conf);
  assert_int_equal(hear(p, read_devices), -EINVAL);
  assert_non_null(strstr(p->said, "aa.conf:1: device d1 is already described at"));
  assert_int_equal(p->conf.n_devices, 2);
  conf_defaults(&p->conf);
  snprintf(p->conf.devices_dir, sizeof p->conf.devices_dir, "/nonexistent");
  assert_int_equal(conf_read_devices(&p->conf), 0);
  snprintf(p->conf.devices_dir, sizeof p->conf.devices_dir, "%s", p->file);
  assert_true(conf_read_devices(&p->conf) < 0);
}

static void test_loopback(void **state) {
  (void)state;
  static const char *const good[] = {"127.0.0.1:8430", "127.255.0.9:0", "[::1]:65535"};
  static const char *const bad[] = {"",
                                    ":",
                                    ":80",
                                    "127.0.0.1",
                                    "127.0.0.1:",
                                    "127.0.0.1:65536",
                                    "127.0.0.1:-1",
                                    "127.0.0.1:http",
                                    "0.0.0.0:80",
                                    "128.0.0.1:80",
                                    "10.0.0.1:80",
                                    "localhost:80",
                                    "::1:80",
                                    "[::]:80",
                                    "[::1]80",
                                    "[::ffff:127.0.0.1]:80",
                                    "127.1:80",
                                    "0x7f.0.0.1:80",
                                    "127.0.0.1 :80",
                                    " 127.0.0.1:80",
                                    "127.0.0.1:80 ",
                                    "127.0.0.1:8\n0",
                                    "1111111111111111111111111111111111111111111111111111111111111111111:80"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!conf_is_loopback(good[i]))
      fail_msg("%s refused", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (conf_is_loopback(bad[i]))
      fail_msg("%s taken", bad[i]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(defaults), TEST(right), TEST(wrong), TEST(devices), TEST(loopback),
  };
  return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
