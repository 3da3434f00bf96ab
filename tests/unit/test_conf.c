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
  conf_finish(&p->conf);
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

static void start_over(struct place *p) {
  conf_finish(&p->conf);
  conf_defaults(&p->conf);
}

static int read_bytes(struct place *p, const void *bytes, size_t n) {
  start_over(p);
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
  assert_string_equal(p->conf.hosts, "");
  assert_int_equal(p->conf.claim_minutes, 30);
  assert_string_equal(p->conf.protocols_dir, "/etc/asaleed/protocols.d");
  assert_true(p->conf.production);
  assert_string_equal(p->conf.site_name, "");
  assert_string_equal(p->conf.site_finess, "");
  assert_int_equal(p->conf.idle_minutes, 15);
  assert_int_equal(p->conf.login_hours, 12);
  assert_int_equal(p->conf.page_minutes, 5);
  assert_int_equal(p->conf.remind_hours, 4);
  assert_int_equal(p->conf.active_months, 60);
  assert_int_equal(p->conf.archive_months, 180);
  assert_int_equal(p->conf.n_devices, 0);
  assert_int_equal(p->conf.n_protocols, 0);
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
      "# a comment\r\n; another\n\n  [daemon]  \nstore=/srv/a = b\n\tsocket =\nlisten = [::1]:0\nhosts = A-b.example "
      "10.0.0.1\n"
      "driver-program = /x/driver\nexport-program = /x/export\ndevices = /x/d\nmessages = /x/m\nlog-level = debug\n"
      "protocols = /x/p\nproduction = no\n[queue]\nclaim-minutes = 1440\npage-minutes = 1\nremind-hours = 8760\n"
      "[site]\nname = Maison de santé du Bourg\nfiness = 860000001\n[accounts]\nidle-minutes = 1440\n"
      "login-hours = 168\n[retention]\nactive-months = 1\narchive-months = 1200\n"
      "[device ecg-1_A]\ndriver = emi\nlabel = ECG de la salle é\nusb-serial = X Y\nport = 1-1.2\n"
      "node = /dev/ttyS0\n[device b]\ndriver = d\nnode = /dev/ttyS1";
  assert_int_equal(read_bytes(p, text, sizeof text - 1), 0);
  assert_string_equal(p->said, "");
  assert_string_equal(p->conf.store, "/srv/a = b");
  assert_string_equal(p->conf.socket, "");
  assert_string_equal(p->conf.listen, "[::1]:0");
  assert_string_equal(p->conf.hosts, "A-b.example 10.0.0.1");
  assert_string_equal(p->conf.driver_program, "/x/driver");
  assert_string_equal(p->conf.export_program, "/x/export");
  assert_string_equal(p->conf.devices_dir, "/x/d");
  assert_string_equal(p->conf.messages, "/x/m");
  assert_int_equal(p->conf.log_level, LOG_DEBUG);
  assert_int_equal(p->conf.claim_minutes, 1440);
  assert_string_equal(p->conf.protocols_dir, "/x/p");
  assert_false(p->conf.production);
  assert_string_equal(p->conf.site_name, "Maison de santé du Bourg");
  assert_string_equal(p->conf.site_finess, "860000001");
  assert_int_equal(p->conf.idle_minutes, 1440);
  assert_int_equal(p->conf.login_hours, 168);
  assert_int_equal(p->conf.page_minutes, 1);
  assert_int_equal(p->conf.remind_hours, 8760);
  assert_int_equal(p->conf.active_months, 1);
  assert_int_equal(p->conf.archive_months, 1200);
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
  snprintf(where, sizeof where, "%s:29", p->file);
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
      {"[queue]\nclaim-minutes = 99999999999999999999\n", 2, "whole number"},
      {"[queue]\npage-minutes = 0\n", 2, "from 1 to 1440"},
      {"[queue]\nremind-hours = 8761\n", 2, "from 1 to 8760"},
      {"[queue]\ndue-hours-ecg = 24\n", 2, "unknown key due-hours-ecg in [queue]"},
      {"[fundus]\nviews = R:disc\n", 1, "unknown section [fundus]"},
      {"[accounts]\nidle-minutes = 0\n", 2, "from 1 to 1440"},
      {"[accounts]\nlogin-hours = 169\n", 2, "from 1 to 168"},
      {"[retention]\nactive-months = 0\n", 2, "from 1 to 1200"},
      {"[retention]\narchive-months = 1201\n", 2, "from 1 to 1200"},
      {"[daemon]\nproduction = maybe\n", 2, "production: no or yes is expected"},
      {"[daemon]\nhosts = https://a.example\n", 2, "without https:// or port"},
      {"[daemon]\nhosts = a.example:8430\n", 2, "without https:// or port"},
      {"[daemon]\nhosts = a.example, b.example\n", 2, "spaces between them"},
      {"[daemon]\nhosts = cabinet-m\xc3\xa9"
       "dical.fr\n",
       2, "as asaleed.example"},
      {"[daemon]\nprotocols = protocols.d\n", 2, "absolute path"},
      {"[site]\nfiness = 8600000018600000\n", 2, "longer than 15 bytes"},
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
  start_over(p);
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
  start_over(p);
  assert_int_equal(hear(p, read_devices), -EINVAL);
  assert_non_null(strstr(p->said, "aa.conf:1: device d1 is already described at"));
  assert_int_equal(p->conf.n_devices, 2);
  start_over(p);
  snprintf(p->conf.devices_dir, sizeof p->conf.devices_dir, "/nonexistent");
  assert_int_equal(conf_read_devices(&p->conf), 0);
  snprintf(p->conf.devices_dir, sizeof p->conf.devices_dir, "%s", p->file);
  assert_true(conf_read_devices(&p->conf) < 0);
}

/* ---- protocols ---- */

#define ACT(modality) "[act " modality "]\ndelay-hours = 24\n"
#define PROTOCOL "[protocol p]\nlabel = P\n"

static void test_protocol(void **state) {
  struct place *p = *state;
  static const char text[] =
      "[protocol diabete-2]\nlabel = Diabète\nauthorisation = Arrêté n° 3\n"
      "[act ecg]\ndelay-hours = 24\n"
      "\n[act fundus]\nopen = yes\nprescribe = yes\nperform = yes\nreader = ophthalmologist\ndelay-hours = 8760\n"
      "recall-months = 120\nnurse-sees-before = quality\nnurse-sees-after = report\nauthorisation = Arrêté n° 4\n"
      "views = L:macula   R:other  R:other L:disc\n"
      "[act measurement]\nopen = no\n";
  assert_int_equal(read_bytes(p, text, sizeof text - 1), 0);
  assert_string_equal(p->said, "");
  assert_int_equal(p->conf.n_protocols, 1);
  const struct conf_protocol *one = conf_protocol(&p->conf, "diabete-2");
  assert_ptr_equal(one, p->conf.protocols[0]);
  assert_string_equal(one->label, "Diabète");
  assert_string_equal(one->authorisation, "Arrêté n° 3");
  char where[160];
  snprintf(where, sizeof where, "%s:1", p->file);
  assert_string_equal(one->where, where);
  assert_null(conf_protocol(&p->conf, "diabete"));
  assert_null(conf_protocol(&p->conf, ""));
  /* What an act is when only what it needs is said. */
  const struct conf_act *ecg = conf_act(one, ACQ_ECG);
  assert_non_null(ecg);
  assert_int_equal(ecg->line, 4);
  assert_false(ecg->prescribe);
  assert_false(ecg->perform);
  assert_int_equal(ecg->reader, CONF_READER_GP);
  assert_int_equal(ecg->delay_hours, 24);
  assert_int_equal(ecg->recall_months, 0);
  assert_int_equal(ecg->sees_before, CONF_SEES_ACQUIRED);
  assert_int_equal(ecg->sees_after, CONF_SEES_NOTHING);
  assert_string_equal(ecg->authorisation, "");
  assert_int_equal(ecg->views.n, 0);
  const struct conf_act *fundus = conf_act(one, ACQ_FUNDUS);
  assert_non_null(fundus);
  assert_int_equal(fundus->line, 7);
  assert_true(fundus->prescribe);
  assert_true(fundus->perform);
  assert_int_equal(fundus->reader, CONF_READER_OPHTHALMOLOGIST);
  assert_int_equal(fundus->delay_hours, 8760);
  assert_int_equal(fundus->recall_months, 120);
  assert_int_equal(fundus->sees_before, CONF_SEES_QUALITY);
  assert_int_equal(fundus->sees_after, CONF_SEES_REPORT);
  assert_string_equal(fundus->authorisation, "Arrêté n° 4");
  static const struct conf_view views[] = {{"L", "macula"}, {"R", "other"}, {"R", "other"}, {"L", "disc"}};
  assert_int_equal(fundus->views.n, 4);
  assert_memory_equal(fundus->views.list, views, sizeof views);
  /* Not named, named and not open, and what is no act. */
  assert_null(conf_act(one, ACQ_SPIROMETRY));
  assert_null(conf_act(one, ACQ_MEASUREMENT));
  assert_null(conf_act(one, (enum acq_modality)0));
  assert_null(conf_act(one, (enum acq_modality)(ACQ_MEASUREMENT + 1)));
}

/* What a protocol does not say is not the last one's. */
static void test_two_in_one_file(void **state) {
  struct place *p = *state;
  static const char text[] = "[protocol a]\nlabel = A\n[act ecg]\ndelay-hours = 1\nprescribe = yes\n"
                             "[act spirometry]\ndelay-hours = 2\nnurse-sees-after = conclusion\n"
                             "[queue]\nclaim-minutes = 7\n"
                             "[protocol b]\nlabel = B\nauthorisation =\n[act ecg]\ndelay-hours = 3\nperform = yes\n"
                             "[act fundus]\ndelay-hours = 4\nauthorisation = Z\n";
  assert_int_equal(read_bytes(p, text, sizeof text - 1), 0);
  assert_string_equal(p->said, "");
  assert_int_equal(p->conf.n_protocols, 2);
  assert_int_equal(p->conf.claim_minutes, 7);
  const struct conf_protocol *a = conf_protocol(&p->conf, "a"), *b = conf_protocol(&p->conf, "b");
  assert_true(conf_act(a, ACQ_ECG)->prescribe && !conf_act(a, ACQ_ECG)->perform);
  assert_true(!conf_act(b, ACQ_ECG)->prescribe && conf_act(b, ACQ_ECG)->perform);
  assert_int_equal(conf_act(a, ACQ_ECG)->delay_hours, 1);
  assert_int_equal(conf_act(b, ACQ_ECG)->delay_hours, 3);
  assert_int_equal(conf_act(a, ACQ_SPIROMETRY)->sees_after, CONF_SEES_CONCLUSION);
  assert_null(conf_act(b, ACQ_SPIROMETRY));
  assert_null(conf_act(a, ACQ_FUNDUS));
  const struct conf_views *views = &conf_act(b, ACQ_FUNDUS)->views;
  static const struct conf_view usual[] = {{"R", "macula"}, {"R", "disc"}, {"L", "macula"}, {"L", "disc"}};
  assert_int_equal(views->n, 4);
  assert_memory_equal(views->list, usual, sizeof usual);
}

static void test_wrong_protocol(void **state) {
  struct place *p = *state;
  static const struct {
    const char *text;
    unsigned line;
    const char *what;
  } cases[] = {
      {"[protocol]\nlabel = P\n" ACT("ecg"), 1, "unknown section [protocol]: a name"},
      {PROTOCOL "[act]\n", 3, "unknown section [act]: a name"},
      {"[protocol ]\nlabel = P\n" ACT("ecg"), 1, "lower-case letters, digits and - only"},
      {"[protocol Diabete]\nlabel = P\n" ACT("ecg"), 1, "lower-case letters, digits and - only"},
      {"[protocol diabète]\nlabel = P\n" ACT("ecg"), 1, "lower-case letters, digits and - only"},
      {"[protocol a b]\nlabel = P\n" ACT("ecg"), 1, "lower-case letters, digits and - only"},
      {"[protocol a_b]\nlabel = P\n" ACT("ecg"), 1, "lower-case letters, digits and - only"},
      {"[protocol --json]\nlabel = P\n" ACT("ecg"), 1, "does not begin with -"},
      {"[protocol a0123456789-0123456789-012345678]\nlabel = P\n" ACT("ecg"), 1, "at most 31 characters"},
      {PROTOCOL ACT("ecg") "[protocol p]\nlabel = Q\n" ACT("ecg"), 5, "protocol p is already described at /tmp/"},
      {"\n[protocol p]\nauthorisation = A\n" ACT("ecg"), 2, "has no label: add \"label = NAME\""},
      {"[protocol p]\nlabel =\n" ACT("ecg"), 2, "label: a value is expected"},
      {PROTOCOL "label = Q\n" ACT("ecg"), 3, "label is given twice"},
      {PROTOCOL "delay-hours = 3\n" ACT("ecg"), 3, "unknown key delay-hours in [protocol]"},
      {PROTOCOL, 1, "has no act: add [act ecg]"},
      {PROTOCOL "[protocol q]\nlabel = Q\n" ACT("ecg"), 1, "has no act: add [act ecg]"},
      {ACT("ecg"), 1, "[act ecg] belongs to no protocol: [protocol ID] stands above it"},
      {ACT("ecg") PROTOCOL ACT("ecg"), 1, "[act ecg] belongs to no protocol"},
      {PROTOCOL "[act holter]\n", 3, "[act holter]: ecg, spirometry, fundus or measurement is expected"},
      {PROTOCOL "[act ECG]\n", 3, "is expected"},
      {PROTOCOL "[act ]\n", 3, "is expected"},
      {PROTOCOL ACT("ecg") ACT("spirometry") ACT("ecg"), 7,
       "[act ecg] is given twice in one protocol: the first is at line 3"},
      {PROTOCOL "[act ecg]\nopen = no\n" ACT("ecg"), 5, "given twice in one protocol: the first is at line 3"},
      {PROTOCOL "[act ecg]\nprescribe = yes\n", 3, "[act ecg] has no delay-hours: add \"delay-hours = N\""},
      {PROTOCOL "[act ecg]\n" ACT("spirometry"), 3, "[act ecg] has no delay-hours"},
      {PROTOCOL "[act ecg]\ndelay-hours = 0\n", 4, "delay-hours: a whole number from 1 to 8760 is expected"},
      {PROTOCOL "[act ecg]\ndelay-hours = 8761\n", 4, "from 1 to 8760"},
      {PROTOCOL ACT("ecg") "delay-hours = 25\n", 5, "delay-hours is given twice"},
      {PROTOCOL ACT("ecg") "recall-months = 121\n", 5, "recall-months: a whole number from 0 to 120 is expected"},
      {PROTOCOL ACT("ecg") "open = oui\n", 5, "open: no or yes is expected"},
      {PROTOCOL ACT("ecg") "prescribe = 1\n", 5, "prescribe: no or yes is expected"},
      {PROTOCOL ACT("ecg") "perform =\n", 5, "perform: no or yes is expected"},
      {PROTOCOL ACT("ecg") "reader = nurse\n", 5, "reader: gp or ophthalmologist is expected"},
      {PROTOCOL ACT("ecg") "reader = ophthalmologist\n", 3, "[act ecg] is not read by an ophthalmologist"},
      {PROTOCOL ACT("ecg") "nurse-sees-before = nothing\n", 5, "nurse-sees-before: quality or acquired is expected"},
      {PROTOCOL ACT("ecg") "nurse-sees-after = yes\n", 5, "nothing, conclusion or report is expected"},
      {PROTOCOL ACT("ecg") "open = no\nprescribe = yes\n", 3, "[act ecg] is not open, but the nurse may prescribe it"},
      {PROTOCOL ACT("ecg") "perform = yes\nopen = no\n", 3, "[act ecg] is not open, but the nurse may perform it"},
      {PROTOCOL ACT("ecg") "label = ECG\n", 5, "unknown key label in [act]"},
      {PROTOCOL ACT("fundus"), 3, "[act fundus] is open without an authorisation: fundus pictures are not among"},
      {PROTOCOL "authorisation = A\n" ACT("fundus"), 4, "Add \"authorisation = TEXT\""},
      {PROTOCOL ACT("fundus") "authorisation =\n", 3, "or write \"open = no\""},
      {PROTOCOL ACT("ecg") "views = R:disc\n", 5, "views: only [act fundus] has views"},
      {PROTOCOL ACT("fundus") "views =\n", 5, "at least one view"},
      {PROTOCOL ACT("fundus") "\nviews = R:macula R\n", 6, "not \"R\""},
      {PROTOCOL ACT("fundus") "views = R:macula,L:disc\n", 5, "is expected, not"},
      {PROTOCOL ACT("fundus") "views = B:macula\n", 5, "is expected, not"},
      {PROTOCOL ACT("fundus") "views = R:nose\n", 5, "not \"R:nose\""},
      {PROTOCOL ACT("fundus") "views = R:macula R:disc R:macula\n", 5, "R:macula is given twice"},
      {PROTOCOL ACT("fundus") "views = R:other R:other R:other R:other R:other R:other R:other R:other R:other R:other "
                              "R:other R:other R:other R:other R:other R:other R:other\n",
       5, "more than 16 views"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_error(p, cases[i].text, cases[i].line, cases[i].what);
  print_message("# %zu wrong protocols\n", sizeof cases / sizeof *cases);
  /* The longest name there is. */
  static const char longest[] = "[protocol a0123456789-0123456789-01234567]\nlabel = P\n" ACT("ecg");
  assert_int_equal(read_bytes(p, longest, sizeof longest - 1), 0);
  /* One that cannot be taken is read to its end all the same, and is none of those there are. */
  static const char several[] =
      "[protocol P]\n[act ecg]\nviews = R:disc\n[act nose]\nx = 1\n[protocol q]\nlabel = Q\n" ACT("ecg");
  assert_int_equal(read_bytes(p, several, sizeof several - 1), -EINVAL);
  static const char *const said[] = {":1: a protocol's name", ":1: this protocol has no label",
                                     ":2: [act ecg] has no delay", ":3: views: only", ":4: [act nose]"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++)
    if (!strstr(p->said, said[i]))
      fail_msg("no \"%s\" in:\n%s", said[i], p->said);
  unsigned lines = 0;
  for (const char *at = p->said; (at = strchr(at, '\n')); at++)
    lines++;
  assert_int_equal(lines, sizeof said / sizeof *said);
  assert_int_equal(p->conf.n_protocols, 1);
  assert_non_null(conf_protocol(&p->conf, "q"));
  /* Too long a text: the reference of an authorisation is not cut. */
  char text[700], expected[64];
  int n = snprintf(text, sizeof text, PROTOCOL "authorisation = %0256d\n" ACT("ecg"), 1);
  assert_int_equal(read_bytes(p, text, (size_t)n), -EINVAL);
  assert_non_null(strstr(p->said, ":3: authorisation: longer than 255 bytes"));
  /* One protocol too many. */
  FILE *f = fopen(p->file, "w");
  for (int i = 0; i <= CONF_PROTOCOLS_MAX; i++)
    fprintf(f, "[protocol p%d]\nlabel = P\n" ACT("ecg"), i);
  fclose(f);
  start_over(p);
  assert_int_equal(hear(p, read_it), -EINVAL);
  snprintf(expected, sizeof expected, ":%d: more than %d protocols", 4 * CONF_PROTOCOLS_MAX + 1, CONF_PROTOCOLS_MAX);
  assert_non_null(strstr(p->said, expected));
  assert_int_equal(p->conf.n_protocols, CONF_PROTOCOLS_MAX);
}

static int read_protocols(struct place *p) {
  return conf_read_protocols(&p->conf);
}

static void test_protocols_folder(void **state) {
  struct place *p = *state;
  static const char b[] = "[protocol b]\nlabel = B\n" ACT("ecg"), a[] = "[protocol a]\nlabel = A\n" ACT("spirometry");
  char path[160], said[400];
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "%s", p->dir);
  assert_int_equal(hear(p, read_protocols), 0); /* an empty one */
  assert_int_equal(p->conf.n_protocols, 0);
  snprintf(path, sizeof path, "%s/1.conf", p->dir);
  write_file(path, b, sizeof b - 1);
  snprintf(path, sizeof path, "%s/2.conf", p->dir);
  write_file(path, a, sizeof a - 1);
  snprintf(path, sizeof path, "%s/3.conf.off", p->dir);
  write_file(path, "[no", 3);
  assert_int_equal(hear(p, read_protocols), 0);
  assert_string_equal(p->said, "");
  assert_int_equal(p->conf.n_protocols, 2);
  assert_string_equal(p->conf.protocols[0]->id, "b"); /* by the file's name */
  assert_string_equal(p->conf.protocols[1]->id, "a");
  /* The same in two files: both places are said. */
  snprintf(path, sizeof path, "%s/4.conf", p->dir);
  write_file(path, b, sizeof b - 1);
  start_over(p);
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "%s", p->dir);
  assert_int_equal(hear(p, read_protocols), -EINVAL);
  snprintf(said, sizeof said, "%s/4.conf:1: protocol b is already described at %s/1.conf:1\n", p->dir, p->dir);
  assert_string_equal(p->said, said);
  assert_int_equal(p->conf.n_protocols, 2);
  /* An act in a file of its own has no protocol above it, whatever the file before ended with. */
  write_file(path, ACT("ecg"), strlen(ACT("ecg")));
  start_over(p);
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "%s", p->dir);
  assert_int_equal(hear(p, read_protocols), -EINVAL);
  assert_non_null(strstr(p->said, "/4.conf:1: [act ecg] belongs to no protocol"));
  start_over(p);
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "/nonexistent");
  assert_int_equal(hear(p, read_protocols), 0);
  assert_string_equal(p->said, "");
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "%s", path); /* a file is no folder */
  assert_int_equal(hear(p, read_protocols), -ENOTDIR);
  assert_non_null(strstr(p->said, path));
}

/* What is shipped follows the protocol's table: an ECG and a spirometry the nurse prescribes and performs, nothing of
 * their interpretation is hers; fundus pictures are off. */
static void test_shipped(void **state) {
  struct place *p = *state;
  static const struct {
    const char *id;
    unsigned open;
  } shipped[] = {{"cognition", ACQ_MODALITY(ACQ_MEASUREMENT)},
                 {"diabete-type2", ACQ_MODALITY(ACQ_ECG) | ACQ_MODALITY(ACQ_MEASUREMENT)},
                 {"fumeur-bpco", ACQ_MODALITY(ACQ_SPIROMETRY)},
                 {"risque-cardiovasculaire", ACQ_MODALITY(ACQ_ECG) | ACQ_MODALITY(ACQ_MEASUREMENT)}};
  snprintf(p->conf.protocols_dir, sizeof p->conf.protocols_dir, "config/protocols.d");
  assert_int_equal(hear(p, read_protocols), 0);
  assert_string_equal(p->said, "");
  assert_int_equal(p->conf.n_protocols, sizeof shipped / sizeof *shipped);
  for (unsigned i = 0; i < p->conf.n_protocols; i++) {
    const struct conf_protocol *one = conf_protocol(&p->conf, shipped[i].id);
    assert_non_null(one);
    unsigned open = 0;
    for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++) {
      const struct conf_act *act = conf_act(one, m);
      if (!act)
        continue;
      open |= ACQ_MODALITY(m);
      assert_true(act->prescribe && act->perform);
      assert_int_equal(act->reader, CONF_READER_GP);
      assert_int_equal(act->sees_after, CONF_SEES_NOTHING);
    }
    assert_int_equal(open, shipped[i].open);
  }
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
      TEST(defaults), TEST(right),           TEST(wrong),          TEST(devices),
      TEST(protocol), TEST(two_in_one_file), TEST(wrong_protocol), TEST(protocols_folder),
      TEST(shipped),  TEST(loopback),
  };
  return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
